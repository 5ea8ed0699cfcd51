/** Decoded pages: one for each physical page and context that has run. */
import type { CpuDefinition } from "../cpu-definition.js";
import type { Instruction } from "../stage/instruction.js";
import { ByteTemplates, type Written } from "./byte-templates.js";
import { Decoder } from "./decoder.js";
import { packForm } from "./form.js";
import {
  FIRST_VARIANT,
  PackedPlace,
  RECORD_UNIT,
  type RecordGeometry,
  SpecialVariant,
  writeOperands,
} from "./record.js";
import { DenseRecords, PackedRecords, type PlacedPage, type RecordPlaces } from "./record-places.js";
import { RecordTemplates } from "./record-templates.js";
import type { TailNumber, VariableLength, VariableLengthDecoder } from "./variable-length.js";
import type { Variant, VariantTable } from "./variant-table.js";

/** A decoded page: where its records lie, and what they are of. */
export interface DecodedPage extends PlacedPage {
  readonly pageIndex: number;
  readonly context: number;
  /** For each line of `LINE_BYTES`: 1 when an instruction that starts there may be decoded. */
  readonly lines: Uint8Array;
  /** How often it was written since an instruction of it was last decoded. */
  writes: number;
}

/** The instruction at a place of memory. */
export interface DecodedInstruction {
  readonly variant: Variant;
  readonly fields: Readonly<Record<string, number>>;
  /** How many bytes it has. */
  readonly bytes: number;
  /** See `DecodedBytes`. */
  readonly tail?: readonly TailNumber[] | undefined;
}

/** What `decode` gives beside a record to go on with, or the number of a variant, which is below all records. */
export const DecodeResult = {
  /** Of words: the record is complete; go on with it. */
  kept: 0,
  /** The instruction reaches into a page that can't be fetched; `fault*` are written. */
  fetchFault: -1,
  variantEnd: 0x1_0000,
} as const;

const PAGE_BYTES = 4096;
/** Lines of this many bytes are invalidated together. */
const LINE_SHIFT = 6;
const LINE_BYTES = 1 << LINE_SHIFT;
/** A page that is written more often than this without being run holds code no more: it is cleared, or filled anew. */
const WRITES_BEFORE_DROP = 8;

export interface DecodeCacheOptions {
  readonly buffer: ArrayBuffer;
  readonly cpu: CpuDefinition;
  readonly records: RecordGeometry;
  /** Where the decoded pages start, how many there may be, and where RAM starts. */
  readonly start: number;
  readonly capacity: number;
  readonly ramStart: number;
  readonly variants: VariantTable;
  /** Something of a page of RAM is decoded: writes to it are to be told by `invalidate`. */
  readonly markCode: (pageIndex: number) => void;
  /** Loads a page of RAM whose content is yet to come. */
  readonly ensureLoaded: (pageIndex: number) => void;
  /** No room is left for records of a page: entries of compiled code go with those that are there. */
  readonly dropCompiled: (pageIndex: number) => void;
  /** A record of this variant is about to run: from its place among the records (`isKept`), or on its own. */
  readonly needHandler: (variant: Variant, isKept: boolean) => void;
  /** Fetches the page behind the one that runs: its page of RAM, or undefined after writing `fault*`. */
  readonly fetchFollowingPage: () => number | undefined;
}

export class DecodeCache {
  readonly #options: DecodeCacheOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #places: RecordPlaces;
  /** `#places`, of an architecture of variable length. */
  readonly #packed: PackedRecords | undefined;
  readonly #pages = new Map<number, DecodedPage>();
  readonly #byIndex: DecodedPage[] = [];
  readonly #byPhysical = new Map<number, DecodedPage[]>();
  readonly #byList = new Map<readonly Instruction[], WordDecoder>();
  readonly #wordDecoders = new Map<number, WordDecoder>();
  readonly #byteDecoders = new Map<readonly Instruction[], ByteDecoder>();
  /** That of the context that was asked for last: most pages share one with the page before. */
  #lastByteDecoder: (ByteDecoder & { readonly context: number }) | undefined;
  /** Places of decoded pages that were ever taken: those behind are zero still. */
  #placesUsed = 0;
  readonly #undefined: Instruction;
  /** Undefined encodings that were decoded, by encoding. */
  readonly undefinedEncodings = new Map<number, number>();

