/** Decoded pages: one for each physical page and context that has run. */
import type { CpuDefinition } from "../cpu-definition.js";
import { DECODED_PAGE_COUNT } from "../memory-map.js";
import type { Instruction } from "../stage/instruction.js";
import { Decoder } from "./decoder.js";
import { type RecordGeometry, SpecialVariant, writeOperands } from "./record.js";
import type { Variant, VariantTable } from "./variant-table.js";

/** A decoded page: where its records lie, and what they are of. */
export interface DecodedPage {
  readonly base: number;
  readonly pageIndex: number;
  readonly context: number;
}

/** Lines of this many bytes are invalidated together. */
const LINE_BYTES = 64;

export interface DecodeCacheOptions {
  readonly buffer: ArrayBuffer;
  readonly cpu: CpuDefinition;
  readonly records: RecordGeometry;
  /** Where the decoded pages start, and where RAM does. */
  readonly start: number;
  readonly ramStart: number;
  readonly variants: VariantTable;
  /** Loads a page of RAM whose content is yet to come. */
  readonly ensureLoaded: (pageIndex: number) => void;
  /** Makes a handler for a variant that has none. */
  readonly needHandler: (variant: Variant) => void;
}

export class DecodeCache {
  readonly #options: DecodeCacheOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #pages = new Map<number, DecodedPage>();
  readonly #byIndex: DecodedPage[] = [];
  readonly #byPhysical = new Map<number, DecodedPage[]>();
  readonly #decoders = new Map<readonly Instruction[], Decoder>();
  readonly #decoderOf = new Map<number, Decoder>();
  readonly #undefined: Instruction;
  /** Undefined encodings that were decoded, by encoding. */
  readonly undefinedEncodings = new Map<number, number>();

  constructor(options: DecodeCacheOptions, undefinedInstruction: Instruction) {
    this.#options = options;
    this.#view = new DataView(options.buffer);
    this.#bytes = new Uint8Array(options.buffer);
    this.#undefined = undefinedInstruction;
  }

  /** The decoded page, made when there is none; undefined when all places are taken (`clear`, and ask again). */
  page(pageIndex: number, context: number): DecodedPage | undefined {
    const key = pageIndex * 4096 + context;
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    if (this.#byIndex.length >= DECODED_PAGE_COUNT) return undefined;
    const { start, records } = this.#options;
    const page = { base: start + this.#byIndex.length * records.pageBytes, pageIndex, context };
    this.#bytes.fill(0, page.base, page.base + records.pageBytes);
    this.#view.setUint16(page.base + records.slots * records.recordBytes, SpecialVariant.pageEnd, true);
    this.#byIndex.push(page);
    this.#pages.set(key, page);
    const same = this.#byPhysical.get(pageIndex);
    if (same === undefined) this.#byPhysical.set(pageIndex, [page]);
    else same.push(page);
    return page;
  }

  /** The page that a record lies in. */
  pageOf(record: number): DecodedPage {
    const page = this.#byIndex[Math.floor((record - this.#options.start) / this.#options.records.pageBytes)];
    if (page === undefined) throw new Error(`record ${record} lies in no decoded page`);
    return page;
  }

  /** The encoding at an offset of a decoded page. */
  encodingAt(page: DecodedPage, offset: number): number {
    this.#options.ensureLoaded(page.pageIndex);
    return this.#view.getUint32(this.#options.ramStart + page.pageIndex * 4096 + offset, true);
  }

  /** The host function `decodeRecord`. */
  decode(record: number): void {
    const page = this.pageOf(record);
    const encoding = this.encodingAt(page, (record - page.base) >> this.#options.records.shift);
    const { variant, fields } = this.lookUp(encoding, page.context);
    writeOperands(this.#view, record, variant.instruction, variant.places, fields);
    this.#options.needHandler(variant);
    this.#view.setUint16(record, variant.id, true);
  }

  /** The variant and fields of an encoding; undefined ones have a variant of their own that raises. */
  lookUp(
    encoding: number,
    context: number,
  ): { readonly variant: Variant; readonly fields: Readonly<Record<string, number>> } {
    const decoded = this.#decoder(context).decode(encoding);
    if (decoded !== undefined) return { variant: this.#options.variants.of(decoded), fields: decoded.fields };
    this.undefinedEncodings.set(encoding, (this.undefinedEncodings.get(encoding) ?? 0) + 1);
    const fields = { encoding };
    return { variant: this.#options.variants.of({ instruction: this.#undefined, fields, form: 0 }), fields };
  }

  /** Bytes `first` to `last` of a page of RAM are written. Gives whether anything decoded was there. */
  invalidate(pageIndex: number, first: number, last: number): void {
    const { shift, slots, recordBytes } = this.#options.records;
    const from = (first & ~(LINE_BYTES - 1)) << shift;
    const to = Math.min(((last | (LINE_BYTES - 1)) + 1) << shift, slots * recordBytes);
    for (const page of this.#byPhysical.get(pageIndex) ?? []) {
      for (let record = page.base + from; record < page.base + to; record += recordBytes)
        this.#view.setUint16(record, SpecialVariant.decode, true);
    }
  }

  /** Pages of RAM that have decoded code. */
  physicalPages(): Iterable<number> {
    return this.#byPhysical.keys();
  }

  clear(): void {
    this.#pages.clear();
    this.#byIndex.length = 0;
    this.#byPhysical.clear();
  }

  #decoder(context: number): Decoder {
    const known = this.#decoderOf.get(context);
    if (known !== undefined) return known;
    const list = this.#options.cpu.instructionsFor(context);
    const decoder = this.#decoders.get(list) ?? new Decoder(list);
    this.#decoders.set(list, decoder);
    this.#decoderOf.set(context, decoder);
    return decoder;
  }
}
