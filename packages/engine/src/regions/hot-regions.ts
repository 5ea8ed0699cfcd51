/**
 * Finds by sampling where a guest spends its time, and lets it run there in compiled regions. A region is entered through
 * records in the decoded page of its blocks' first instructions; they stand aside where the budget is too short.
 */
import type { DecodeCache, DecodedPage } from "../decode/decode-cache.js";
import { RegionRecord, SpecialVariant } from "../decode/record.js";
import { engineState } from "../engine-fields.js";
import type { HandlerContext } from "../interpreter/out-of-line.js";
import { compileRegion } from "./compile-region.js";
import { findRegion, type Region } from "./region.js";

/** When a place is hot. Never shows. */
export interface RegionPolicy {
  /** Units between two samples of pc, in turn, from the first with each run. */
  readonly sampleUnits: readonly number[];
  /** Samples in one line of code that make it hot. */
  readonly hotSamples: number;
}

/** A region costs some milliseconds in all, its place about as much in the interpreter until then. */
export const DEFAULT_REGION_POLICY: RegionPolicy = { sampleUnits: [32_768], hotSamples: 96 };
/** Compiles whatever is met: for tests. Their runs are short, so the first samples are; the later slices hold many turns of a loop. */
export const EAGER_REGION_POLICY: RegionPolicy = { sampleUnits: [5, 19, 1009], hotSamples: 1 };

/** Functions of regions stand in the table behind those of variants. */
export const REGION_TABLE_START = 32_768;
export const REGIONS_MAX = 512;
const LINE_SHIFT = 6;
const HAS_REGION = 0xffff_ffff;
/** A hot line without a loop is looked at once more, after so many times the samples: each look compiles on suspicion. */
const LOOK_AGAIN = 16;
const PAGE_BYTES = 4096;

export interface HotRegionsOptions extends HandlerContext {
  readonly buffer: ArrayBuffer;
  readonly decoded: DecodeCache;
  readonly table: WebAssembly.Table;
  readonly policy: RegionPolicy;
}

/** The way into a region at the first instruction of one of its blocks. */
interface Entry {
  readonly record: number;
  readonly block: number;
  readonly tableIndex: number;
  readonly units: number;
}

export class HotRegions {
  readonly #options: HotRegionsOptions;
  readonly #view: DataView;
  /** Samples by decoded page, then by line; `HAS_REGION` where none are taken any more. */
  readonly #samples = new Map<number, Uint32Array>();
  /** Entries by page of RAM, then by record. */
  readonly #entries = new Map<number, Map<number, Entry>>();
  /** Entries that stand aside until the next run. */
  readonly #aside: Entry[] = [];
  #count = 0;
  #slice = 0;
  /** Regions compiled so far. */
  compiledCount = 0;

  constructor(options: HotRegionsOptions) {
    this.#options = options;
    this.#view = new DataView(options.buffer);
  }

  /** A run begins. */
  begin(): void {
    this.#slice = 0;
  }

