/** Guest RAM as the hypervisor and observers see it. The engine implements it. */

export const PAGE_BYTES = 4096;

/** Who has not yet seen the pages that were written. */
export type DirtyConsumer = "snapshot" | "digest" | "migration";

export interface GuestMemory {
  /** Guest-physical address of the first byte. */
  readonly base: number;
  readonly bytes: number;
  readonly pageCount: number;
  /** Copies out. Throws RangeError outside RAM. No effect on the guest; loads absent pages. */
  read(physical: number, bytes: number): Uint8Array;
  /**
   * Writes as a device or debugger does: seen by the next instruction, also as code or as page table,
   * and it clears exclusive monitors. Throws RangeError outside RAM.
   */
  write(physical: number, bytes: Uint8Array): void;
  /** A view of one page (by index from `base`), valid until the VM runs; loads it when absent. */
  page(index: number): Uint8Array;
  /** 128-bit hash of (page index, content) as 4 words; a zero page has the zero hash. */
  hashPage(index: number, into: Uint32Array): void;
  /** What `hashPage` would give if page `index` held `content`, so that a lazily loaded page's old hash is known. */
  hashContent(index: number, content: Uint8Array, into: Uint32Array): void;
  isZeroPage(index: number): boolean;
  /** The pages written since this consumer last asked, in order, and marks them clean for it. */
  takeDirtyPages(consumer: DirtyConsumer): number[];
  /** Replaces a page's content without marking it as written by the guest (restore). Everything derived from it is dropped. */
  replacePage(index: number, content: Uint8Array | "zero"): void;
  /** Marks a page absent: it is fetched by `loader` when something first touches it. */
  setAbsent(index: number): void;
  /** Gives the content of absent pages; "zero" for pages of zeros. */
  setLoader(loader: (index: number) => Uint8Array | "zero"): void;
}
