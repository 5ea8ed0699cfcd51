/** Guest RAM with the state of its pages: who has seen what, what holds code or page tables, what is yet to load. */
import type { MemoryMap } from "../memory-map.js";
import { engineState } from "../engine-fields.js";
import { ALL_CLEAN, FORBIDS_WRITE, PageState, WRITTEN_PAGE_SHIFT } from "../mmu/tlb-layout.js";

export const PAGE_BYTES = 4096;

export type DirtyConsumer = "snapshot" | "digest" | "migration";

const CLEAN_BIT: Readonly<Record<DirtyConsumer, number>> = {
  snapshot: PageState.cleanForSnapshot,
  digest: PageState.cleanForDigest,
  migration: PageState.cleanForMigration,
};
const CONSUMERS: readonly DirtyConsumer[] = ["snapshot", "digest", "migration"];

/** What happens elsewhere when the state of a page changes; the engine's caches listen. */
export interface RamListener {
  /** Fast write entries must go: of one page, or of all. */
  revokeWrites(pageIndex: number | undefined): void;
  revokePage(pageIndex: number): void;
  /** Decoded code in these bytes (offsets in the page) is outdated. */
  codeWritten(pageIndex: number, first: number, last: number): void;
  /** A page table has become something else: drop everything derived from walks. */
  translationsChanged(): void;
  /**
   * What were these 64 bits, as two words, at an offset in RAM is written, in a page table: drop what is derived from them.
   * Gives whether anything may have been.
   */
  entryChanged(offset: number, low: number, high: number): boolean;
  /** May anything be derived from these 64 bits at an offset in RAM? They are about to be written. */
  mayBeDerivedFrom(offset: number, low: number, high: number): boolean;
  hashPage(hostAddress: number, pageIndex: number, into: Uint32Array): void;
  externallyWritten(): void;
}

export class GuestRam {
  readonly base: number;
  readonly bytes: number;
  readonly pageCount: number;
  readonly #ram: Uint8Array;
  readonly #ramWords: Int32Array;
  readonly #states: Uint8Array;
  readonly #ramStart: number;
  /** How many first writes generated code has logged, and the log. */
  readonly #writtenCount: Uint32Array;
  readonly #writtenLog: Uint32Array;
  readonly #listener: RamListener;
  readonly #dirty: Readonly<Record<DirtyConsumer, number[]>> = { snapshot: [], digest: [], migration: [] };
  readonly #tablePages: number[] = [];
  #loader: (index: number) => Uint8Array | "zero" = () => "zero";
  readonly #watched: { start: number; bytes: number }[] = [];
  readonly #scratch: Uint8Array;
  /** Set by a write to a watched range: the first such bytes of it. Taken by the engine. */
  watchHit: { readonly physical: number; readonly bytes: number } | undefined;

  constructor(buffer: ArrayBuffer, map: MemoryMap, listener: RamListener) {
    this.base = map.ramBase;
    this.bytes = map.ramBytes;
    this.pageCount = map.ramBytes / PAGE_BYTES;
    this.#ram = new Uint8Array(buffer, map.ramStart, map.ramBytes);
    this.#ramWords = new Int32Array(buffer, map.ramStart, map.ramBytes / 4);
    this.#scratch = new Uint8Array(buffer, map.scratchStart, PAGE_BYTES);
    this.#states = new Uint8Array(buffer, map.pageStateStart, this.pageCount);
    this.#states.fill(ALL_CLEAN);
    this.#ramStart = map.ramStart;
    this.#writtenCount = new Uint32Array(buffer, engineState.writtenCount.offset, 1);
    this.#writtenLog = new Uint32Array(buffer, map.writtenLogStart, this.pageCount);
    this.#listener = listener;
  }

  read(physical: number, bytes: number): Uint8Array {
    const offset = this.#check(physical, bytes);
    this.#loadRange(offset, bytes);
    return this.#ram.slice(offset, offset + bytes);
  }

  write(physical: number, bytes: Uint8Array): void {
    const offset = this.#check(physical, bytes.length);
    this.writeAtOffset(offset, bytes);
    this.#listener.externallyWritten();
  }

  page(index: number): Uint8Array {
    this.#checkPage(index);
    this.ensureLoaded(index);
    return this.#ram.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
  }

  hashPage(index: number, into: Uint32Array): void {
    this.#checkPage(index);
    this.ensureLoaded(index);
    this.#listener.hashPage(this.#ramStart + index * PAGE_BYTES, index, into);
  }

  /** What `hashPage` would give if the page held `content`. */
  hashContent(index: number, content: Uint8Array, into: Uint32Array): void {
    if (content.length !== PAGE_BYTES) throw new RangeError(`page ${index} has ${content.length} bytes`);
    this.#scratch.set(content);
    this.#listener.hashPage(this.#scratch.byteOffset, index, into);
  }

  isZeroPage(index: number): boolean {
    this.#checkPage(index);
    this.ensureLoaded(index);
    const words = this.#ramWords;
    for (let word = index * 1024; word < (index + 1) * 1024; word++) if (words[word] !== 0) return false;
    return true;
  }

