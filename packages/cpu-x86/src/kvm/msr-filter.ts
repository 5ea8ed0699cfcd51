/** KVM_X86_SET_MSR_FILTER: which MSRs a guest may read or write. Documentation/virt/kvm/api.rst, 4.97. */

export interface MsrFilterRange {
  readonly reads: boolean;
  readonly writes: boolean;
  readonly base: number;
  readonly count: number;
  /** A bit for each MSR, least significant first: 1 allows. */
  readonly bitmap: Uint8Array;
}

export interface MsrFilter {
  /** What holds for an MSR in no range. */
  readonly deniesOthers: boolean;
  readonly ranges: readonly MsrFilterRange[];
}

/** x2APIC's MSRs can't be filtered. */
const UNFILTERED = { first: 0x800, last: 0x8ff } as const;

export function isAllowed(filter: MsrFilter | undefined, msr: number, kind: "read" | "write"): boolean {
  if (filter === undefined || (msr >= UNFILTERED.first && msr <= UNFILTERED.last)) return true;
  const range = filter.ranges.find(
    ({ base, count, reads, writes }) => msr >= base && msr < base + count && (kind === "read" ? reads : writes),
  );
  if (range === undefined) return !filter.deniesOthers;
  const at = msr - range.base;
  return (((range.bitmap[at >> 3] ?? 0) >> (at & 7)) & 1) === 1;
}
