/** Where things lie in the one linear memory of a VM. Offsets in bytes. */
import { recordGeometry } from "./decode/record.js";
import {
  FILL_LOG_ENTRIES,
  FILL_LOG_ENTRY_BYTES,
  INDEXED_CONTEXTS,
  RAM_PAGES_MAX,
  TLB_ENTRY_BYTES,
  TLB_SET_COUNT,
  type TlbGeometry,
  WALKED_ENTRIES_BYTES,
} from "./mmu/tlb-layout.js";

/** The engine's own fields: exits, faults, fragments. */
export const ENGINE_STATE_START = 0x100;
export const ENGINE_STATE_END = 0x1000;
/** State of the vCPU that runs; the others' is kept aside and swapped in. */
export const VCPU_STATE_START = 0x1000;
export const VCPU_STATE_END = 0x4000;

/** Guest RAM is at most this: addresses in the linear memory have 32 bits. */
export const GUEST_RAM_BYTES_MAX: number = RAM_PAGES_MAX * 4096;
/**
 * Decoded pages, for each so many of RAM and within these bounds; when all are taken, all are dropped. A small guest gets
 * few: its VM takes all that it may touch from what the host's collector allows between two collections.
 */
const RAM_PAGES_PER_DECODED_PAGE = 16;
const DECODED_PAGES = { min: 64, max: 2048 } as const;

const WASM_PAGE_BYTES = 65536;

export interface MemoryMap extends TlbGeometry {
  /** What generated code may hold of all this. */
  readonly geometry: TlbGeometry;
  readonly ramBytes: number;
  /** Behind RAM: generated code is told where a decoded page lies. */
  readonly decodedStart: number;
  readonly decodedPages: number;
  /** Size of the linear memory in WebAssembly pages. */
  readonly wasmPages: number;
}

/**
 * Lays out the memory of a VM. Throws RangeError for sizes that do not fit.
 *
 * All that generated code holds the offsets of lies where it would with the largest RAM: the code is the same for every
 * size. The host gives memory as it is touched, so what stays free costs addresses only.
 */
export function memoryMap(ramBase: number, ramBytes: number, tlbEntries: number, granule: 1 | 4): MemoryMap {
  if (ramBytes <= 0 || ramBytes % 4096 !== 0 || ramBytes > GUEST_RAM_BYTES_MAX)
    throw new RangeError(`guest RAM of ${ramBytes} bytes: must be whole pages, at most ${GUEST_RAM_BYTES_MAX}`);
  // Of two pages in a row the entries must differ: an access across them is told by the entry of the first.
  if (tlbEntries < 2 || (tlbEntries & (tlbEntries - 1)) !== 0)
    throw new RangeError(`a TLB of ${tlbEntries} entries: must be a power of two, and at least 2`);
  const geometry = tables(ramBase, tlbEntries);
  const decodedStart = geometry.ramStart + ramBytes;
  const decodedPages = decodedPagesFor(ramBytes / 4096);
  const end = decodedStart + decodedPages * recordGeometry(granule).pageBytes;
  const wasmPages = Math.ceil(end / WASM_PAGE_BYTES);
  return { ...geometry, geometry, ramBytes, decodedStart, decodedPages, wasmPages };
}

function decodedPagesFor(ramPages: number): number {
  const { min, max } = DECODED_PAGES;
  return Math.min(Math.max(Math.floor(ramPages / RAM_PAGES_PER_DECODED_PAGE), min), max);
}

function tables(ramBase: number, tlbEntries: number): TlbGeometry {
  const arrayBytes = tlbEntries * TLB_ENTRY_BYTES;
  const setBytes = 3 * arrayBytes;
  const fillLogStart = VCPU_STATE_END;
  const walkedEntriesStart = fillLogStart + FILL_LOG_ENTRIES * FILL_LOG_ENTRY_BYTES;
  const setsStart = walkedEntriesStart + WALKED_ENTRIES_BYTES;
  const pageStateStart = setsStart + TLB_SET_COUNT * setBytes;
  // Page states are read as words, so three bytes follow the last one.
  const writtenLogStart = align(pageStateStart + RAM_PAGES_MAX + 3, 4096);
  const scratchStart = writtenLogStart + RAM_PAGES_MAX * 4;
  const decodedIndexStart = scratchStart + 4096;
  const ramStart = align(decodedIndexStart + INDEXED_CONTEXTS * RAM_PAGES_MAX * 4, WASM_PAGE_BYTES);
  return {
    entries: tlbEntries,
    setsStart,
    setBytes,
    writeOffset: arrayBytes,
    fetchOffset: 2 * arrayBytes,
    fillLogStart,
    walkedEntriesStart,
    pageStateStart,
    writtenLogStart,
    scratchStart,
    decodedIndexStart,
    ramStart,
    ramBase,
  };
}

function align(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}
