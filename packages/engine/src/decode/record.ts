/**
 * A decoded instruction in memory:
 *
 *     0        2        4        6        8                16
 *     +--------+--------+--------+--------+-----------------+
 *     |variant | u16    | u16    | u16    | i64 | 2 i32 | .. |
 *     +--------+--------+--------+--------+-----------------+
 *
 * Words of 32 bits have one of 16 bytes each, in the order of their addresses. Instructions of variable length have records of
 * 16 or 32 bytes in the order in which they were first run, with the instruction's offset in its page in the first u16, and a
 * table that leads from offsets to records.
 */
import type { Instruction } from "../stage/instruction.js";
import { operandKind } from "../stage/program-builder.js";

/** Variants with a meaning of their own; the definitions' follow. */
export const SpecialVariant = { decode: 0, pageEnd: 1, region: 2, link: 3 } as const;
export const FIRST_VARIANT = 4;

/** Where in a record of `SpecialVariant.region` stand the block it begins, its region's function in the table, and the units of the block. */
export const RegionRecord = { block: 4, function: 8, units: 12 } as const;

/** Records of this many bytes, or twice as many. */
export const RECORD_UNIT = 16;

/** Of a variant outside the main loop, and the most that a record may have. */
export function outOfLineRecordBytes(granule: 1 | 4): number {
  return granule === 4 ? RECORD_UNIT : 2 * RECORD_UNIT;
}

/** Of words: the record at `offset << shift` from the page's base, and one behind the last for the page's end. */
export interface DenseGeometry {
  readonly kind: "dense";
  /** log2 of record bytes per byte of code. */
  readonly shift: number;
  /** Bytes of one decoded page. */
  readonly pageBytes: number;
}

/**
 * Of instructions of variable length: from the page's base first a record that is not kept, for what runs once, then the table,
 * then records in runs. Behind the last instruction of a run stands a record with the offset where it goes on.
 */
export interface PackedGeometry {
  readonly kind: "packed";
  readonly pageBytes: number;
}

export type RecordGeometry = DenseGeometry | PackedGeometry;

/**
 * Places in a packed page and its records, in bytes. The record behind the one that is not kept stands where its size says, and
 * at `nextOfUnkept` too; a word of the table is a place in units of 16 bytes, 0 where nothing is decoded.
 */
export const PackedPlace = { unkept: 0, nextOfUnkept: 48, table: 64, firstRecord: 64 + 2 * 4096 } as const;
/** In a packed record: the offset of its instruction in the page, at most 4096 and an instruction's length; where a link leads. */
export const PackedRecord = { offset: 2, link: 4 } as const;

/** Room for 4096 records of the small size; a page of dense code has some 1300 instructions. */
const PACKED_PAGE_BYTES = PackedPlace.firstRecord + 4096 * RECORD_UNIT;

export function recordGeometry(granule: 1 | 4): RecordGeometry {
  if (granule === 1) return { kind: "packed", pageBytes: PACKED_PAGE_BYTES };
  return { kind: "dense", shift: Math.log2(RECORD_UNIT / granule), pageBytes: (4096 / granule + 1) * RECORD_UNIT };
}

export interface OperandPlace {
  readonly kind: "u16" | "i32" | "i64";
  readonly offset: number;
}

/** Places of the operands by name. Throws RangeError when they do not fit. */
export function placeOperands(instruction: Instruction, granule: 1 | 4): ReadonlyMap<string, OperandPlace> {
  const places = new Map<string, OperandPlace>();
  const end = outOfLineRecordBytes(granule);
  const small = granule === 4 ? [2, 4, 6] : [4, 6];
  let large = 8;
  const entries = Object.entries(instruction.operands).map(([name, source]) => ({ name, kind: operandKind(source) }));
  for (const { name, kind } of entries.filter((entry) => entry.kind === "i64")) {
    places.set(name, { kind, offset: large });
    large += 8;
  }
  for (const { name, kind } of entries.filter((entry) => entry.kind === "i32")) {
    places.set(name, { kind, offset: large });
    large += 4;
  }
  for (const { name, kind } of entries.filter((entry) => entry.kind === "u16")) {
    const offset = small.shift() ?? (large += 2) - 2;
    places.set(name, { kind, offset });
  }
  if (large > end) throw new RangeError(`${instruction.mnemonic}: operands need ${large} bytes of a record of ${end}`);
  return places;
}

/** Bytes of a record up to the end of its operands. */
export function operandsEnd(places: ReadonlyMap<string, OperandPlace>): number {
  return Math.max(0, ...[...places.values()].map(({ kind, offset }) => offset + OPERAND_BYTES[kind]));
}

const OPERAND_BYTES = { u16: 2, i32: 4, i64: 8 } as const;

/** Writes the operands of a decoded instruction into its record. */
export function writeOperands(
  view: DataView,
  record: number,
  instruction: Instruction,
  places: ReadonlyMap<string, OperandPlace>,
  fields: Readonly<Record<string, number>>,
): void {
  for (const [name, place] of places) {
    const source = instruction.operands[name];
    if (source !== undefined) writeOperand(view, record, place, operandValue(source, fields));
  }
}

export function writeOperand(view: DataView, record: number, place: OperandPlace, value: number | bigint): void {
  if (place.kind === "i64") view.setBigInt64(record + place.offset, BigInt.asIntN(64, BigInt(value)), true);
  else if (place.kind === "i32") view.setInt32(record + place.offset, Number(value), true);
  else view.setUint16(record + place.offset, Number(value), true);
}

export function operandValue(
  source: Instruction["operands"][string],
  fields: Readonly<Record<string, number>>,
): number | bigint {
  if ("u16" in source) return source.u16(fields);
  if ("i32" in source) return source.i32(fields);
  return source.i64(fields);
}
