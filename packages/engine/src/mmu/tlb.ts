/**
 * The TLB sets as TypeScript sees them: choosing sets for a regime, and dropping entries. A set has no content before it is
 * first chosen, which clears it: most VMs use few.
 */
import type { CpuDefinition } from "../cpu-definition.js";
import { engineFields, engineState } from "../engine-fields.js";
import {
  CONTEXT_SLOT_SHIFT,
  FILL_LOG_ENTRIES,
  FILL_LOG_ENTRY_BYTES,
  TLB_ENTRY_BYTES,
  TLB_SET_COUNT,
  TlbEntry,
  type TlbGeometry,
  WALKED_ENTRIES_BYTES,
  WALKED_ENTRY_SHIFT,
  WalkedAs,
} from "./tlb-layout.js";

const NO_TAG = -1;
const FILL_LOG_ENTRY_WORDS = FILL_LOG_ENTRY_BYTES / 4;

/** A translation regime that has TLB sets: the words of its registers, and when it was last chosen. */
interface Regime {
  readonly key: Uint32Array;
  lastUse: number;
}

export class Tlb {
  readonly #words: Int32Array;
  readonly #walked: Uint8Array;
  readonly #cpu: CpuDefinition;
  readonly #geometry: TlbGeometry;
  readonly #regimes: Regime[];
  /** Sets of a regime. */
  readonly #privileges: number;
  readonly #keyOffsets: readonly number[];
  readonly #key: Uint32Array;
  #uses = 0;

