/**
 * Where A64 user code may differ from QEMU's, as the Arm ARM (DDI 0487) leaves it open, and how cases keep clear of it:
 * encodings that are CONSTRAINED UNPREDICTABLE are no definition's here (they are undefined), so none is drawn.
 */
export interface OpenDifference {
  readonly definitions: string;
  readonly what: string;
  readonly section: string;
}

export const openDifferences: readonly OpenDifference[] = [
  {
    definitions: "LDP, LDNP, LDPSW, LDXP, LDAXP",
    what: "both registers the same",
    section: "K1.2: CONSTRAINED UNPREDICTABLE; undefined here, not drawn",
  },
  {
    definitions: "loads and stores with writeback",
    what: "the base is also transferred",
    section: "K1.2: CONSTRAINED UNPREDICTABLE; undefined here, not drawn",
  },
  {
    definitions: "STXR, STLXR, STXP, STLXP",
    what: "the status register is also the data's or the base",
    section: "K1.2: CONSTRAINED UNPREDICTABLE; undefined here, not drawn",
  },
  {
    definitions: "STXR, STLXR, STXP, STLXP",
    what: "of another size or address than the load; a plain store to the granule; alignment where it fails",
    section: "B2.9: IMPLEMENTATION DEFINED; each size has a pointer of its own, apart and aligned",
  },
];