  constructor(options: DecodeCacheOptions, undefinedInstruction: Instruction) {
    this.#options = options;
    this.#view = new DataView(options.buffer);
    this.#bytes = new Uint8Array(options.buffer);
    this.#words = new Int32Array(options.buffer);
    const { buffer, records } = options;
    if (records.kind === "packed") this.#places = this.#packed = new PackedRecords(buffer, records.pageBytes);
    else this.#places = new DenseRecords(buffer, records);
    this.#undefined = undefinedInstruction;
  }

  /** The decoded page, made when there is none; undefined when all places are taken (`clear`, and ask again). */
  page(pageIndex: number, context: number): DecodedPage | undefined {
    const key = pageIndex * PAGE_BYTES + context;
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    if (this.#byIndex.length >= this.#options.capacity) return undefined;
    const { start, records } = this.#options;
    const page = {
      base: start + this.#byIndex.length * records.pageBytes,
      pageIndex,
      context,
      lines: noLines(),
      writes: 0,
      end: 0,
    };
    const isZero = this.#byIndex.length >= this.#placesUsed;
    if (isZero) this.#placesUsed = this.#byIndex.length + 1;
    this.#places.reset(page, isZero);
    this.#byIndex.push(page);
    this.#pages.set(key, page);
    const same = this.#byPhysical.get(pageIndex);
    if (same === undefined) this.#byPhysical.set(pageIndex, [page]);
    else same.push(page);
    return page;
  }

  /** The page that a record lies in. */
  pageOf(record: number): DecodedPage {
    const page = this.pageAt(record);
    if (page === undefined) throw new Error(`record ${record} lies in no decoded page`);
    return page;
  }

  /** The decoded page that `record` lies in, if it lies in one. */
  pageAt(record: number): DecodedPage | undefined {
    return this.#byIndex[Math.floor((record - this.#options.start) / this.#options.records.pageBytes)];
  }

  /** Whether an instruction at an offset of a page has been decoded, and is kept. */
  isDecoded(page: DecodedPage, offset: number): boolean {
    return this.#places.isDecoded(page, offset);
  }

  /** The record of the instruction at an offset, which is decoded. */
  recordAt(page: DecodedPage, offset: number): number {
    return this.#places.at(page, offset);
  }

  /** The instruction at an offset of a decoded page; undefined when it can't be told without the page behind. */
  instructionAt(page: DecodedPage, offset: number): DecodedInstruction | undefined {
    const { cpu, ensureLoaded, ramStart } = this.#options;
    ensureLoaded(page.pageIndex);
    if (cpu.variableLength !== undefined)
      return this.lookUpBytes(this.#bytesAt(page.pageIndex, offset, cpu.variableLength), page.context);
    return this.lookUp(this.#view.getUint32(ramStart + page.pageIndex * PAGE_BYTES + offset, true), page.context);
  }

  /**
   * The host function `decodeRecord`: of words a `DecodeResult`. Of instructions of variable length the record to go on with,
   * or the number of a variant. Then the record that is not kept holds all but that number, which is for this one execution:
   * an instruction that reaches into the next page is decoded each time, because what stands there depends on how that page is
   * mapped.
   */
  decode(record: number): number {
    const page = this.pageOf(record);
    const offset = this.#places.offsetOf(page, record);
    page.lines[offset >> LINE_SHIFT] = 1;
    page.writes = 0;
    this.#options.markCode(page.pageIndex);
    if (this.#packed === undefined) return this.#decodeWord(page, offset, record);
    const kept = this.#recordFor(this.#packed, page, offset, record);
    if (kept !== undefined) return kept;
    const following = this.#options.fetchFollowingPage();
    if (following === undefined) return DecodeResult.fetchFault;
    return this.#decodeUnkept(this.#packed, page, offset, following);
  }

  /** The complete record of the instruction at `offset`, to which `record` leads from now on; undefined: it reaches into the page behind. */
  #recordFor(packed: PackedRecords, page: DecodedPage, offset: number, record: number): number | undefined {
    if (packed.isDecoded(page, offset)) {
      // A region was entered there, or a run has come to what is decoded elsewhere.
      const known = packed.at(page, offset);
      if (this.#view.getUint16(known, true) < FIRST_VARIANT) this.#decodeInPage(packed, page, offset, known);
      this.#link(packed, page, record, known);
      return known;
    }
    const free = packed.free(page, record);
    if (free === undefined) {
      this.#empty(page);
      return this.#recordFor(packed, page, offset, page.base + PackedPlace.unkept);
    }
    const written = this.#decodeInPage(packed, page, offset, free);
    if (written === undefined) return undefined;
    packed.keep(page, free, offset, written.length, written.recordBytes);
    this.#link(packed, page, record, free);
    return free;
  }

  #link(packed: PackedRecords, page: DecodedPage, record: number, to: number): void {
    if (record !== to && record !== page.base + PackedPlace.unkept) packed.link(record, to);
  }

  /** Its room for records is used up: by code that was written again and again. */
  #empty(page: DecodedPage): void {
    this.#options.dropCompiled(page.pageIndex);
    this.#places.reset(page, false);
  }

  /** Writes the record of an instruction; undefined: it reaches into the page behind. */
  #decodeInPage(packed: PackedRecords, page: DecodedPage, offset: number, record: number): Written | undefined {
    const { ensureLoaded, ramStart } = this.#options;
    ensureLoaded(page.pageIndex);
    const start = ramStart + page.pageIndex * PAGE_BYTES;
    const { templates } = this.#byteDecoder(page.context);
    const copied = templates.copy(start + offset, start + PAGE_BYTES, record);
    if (copied === "crosses") return undefined;
    if (copied !== "unknown") {
      packed.setOffset(record, offset);
      return copied;
    }
    const decoded = this.instructionAt(page, offset);
    if (decoded === undefined) return undefined;
    this.#writeRecord(record, decoded, true);
    this.#keep(page, offset, record, decoded);
    packed.setOffset(record, offset);
    return { length: decoded.bytes, recordBytes: decoded.variant.recordBytes };
  }

  /** Gives the variant. */
  #decodeUnkept(packed: PackedRecords, page: DecodedPage, offset: number, following: number): number {
    const { needHandler, ramStart, variants } = this.#options;
    const record = page.base + PackedPlace.unkept;
    const start = ramStart + page.pageIndex * PAGE_BYTES;
    const { templates } = this.#byteDecoder(page.context);
    // The page behind is that of RAM too, as it is of most code: so the bytes stand in a row.
    const isInRow = following === page.pageIndex + 1;
    const copied = isInRow ? templates.copy(start + offset, start + 2 * PAGE_BYTES, record) : "unknown";
    if (copied === "unknown" || copied === "crosses") {
      const decoded = this.#decodeAcrossPages(page, offset, following);
      this.#writeRecord(record, decoded, false);
      if (isInRow) this.#keep(page, offset, record, decoded);
      packed.noteUnkept(page, offset, decoded.bytes, decoded.variant.recordBytes);
      return decoded.variant.id;
    }
    const id = this.#view.getUint16(record, true);
    needHandler(variants.ofId(id), false);
    packed.noteUnkept(page, offset, copied.length, copied.recordBytes);
    return id;
  }