  constructor(buffer: ArrayBuffer, cpu: CpuDefinition, geometry: TlbGeometry) {
    this.#words = new Int32Array(buffer);
    this.#walked = new Uint8Array(buffer, geometry.walkedEntriesStart, WALKED_ENTRIES_BYTES);
    this.#cpu = cpu;
    this.#geometry = geometry;
    this.#keyOffsets = cpu.translationFields.flatMap((field) =>
      field.width === 64 ? [field.offset >> 2, (field.offset >> 2) + 1] : [field.offset >> 2],
    );
    this.#key = new Uint32Array(this.#keyOffsets.length);
    this.#privileges = cpu.privilegeCount ?? 2;
    this.#regimes = Array.from({ length: Math.floor(TLB_SET_COUNT / this.#privileges) }, () => ({
      key: new Uint32Array(this.#keyOffsets.length),
      lastUse: -1,
    }));
  }

  /** Points the engine at the sets of the regime that the translation registers say. */
  select(): void {
    const key = this.#key;
    this.#keyOffsets.forEach((offset, index) => {
      key[index] = this.#words[offset] ?? 0;
    });
    let index = this.#regimes.findIndex((regime) => regime.lastUse >= 0 && sameKey(regime.key, key));
    if (index < 0) index = this.#replaceOldest(key);
    const regime = this.#regimes[index];
    if (regime !== undefined) regime.lastUse = ++this.#uses;
    const { setBytes } = this.#geometry;
    const user = this.#startOf(index);
    const privilege = this.#words[this.#cpu.privilege.offset >> 2] ?? 0;
    this.#words[engineFields.tlbUser.offset >> 2] = user;
    this.#words[engineFields.tlbKernel.offset >> 2] = user + setBytes;
    this.#words[engineState.tlbOverride.offset >> 2] = user + (this.#privileges - 1) * setBytes;
    this.#words[engineFields.tlbCurrent.offset >> 2] = user + privilege * setBytes;
  }

  /**
   * Drops what is derived from the page-table entry at an offset of RAM: what ended there, or all when it led further.
   * False: no walk has read it.
   */
  dropDerivedFrom(offset: number): boolean {
    const walked = this.#walkedAs(offset);
    if (walked === 0) return false;
    if ((walked & WalkedAs.table) !== 0) this.dropAll();
    else this.#dropEndingAt(offset >>> WALKED_ENTRY_SHIFT);
    return true;
  }

  /** Has a walk read the page-table entry at an offset of RAM? */
  wasWalked(offset: number): boolean {
    return this.#walkedAs(offset) !== 0;
  }

  #walkedAs(offset: number): number {
    return this.#walked[(offset >>> WALKED_ENTRY_SHIFT) & (WALKED_ENTRIES_BYTES - 1)] ?? 0;
  }

  /** And takes it from the log: kernels map page after page by one entry. */
  #dropEndingAt(entry: number): void {
    let count = this.#words[engineState.fillCount.offset >> 2] ?? 0;
    if (count > FILL_LOG_ENTRIES) {
      this.clearAll();
      return;
    }
    const log = this.#geometry.fillLogStart >> 2;
    for (let index = count - 1; index >= 0; index--) {
      const at = log + index * FILL_LOG_ENTRY_WORDS;
      if ((this.#words[at + 1] ?? 0) >>> WALKED_ENTRY_SHIFT !== entry) continue;
      this.#clearEntry(this.#words[at] ?? 0);
      count -= 1;
      const last = log + count * FILL_LOG_ENTRY_WORDS;
      this.#words[at] = this.#words[last] ?? 0;
      this.#words[at + 1] = this.#words[last + 1] ?? 0;
    }
    this.#words[engineState.fillCount.offset >> 2] = count;
  }

  /** Drops every translation that was derived from page tables. */
  dropAll(): void {
    this.#walked.fill(0);
    const count = this.#words[engineState.fillCount.offset >> 2] ?? 0;
    if (count > FILL_LOG_ENTRIES) {
      this.clearAll();
      return;
    }
    for (let index = 0; index < count; index++) this.#clearEntry(this.#logged(index));
    this.#words[engineState.fillCount.offset >> 2] = 0;
  }

  /** Drops the fast write entries of one page of RAM, in every set; `undefined`: of all pages. */
  revokeWrites(pageIndex: number | undefined): void {
    const count = this.#words[engineState.fillCount.offset >> 2] ?? 0;
    if (count > FILL_LOG_ENTRIES) {
      for (let set = 0; set < TLB_SET_COUNT; set++) {
        const start = this.#geometry.setsStart + set * this.#geometry.setBytes + this.#geometry.writeOffset;
        for (let entry = 0; entry < this.#geometry.entries; entry++)
          this.#revokeEntry(start + entry * TLB_ENTRY_BYTES, pageIndex);
      }
      return;
    }
    const { setsStart, setBytes, writeOffset, fetchOffset } = this.#geometry;
    for (let index = 0; index < count; index++) {
      const entry = this.#logged(index);
      const within = (entry - setsStart) % setBytes;
      if (within >= writeOffset && within < fetchOffset) this.#revokeEntry(entry, pageIndex);
    }
  }

  /** Drops the fast read and write entries of one page of RAM. */
  revokePage(pageIndex: number): void {
    const count = this.#words[engineState.fillCount.offset >> 2] ?? 0;
    if (count > FILL_LOG_ENTRIES) {
      this.clearAll();
      return;
    }
    const { setsStart, setBytes, fetchOffset } = this.#geometry;
    for (let index = 0; index < count; index++) {
      const entry = this.#logged(index);
      if ((entry - setsStart) % setBytes < fetchOffset) this.#revokeEntry(entry, pageIndex);
    }
  }

  /** Writes an entry of the fetch array of the current set. */
  fillFetch(virtualPage: bigint, context: number, decodedBase: number): void {
    const { entries, fetchOffset } = this.#geometry;
    const tag = virtualPage | BigInt(context);
    const page = Number(BigInt.asUintN(32, virtualPage >> 12n));
    const moved = this.#cpu.contextsAlternate === true ? context << CONTEXT_SLOT_SHIFT : 0;
    const slot = (page ^ moved) & (entries - 1);
    const entry = (this.#words[engineFields.tlbCurrent.offset >> 2] ?? 0) + fetchOffset + slot * TLB_ENTRY_BYTES;
    this.#words[(entry + TlbEntry.tag) >> 2] = Number(BigInt.asIntN(32, tag));
    this.#words[(entry + TlbEntry.tag + 4) >> 2] = Number(BigInt.asIntN(32, tag >> 32n));
    this.#words[(entry + TlbEntry.addend) >> 2] = decodedBase;
    const count = this.#words[engineState.fillCount.offset >> 2] ?? 0;
    if (count < FILL_LOG_ENTRIES) {
      const at = (this.#geometry.fillLogStart >> 2) + count * FILL_LOG_ENTRY_WORDS;
      this.#words[at] = entry;
      this.#words[at + 1] = this.#words[engineState.lastEntry.offset >> 2] ?? 0;
      this.#words[engineState.fillCount.offset >> 2] = count + 1;
    } else this.#words[engineState.fillCount.offset >> 2] = FILL_LOG_ENTRIES + 1;
  }

  /** What was walked stays noted: a walk whose entry is yet to be made may be under way. */
  clearAll(): void {
    const { setsStart, setBytes } = this.#geometry;
    this.#words.fill(NO_TAG, setsStart >> 2, (setsStart + TLB_SET_COUNT * setBytes) >> 2);
    this.#words[engineState.fillCount.offset >> 2] = 0;
  }

  #logged(index: number): number {
    return this.#words[(this.#geometry.fillLogStart >> 2) + index * FILL_LOG_ENTRY_WORDS] ?? 0;
  }

  #clearEntry(entry: number): void {
    this.#words[entry >> 2] = NO_TAG;
    this.#words[(entry >> 2) + 1] = NO_TAG;
  }

  #revokeEntry(entry: number, pageIndex: number | undefined): void {
    const tagLow = this.#words[entry >> 2] ?? NO_TAG;
    if (tagLow === NO_TAG) return;
    const host = ((this.#words[(entry + TlbEntry.addend) >> 2] ?? 0) + tagLow) >>> 0;
    if (pageIndex === undefined || (host - this.#geometry.ramStart) >>> 12 === pageIndex) this.#clearEntry(entry);
  }

  #startOf(regime: number): number {
    return this.#geometry.setsStart + regime * this.#privileges * this.#geometry.setBytes;
  }

  #replaceOldest(key: Uint32Array): number {
    let oldest = 0;
    this.#regimes.forEach((regime, index) => {
      if (regime.lastUse < (this.#regimes[oldest]?.lastUse ?? 0)) oldest = index;
    });
    this.#regimes[oldest]?.key.set(key);
    this.#words.fill(NO_TAG, this.#startOf(oldest) >> 2, this.#startOf(oldest + 1) >> 2);
    return oldest;
  }
}

function sameKey(left: Uint32Array, right: Uint32Array): boolean {
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}
