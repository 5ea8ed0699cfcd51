/** Where in a decoded page the records of its instructions stand. */
import { type DenseGeometry, PackedPlace, PackedRecord, RECORD_UNIT, SpecialVariant } from "./record.js";

/** A decoded page, as far as its records' places go. */
export interface PlacedPage {
  readonly base: number;
  /** Packed: the record behind the last run. */
  end: number;
}

export interface RecordPlaces {
  /** Makes a page empty. `isZero`: its memory was never written. */
  reset(page: PlacedPage, isZero: boolean): void;
  /** Whether an instruction at an offset has been decoded, and is kept. */
  isDecoded(page: PlacedPage, offset: number): boolean;
  /** The record of the instruction at an offset where one is decoded. */
  at(page: PlacedPage, offset: number): number;
  /** The offset of a record's instruction. */
  offsetOf(page: PlacedPage, record: number): number;
  /** What starts at `from` or behind it, and before `end`, is not decoded any more. */
  forget(page: PlacedPage, from: number, end: number): void;
}

/** Each word of a page has its place. */
export class DenseRecords implements RecordPlaces {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #geometry: DenseGeometry;

  constructor(buffer: ArrayBuffer, geometry: DenseGeometry) {
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#geometry = geometry;
  }

  /** Most of a page is never looked at, and the host gives memory as it is touched. */
  reset({ base }: PlacedPage, isZero: boolean): void {
    const { pageBytes } = this.#geometry;
    if (!isZero) this.#bytes.fill(0, base, base + pageBytes);
    this.#view.setUint16(base + pageBytes - RECORD_UNIT, SpecialVariant.pageEnd, true);
  }

  isDecoded(page: PlacedPage, offset: number): boolean {
    return this.#view.getUint16(this.at(page, offset), true) !== SpecialVariant.decode;
  }

  at({ base }: PlacedPage, offset: number): number {
    return base + (offset << this.#geometry.shift);
  }

  offsetOf({ base }: PlacedPage, record: number): number {
    return (record - base) >> this.#geometry.shift;
  }

  forget(page: PlacedPage, from: number, end: number): void {
    const behind = this.at(page, end);
    for (let record = this.at(page, from); record < behind; record += RECORD_UNIT)
      this.#view.setUint16(record, SpecialVariant.decode, true);
  }
}

/** Instructions stand in runs, as they were first run; a table leads to each. */
export class PackedRecords implements RecordPlaces {
  readonly #view: DataView;
  readonly #halfwords: Uint16Array;
  readonly #pageBytes: number;

  constructor(buffer: ArrayBuffer, pageBytes: number) {
    this.#view = new DataView(buffer);
    this.#halfwords = new Uint16Array(buffer);
    this.#pageBytes = pageBytes;
  }

  reset(page: PlacedPage, isZero: boolean): void {
    const table = (page.base + PackedPlace.table) / 2;
    if (!isZero) this.#halfwords.fill(0, table, table + 4096);
    this.#view.setUint16(page.base + PackedPlace.unkept, SpecialVariant.decode, true);
    page.end = page.base + PackedPlace.firstRecord - RECORD_UNIT;
  }

  isDecoded(page: PlacedPage, offset: number): boolean {
    return this.#entry(page, offset) !== 0;
  }

  at(page: PlacedPage, offset: number): number {
    return page.base + this.#entry(page, offset) * RECORD_UNIT;
  }

  offsetOf(_page: PlacedPage, record: number): number {
    return this.#view.getUint16(record + PackedRecord.offset, true);
  }

  forget(page: PlacedPage, from: number, end: number): void {
    for (let offset = from; offset < end; offset++) {
      if (!this.isDecoded(page, offset)) continue;
      this.#view.setUint16(this.at(page, offset), SpecialVariant.decode, true);
      this.#halfwords[(page.base + PackedPlace.table) / 2 + offset] = 0;
    }
  }

  /** Where the instruction behind `record` can be decoded: there, when nothing follows yet. Undefined: the page is full. */
  free(page: PlacedPage, record: number): number | undefined {
    const place = record === page.end ? record : page.end + RECORD_UNIT;
    return place + 3 * RECORD_UNIT > page.base + this.#pageBytes ? undefined : place;
  }

  /** A record has been written at a free place. */
  keep(page: PlacedPage, record: number, offset: number, length: number, recordBytes: number): void {
    this.setOffset(record, offset);
    this.#halfwords[(page.base + PackedPlace.table) / 2 + offset] = (record - page.base) / RECORD_UNIT;
    page.end = record + recordBytes;
    this.#goOn(page, offset + length);
  }

  /** The run goes on at an offset. */
  #goOn(page: PlacedPage, offset: number): void {
    const { end } = page;
    this.setOffset(end, offset);
    if (offset < 4096 && this.isDecoded(page, offset)) this.link(end, this.at(page, offset));
    else this.#view.setUint16(end, offset === 4096 ? SpecialVariant.pageEnd : SpecialVariant.decode, true);
  }

  setOffset(record: number, offset: number): void {
    this.#view.setUint16(record + PackedRecord.offset, offset, true);
  }

  /** From now on `record` leads to another. */
  link(record: number, to: number): void {
    this.#view.setInt32(record + PackedRecord.link, to, true);
    this.#view.setUint16(record, SpecialVariant.link, true);
  }

  /** The record that is not kept has been written, all but its variant. */
  noteUnkept({ base }: PlacedPage, offset: number, length: number, recordBytes: number): void {
    const record = base + PackedPlace.unkept;
    this.#view.setUint16(record, SpecialVariant.decode, true);
    this.setOffset(record, offset);
    this.setOffset(record + recordBytes, offset + length);
    this.setOffset(base + PackedPlace.nextOfUnkept, offset + length);
  }

  #entry({ base }: PlacedPage, offset: number): number {
    return this.#halfwords[(base + PackedPlace.table) / 2 + offset] ?? 0;
  }
}
