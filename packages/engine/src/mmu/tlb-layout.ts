/** Where translations and page states lie, and how generated code looks them up. */

/** TLB sets for the regimes that were used last; each has arrays for reads, writes and fetches. */
export const TLB_SET_COUNT = 16;
export const TLB_ENTRY_BYTES = 16;
export const TLB_ENTRIES_DEFAULT = 1024;

/** Within an entry: tag (the virtual page; all ones never matches), then what to add. */
export const TlbEntry = { tag: 0, addend: 8 } as const;

/** Filled entries are logged, so that dropping them all costs what was filled. */
export const FILL_LOG_ENTRIES = 4096;
/** Of the log: where the TLB entry lies, and the page-table entry (its offset in RAM) that its walk ended at. */
export const FILL_LOG_ENTRY_BYTES = 8;

/** State of one page of guest RAM. A fast entry is only made while none of the bits that forbid it is set. */
export const PageState = {
  /** Content has yet to be loaded. Forbids everything. */
  absent: 1,
  /** Not written since the last look of a consumer. Forbid writes. */
  cleanForSnapshot: 2,
  cleanForDigest: 4,
  cleanForMigration: 8,
  /** Has decoded instructions. Forbids writes. */
  code: 16,
  /** A walk has read entries of it. Forbids writes. */
  pageTable: 32,
  /** Someone wants to know of every write. Forbids writes. */
  watched: 64,
} as const;

/** First writes that consumers are yet to hear of; generated code logs them and clears these. */
export const ALL_CLEAN: number = PageState.cleanForSnapshot | PageState.cleanForDigest | PageState.cleanForMigration;
/** Log of first writes: an index of a page, shifted by this, with the bits of `ALL_CLEAN` that it had. */
export const WRITTEN_PAGE_SHIFT = 8;

export const FORBIDS_READ: number = PageState.absent;
export const FORBIDS_WRITE = 127;

/**
 * As what walks have read page-table entries since translations were last dropped (`WalkedAs`): a byte for each, found by
 * its address; entries whose addresses differ by a multiple of the whole share one. A power of two.
 */
export const WALKED_ENTRIES_BYTES = 32768;
/** At a level that may lead further, or at the last one. */
export const WalkedAs = { table: 1, last: 2 } as const;
/** log2 of the bytes of an entry; smaller ones (x86's of 32 bits) share a byte. */
export const WALKED_ENTRY_SHIFT = 3;

/** Pages of the largest RAM: 3 GiB. */
export const RAM_PAGES_MAX = 786_432;

/** Contexts whose decoded pages are found without leaving generated code. */
export const INDEXED_CONTEXTS = 4;

/**
 * Where contexts alternate (`CpuDefinition.contextsAlternate`), the fetch entry of a page is that of the page whose number
 * differs by the context, shifted by this.
 */
export const CONTEXT_SLOT_SHIFT = 3;

/** `info` of a slow access. */
export const AccessInfo = {
  bytesMask: 0xffff,
  write: 1 << 16,
  alsoReads: 1 << 17,
  unprivileged: 1 << 18,
  privileged: 1 << 19,
  /** The instruction may have other accesses: see `engineState.accessesBegun`. */
  several: 1 << 20,
} as const;

/** What a slow access gives instead of an address. */
export const SlowResult = { fault: 0, device: 1 } as const;

/** Offsets of the tables of one VM, which generated code holds: none depends on the size of RAM. */
export interface TlbGeometry {
  readonly entries: number;
  readonly setsStart: number;
  readonly setBytes: number;
  /** Within a set. */
  readonly writeOffset: number;
  readonly fetchOffset: number;
  readonly fillLogStart: number;
  readonly pageStateStart: number;
  /** A word for each page of the largest RAM, `engineState.writtenCount` of them in use; see `WRITTEN_PAGE_SHIFT`. */
  readonly writtenLogStart: number;
  /** `WALKED_ENTRIES_BYTES` long. */
  readonly walkedEntriesStart: number;
  /** One page for the host's own use. */
  readonly scratchStart: number;
  /** For each context below `INDEXED_CONTEXTS` and each page of the largest RAM, the base of its decoded page, or 0. */
  readonly decodedIndexStart: number;
  readonly ramStart: number;
  readonly ramBase: number;
}
