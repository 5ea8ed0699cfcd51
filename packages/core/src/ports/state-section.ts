/** Saved state, part by part. */

/** What one part of a machine saved. Save after restore is byte-equal. */
export interface StateSection {
  /** "arm64.vcpu0", "arm64.gicv3", "vmm.pl011" ... */
  readonly name: string;
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** Thrown when a section can't be restored: unknown name, version or length. */
export class StateSectionError extends Error {
  override readonly name = "StateSectionError";
  readonly section: string;
  constructor(section: string, reason: string) {
    super(`can't restore state section ${section}: ${reason}`);
    this.section = section;
  }
}
