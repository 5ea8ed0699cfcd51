/** Attributes of a segment as `segmentAttributes` holds them: bits 55 to 40 of its descriptor (the VMX access rights). Intel SDM volume 3, 3.4.5. */

export const SegmentAttribute = {
  /** Of data and code: set when a selector of it was loaded. */
  accessed: 1 << 0,
  /** Of data: may be written. Of code: may be read. */
  writable: 1 << 1,
  /** Of code. */
  conforming: 1 << 2,
  code: 1 << 3,
  /** Code or data; clear: a system segment. */
  S: 1 << 4,
  /** Two bits. */
  DPL: 3 << 5,
  P: 1 << 7,
  L: 1 << 13,
  /** D of code, B of stacks. */
  DB: 1 << 14,
  G: 1 << 15,
  /** No segment is loaded: a null selector. Not of descriptors. */
  unusable: 1 << 16,
} as const;

export const DPL_SHIFT = 5;
/** Bits of a descriptor that are attributes, once shifted right by 40. */
export const DESCRIPTOR_ATTRIBUTES = 0xf0ff;