  /** Completes the record by its variant. */
  #keep(page: DecodedPage, offset: number, record: number, decoded: DecodedInstruction): void {
    const { variant, fields, bytes, tail } = decoded;
    this.#view.setUint16(record, variant.id, true);
    if (tail === undefined) return;
    this.#byteDecoder(page.context).templates.keep(this.#options.ramStart + page.pageIndex * PAGE_BYTES + offset, {
      ...{ instruction: variant.instruction, places: variant.places, recordBytes: variant.recordBytes },
      ...{ fields, length: bytes, tail, record },
    });
  }

  #decodeWord(page: DecodedPage, offset: number, record: number): number {
    const { ensureLoaded, ramStart } = this.#options;
    ensureLoaded(page.pageIndex);
    const word = (ramStart + page.pageIndex * PAGE_BYTES + offset) >>> 2;
    const encoding = this.#words[word] ?? 0;
    const { templates } = this.#wordDecoder(page.context);
    if (templates.copy(encoding, this.#words, record >>> 2)) {
      this.#decodeFollowing(templates, word, record);
      return DecodeResult.kept;
    }
    const decoded = this.lookUp(encoding >>> 0, page.context);
    this.#writeRecord(record, decoded, true);
    this.#view.setUint16(record, decoded.variant.id, true);
    // Each decoding of an undefined word is counted.
    if (decoded.variant.instruction !== this.#undefined) templates.keep(encoding, this.#words, record >>> 2);
    return DecodeResult.kept;
  }

  /** Of the words behind one whose record is there, to the end of the line: most will run next. */
  #decodeFollowing(templates: RecordTemplates, word: number, record: number): void {
    const last = word | (LINE_BYTES / 4 - 1);
    for (let next = record; word < last; word++) {
      next += RECORD_UNIT;
      if (this.#view.getUint16(next, true) !== SpecialVariant.decode) return;
      if (!templates.copy(this.#words[word + 1] ?? 0, this.#words, next >>> 2)) return;
    }
  }

  /** The variant and fields of an encoding of 32 bits; undefined ones have a variant of their own that raises. */
  lookUp(encoding: number, context: number): DecodedInstruction {
    const decoded = this.#wordDecoder(context).decoder.decode(encoding);
    if (decoded === undefined) return this.#undefinedOf(encoding, 4);
    return { variant: this.#options.variants.of(decoded), fields: decoded.fields, bytes: 4 };
  }

  /** The same of bytes; undefined when there are too few. An undefined instruction is counted by its first bytes, up to four. */
  lookUpBytes(bytes: Uint8Array, context: number): DecodedInstruction | undefined {
    const decoded = this.#byteDecoder(context).decoder.decode(bytes);
    if (decoded === undefined) return undefined;
    const { instruction, fields, length, tail } = decoded;
    if (instruction === undefined) {
      const first = bytes.subarray(0, Math.min(length, 4));
      return this.#undefinedOf(
        first.reduceRight((sum, byte) => sum * 256 + byte, 0),
        length,
      );
    }
    const form = packForm(instruction, fields);
    return { variant: this.#options.variants.of({ instruction, fields, form }), fields, bytes: length, tail };
  }

  /** Bytes `first` to `last` of a page of RAM are written. Gives whether nothing that is decoded is left of the page. */
  invalidate(pageIndex: number, first: number, last: number): boolean {
    // An instruction that starts in front of the first line may reach into it.
    const reach = (this.#options.cpu.variableLength?.lengthMax ?? 1) - 1;
    const from = Math.max(0, (first & ~(LINE_BYTES - 1)) - reach);
    let isEmpty = true;
    for (const page of this.pagesOf(pageIndex)) {
      if (++page.writes > WRITES_BEFORE_DROP) this.#invalidateLines(page, 0, PAGE_BYTES - 1);
      else this.#invalidateLines(page, from, last);
      isEmpty &&= !page.lines.includes(1);
    }
    return isEmpty;
  }

  #invalidateLines(page: DecodedPage, from: number, last: number): void {
    for (let line = from >> LINE_SHIFT; line <= last >> LINE_SHIFT; line++)
      if (page.lines[line] === 1) this.#invalidateLine(page, line, from);
  }

  /** Lines that were never decoded are left alone: writing them would make the host give memory for them. */
  #invalidateLine(page: DecodedPage, line: number, from: number): void {
    const lineStart = line << LINE_SHIFT;
    if (from <= lineStart) page.lines[line] = 0;
    this.#places.forget(page, Math.max(from, lineStart), lineStart + LINE_BYTES);
  }

  /** The decoded pages of a page of RAM, one for each context. */
  pagesOf(pageIndex: number): readonly DecodedPage[] {
    return this.#byPhysical.get(pageIndex) ?? [];
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

  #writeRecord(record: number, decoded: DecodedInstruction, isKept: boolean): void {
    const { variant, fields } = decoded;
    writeOperands(this.#view, record, variant.instruction, variant.places, fields);
    this.#options.needHandler(variant, isKept);
  }

  #undefinedOf(encoding: number, bytes: number): DecodedInstruction {
    this.undefinedEncodings.set(encoding, (this.undefinedEncodings.get(encoding) ?? 0) + 1);
    const fields = { encoding };
    return { variant: this.#options.variants.of({ instruction: this.#undefined, fields, form: 0 }), fields, bytes };
  }

  #decodeAcrossPages(page: DecodedPage, offset: number, following: number): DecodedInstruction {
    const { cpu } = this.#options;
    const { variableLength } = cpu;
    if (variableLength === undefined) throw new Error(`${cpu.name}: an instruction of a fixed length crosses a page`);
    const first = this.#bytesAt(page.pageIndex, offset, variableLength);
    const bytes = new Uint8Array(variableLength.lengthMax);
    bytes.set(first);
    bytes.set(this.#bytesAt(following, 0, variableLength).subarray(0, bytes.length - first.length), first.length);
    const decoded = this.lookUpBytes(bytes, page.context);
    if (decoded === undefined)
      throw new Error(`${cpu.name}: the decoder asks for more than ${variableLength.lengthMax} bytes`);
    return decoded;
  }

  /** Bytes of a page of RAM from an offset on: those of one instruction at most. */
  #bytesAt(pageIndex: number, offset: number, { lengthMax }: VariableLength): Uint8Array {
    const start = this.#options.ramStart + pageIndex * PAGE_BYTES;
    return this.#bytes.subarray(start + offset, start + Math.min(PAGE_BYTES, offset + lengthMax));
  }

  #byteDecoder(context: number): ByteDecoder {
    if (this.#lastByteDecoder?.context === context) return this.#lastByteDecoder;
    const { cpu, buffer } = this.#options;
    if (cpu.variableLength === undefined) throw new Error(`${cpu.name}: instructions are words of 32 bits`);
    const list = cpu.instructionsFor(context);
    const decoder = this.#byteDecoders.get(list) ?? {
      decoder: cpu.variableLength.decoderFor(list, context),
      templates: new ByteTemplates(buffer),
    };
    this.#byteDecoders.set(list, decoder);
    this.#lastByteDecoder = { ...decoder, context };
    return this.#lastByteDecoder;
  }

  #wordDecoder(context: number): WordDecoder {
    const known = this.#wordDecoders.get(context);
    if (known !== undefined) return known;
    const list = this.#options.cpu.instructionsFor(context);
    const made = this.#byList.get(list) ?? { decoder: new Decoder(list), templates: new RecordTemplates() };
    this.#byList.set(list, made);
    this.#wordDecoders.set(context, made);
    return made;
  }
}

function noLines(): Uint8Array {
  return new Uint8Array(PAGE_BYTES / LINE_BYTES);
}

/** What the words of some contexts mean. */
interface WordDecoder {
  readonly decoder: Decoder;
  readonly templates: RecordTemplates;
}

/** What the bytes of some contexts mean. */
interface ByteDecoder {
  readonly decoder: VariableLengthDecoder;
  readonly templates: ByteTemplates;
}