  takeDirtyPages(consumer: DirtyConsumer): number[] {
    this.#takeWrittenLog();
    const pages = this.#dirty[consumer].splice(0).sort((left, right) => left - right);
    for (const index of pages) this.#states[index] = (this.#states[index] ?? 0) | CLEAN_BIT[consumer];
    if (pages.length > 0) this.#listener.revokeWrites(undefined);
    return pages;
  }

  replacePage(index: number, content: Uint8Array | "zero"): void {
    this.#checkPage(index);
    this.#forget(index);
    this.#states[index] = (this.#states[index] ?? 0) & ~PageState.absent;
    this.#fill(index, content);
  }

  setAbsent(index: number): void {
    this.#checkPage(index);
    this.#forget(index);
    this.#states[index] = (this.#states[index] ?? 0) | PageState.absent;
  }

  setLoader(loader: (index: number) => Uint8Array | "zero"): void {
    this.#loader = loader;
  }

  /** Makes writes to a physical range stop the vCPU behind the instruction. */
  watch(physical: number, bytes: number): void {
    const offset = this.#check(physical, bytes);
    this.#watched.push({ start: offset, bytes });
    for (let index = Math.floor(offset / PAGE_BYTES); index <= Math.floor((offset + bytes - 1) / PAGE_BYTES); index++) {
      this.#forbidWrites(index, PageState.watched);
    }
  }

  /** Takes whole pages out of what `watch` made stop. */
  unwatch(physical: number, bytes: number): void {
    const offset = this.#check(physical, bytes);
    for (let index = Math.ceil(offset / PAGE_BYTES); (index + 1) * PAGE_BYTES <= offset + bytes; index++)
      this.#states[index] = (this.#states[index] ?? 0) & ~PageState.watched;
  }

  unwatchAll(): void {
    this.#watched.length = 0;
    for (let index = 0; index < this.pageCount; index++)
      this.#states[index] = (this.#states[index] ?? 0) & ~PageState.watched;
  }