  /** Units until the next sample. */
  get sampleUnits(): number {
    const { sampleUnits } = this.#options.policy;
    return sampleUnits[this.#slice % sampleUnits.length] ?? Infinity;
  }

  /** Before the vCPU runs again: what stood aside comes back. */
  comeBack(): void {
    if (this.#aside.length === 0) return;
    for (const entry of this.#aside) this.#write(entry);
    this.#aside.length = 0;
  }

  /** The budget is too short for the block of this record: the interpreter goes on with what is decoded here. */
  standAside(record: number): void {
    const { pageIndex } = this.#options.decoded.pageOf(record);
    const entry = this.#entries.get(pageIndex)?.get(record);
    if (entry !== undefined) this.#aside.push(entry);
    this.#options.decoded.decode(record);
  }

  /** The budget of a slice has run out at `offset` of a decoded page. */
  sample(base: number, offset: number): void {
    const lines = this.#samples.get(base) ?? new Uint32Array(PAGE_BYTES >> LINE_SHIFT);
    this.#samples.set(base, lines);
    const line = offset >> LINE_SHIFT;
    const samples = Math.min((lines[line] ?? 0) + 1, HAS_REGION);
    lines[line] = samples;
    if (!this.#isHot(samples)) return;
    const page = this.#options.decoded.pageOf(base);
    this.comeBack();
    const region = findRegion(this.#options.decoded, page, offset, this.#options.cpu.granule);
    if (region === undefined) return;
    this.#install(page, region);
    // All of its lines: each would be found hot otherwise, and the same loop compiled again.
    lines[line] = HAS_REGION;
    for (const { instructions } of region)
      for (const instruction of instructions) lines[instruction.offset >> LINE_SHIFT] = HAS_REGION;
  }

  /** Where there was no loop the first time, much of it may not have run yet. */
  #isHot(samples: number): boolean {
    const times = samples / this.#options.policy.hotSamples;
    return samples !== HAS_REGION && (times === 1 || times === LOOK_AGAIN);
  }

  /** Whether compiled code of a page of RAM exists: a write to the page must end its instruction's region. */
  has(pageIndex: number): boolean {
    return this.#entries.has(pageIndex);
  }

  /** Code of a page was written; true when compiled code went. */
  invalidate(pageIndex: number): boolean {
    this.#lookAgain(pageIndex);
    const entries = this.#entries.get(pageIndex);
    if (entries === undefined) return false;
    this.#entries.delete(pageIndex);
    for (const { record } of entries.values()) this.#view.setUint16(record, SpecialVariant.decode, true);
    const kept = this.#aside.filter(({ record }) => !entries.has(record));
    this.#aside.splice(0, this.#aside.length, ...kept);
    return true;
  }

  /** All decoded pages are gone, and the records in them. */
  clear(): void {
    this.#samples.clear();
    this.#entries.clear();
    this.#aside.length = 0;
    for (let index = 0; index < this.#count; index++) this.#options.table.set(REGION_TABLE_START + index, null);
    this.#count = 0;
    // Nothing is decoded for the page that ran last: a vCPU that can't fetch may stand in it for long.
    this.#view.setInt32(engineState.decodedBase.offset, 0, true);
  }

  /** What was hot may become so again, with other code. */
  #lookAgain(pageIndex: number): void {
    const { decoded, policy } = this.#options;
    for (const { base } of decoded.pagesOf(pageIndex)) {
      const lines = this.#samples.get(base);
      lines?.forEach((samples, line) => {
        if (samples >= policy.hotSamples) lines[line] = 0;
      });
    }
  }

  /** So that a guest which makes code anew again and again has its hot places compiled still. */
  #startOver(): void {
    for (const pageIndex of [...this.#entries.keys()]) this.invalidate(pageIndex);
    this.clear();
  }

  #install(page: DecodedPage, region: Region): void {
    if (this.#count >= REGIONS_MAX) this.#startOver();
    const { table, decoded } = this.#options;
    const tableIndex = REGION_TABLE_START + this.#count;
    this.#count += 1;
    table.set(tableIndex, compileRegion(this.#options, region));
    this.compiledCount += 1;
    const entries = this.#entries.get(page.pageIndex) ?? new Map<number, Entry>();
    this.#entries.set(page.pageIndex, entries);
    region.forEach(({ offset, instructions }, block) => {
      const record = decoded.recordAt(page, offset);
      const entry = { record, block, tableIndex, units: instructions.length };
      entries.set(record, entry);
      this.#write(entry);
    });
  }

  #write({ record, block, tableIndex, units }: Entry): void {
    this.#view.setUint16(record, SpecialVariant.region, true);
    this.#view.setUint16(record + RegionRecord.block, block, true);
    this.#view.setInt32(record + RegionRecord.function, tableIndex, true);
    this.#view.setInt32(record + RegionRecord.units, units, true);
  }

  /** Takes a sample where the vCPU stands, if it stands in the page that ran last. */
  sampleAt(pc: bigint): void {
    this.#slice += 1;
    const base = this.#view.getUint32(engineState.decodedBase.offset, true);
    const page = this.#view.getBigUint64(engineState.codePage.offset, true);
    if (base === 0 || (pc & ~BigInt(PAGE_BYTES - 1)) !== page) return;
    this.sample(base, Number(pc & BigInt(PAGE_BYTES - 1)));
  }
}