  /** Where another state forbade writes already, there are no fast entries for them. */
  #forbidWrites(index: number, by: number): void {
    const before = this.#states[index] ?? 0;
    this.#states[index] = before | by;
    if ((before & FORBIDS_WRITE) === 0) this.#listener.revokeWrites(index);
  }

  // For the engine

  stateOf(index: number): number {
    return this.#states[index] ?? 0;
  }

  ensureLoaded(index: number): void {
    if (((this.#states[index] ?? 0) & PageState.absent) === 0) return;
    this.#states[index] = (this.#states[index] ?? 0) & ~PageState.absent;
    this.#fill(index, this.#loader(index));
  }

  /** The page has been, or is about to be, written by the guest or a device. */
  markWritten(index: number): void {
    const state = this.#states[index] ?? 0;
    if ((state & ALL_CLEAN) === 0) return;
    this.#noteWritten(index, state);
    this.#states[index] = state & ~ALL_CLEAN;
  }

  #noteWritten(index: number, state: number): void {
    for (const consumer of CONSUMERS) if ((state & CLEAN_BIT[consumer]) !== 0) this.#dirty[consumer].push(index);
  }

  /** A page is in it once: it comes to be clean for a consumer only where the log is taken. */
  #takeWrittenLog(): void {
    const count = this.#writtenCount[0] ?? 0;
    for (let at = 0; at < count; at++) {
      const entry = this.#writtenLog[at] ?? 0;
      this.#noteWritten(entry >>> WRITTEN_PAGE_SHIFT, entry);
    }
    this.#writtenCount[0] = 0;
  }

  markCode(index: number): void {
    if (((this.#states[index] ?? 0) & PageState.code) !== 0) return;
    this.#forbidWrites(index, PageState.code);
  }

  /** Decoded code in these bytes goes, before a write that the generated code will do. */
  codeAboutToChange(index: number, first: number, bytes: number): void {
    this.#listener.codeWritten(index, first, first + bytes - 1);
  }

  forgetCode(index: number): void {
    this.#states[index] = (this.#states[index] ?? 0) & ~PageState.code;
  }

  markPageTable(index: number): void {
    this.ensureLoaded(index);
    if (((this.#states[index] ?? 0) & PageState.pageTable) !== 0) return;
    this.#tablePages.push(index);
    this.#forbidWrites(index, PageState.pageTable);
  }

  /** After everything derived from walks was dropped, no page is a page table until a walk reads it again. */
  forgetPageTables(): void {
    for (const index of this.#tablePages) this.#states[index] = (this.#states[index] ?? 0) & ~PageState.pageTable;
    this.#tablePages.length = 0;
  }

  /**
   * Or-s bits into a page-table entry on behalf of a walk: no translation depends on them, so none is dropped, and no
   * watch looks.
   */
  setEntryBits(offset: number, bits: number): void {
    const index = Math.floor(offset / PAGE_BYTES);
    this.ensureLoaded(index);
    this.markWritten(index);
    const first = offset % PAGE_BYTES;
    if (((this.#states[index] ?? 0) & PageState.code) !== 0) this.#listener.codeWritten(index, first, first + 3);
    this.#ramWords[offset / 4] = (this.#ramWords[offset / 4] ?? 0) | bits;
  }

  /** Writes through every rule. Gives whether a page-table entry changed that a translation may be derived from. */
  writeAtOffset(offset: number, bytes: Uint8Array): boolean {
    let changed = false;
    for (let done = 0; done < bytes.length;) {
      const index = Math.floor((offset + done) / PAGE_BYTES);
      const length = Math.min(bytes.length - done, (index + 1) * PAGE_BYTES - (offset + done));
      if (this.#writeInPage(index, offset + done, bytes.subarray(done, done + length))) changed = true;
      done += length;
    }
    return changed;
  }

  #writeInPage(index: number, offset: number, bytes: Uint8Array): boolean {
    this.ensureLoaded(index);
    this.markWritten(index);
    const state = this.#states[index] ?? 0;
    const first = offset % PAGE_BYTES;
    if ((state & PageState.code) !== 0) this.#listener.codeWritten(index, first, first + bytes.length - 1);
    if ((state & PageState.watched) !== 0) this.#noteWatch(offset, bytes.length);
    if ((state & PageState.pageTable) === 0) {
      this.#ram.set(bytes, offset);
      return false;
    }
    return this.#writePageTable(offset, bytes);
  }

  /** In a page table: whether anything may be derived from the entries in these bytes, which are about to be written. */
  mayHaveBeenWalked(offset: number, bytes: number): boolean {
    for (let word = Math.floor(offset / 8) * 2; word * 4 < offset + bytes; word += 2)
      if (this.#listener.mayBeDerivedFrom(word * 4, this.#ramWords[word] ?? 0, this.#ramWords[word + 1] ?? 0))
        return true;
    return false;
  }

  #writePageTable(offset: number, bytes: Uint8Array): boolean {
    if (bytes.length === 8 && offset % 8 === 0) return this.#writeEntry(offset, bytes);
    const firstWord = Math.floor(offset / 8) * 2;
    const lastWord = Math.floor((offset + bytes.length - 1) / 8) * 2 + 1;
    const before = this.#ramWords.slice(firstWord, lastWord + 1);
    this.#ram.set(bytes, offset);
    let changed = false;
    for (let word = 0; word < before.length; word += 2) {
      const low = before[word] ?? 0;
      const high = before[word + 1] ?? 0;
      if (low === this.#ramWords[firstWord + word] && high === this.#ramWords[firstWord + word + 1]) continue;
      if (this.#listener.entryChanged((firstWord + word) * 4, low, high)) changed = true;
    }
    return changed;
  }

  /** What kernels do by the ten thousand: one whole entry. */
  #writeEntry(offset: number, bytes: Uint8Array): boolean {
    const word = offset / 4;
    const low = this.#ramWords[word] ?? 0;
    const high = this.#ramWords[word + 1] ?? 0;
    this.#ram.set(bytes, offset);
    if (low === this.#ramWords[word] && high === this.#ramWords[word + 1]) return false;
    return this.#listener.entryChanged(offset, low, high);
  }

  #noteWatch(offset: number, bytes: number): void {
    for (const range of this.#watched) {
      const start = Math.max(offset, range.start);
      const end = Math.min(offset + bytes, range.start + range.bytes);
      if (start < end) this.watchHit ??= { physical: this.base + start, bytes: end - start };
    }
  }

  #forget(index: number): void {
    const state = this.#states[index] ?? 0;
    if ((state & PageState.code) !== 0) this.#listener.codeWritten(index, 0, PAGE_BYTES - 1);
    if ((state & PageState.pageTable) !== 0) this.#listener.translationsChanged();
    this.#listener.revokePage(index);
  }

  #fill(index: number, content: Uint8Array | "zero"): void {
    if (content === "zero") this.#ram.fill(0, index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    else {
      if (content.length !== PAGE_BYTES) throw new RangeError(`page ${index} has ${content.length} bytes`);
      this.#ram.set(content, index * PAGE_BYTES);
    }
  }

  #loadRange(offset: number, bytes: number): void {
    for (let index = Math.floor(offset / PAGE_BYTES); index * PAGE_BYTES < offset + bytes; index++)
      this.ensureLoaded(index);
  }

  #check(physical: number, bytes: number): number {
    const offset = physical - this.base;
    if (!(offset >= 0 && offset + bytes <= this.bytes))
      throw new RangeError(
        `0x${physical.toString(16)}+${bytes} is outside RAM 0x${this.base.toString(16)}+0x${this.bytes.toString(16)}`,
      );
    return offset;
  }

  #checkPage(index: number): void {
    if (!(index >= 0 && index < this.pageCount)) throw new RangeError(`page ${index} of ${this.pageCount}`);
  }
}
