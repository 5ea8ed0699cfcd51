/**
 * A decoded instruction in memory:
 *
 *     0        2        4        6        8                16
 *     +--------+--------+--------+--------+-----------------+
 *     |variant | u16    | u16    | u16    | i64 | 2 i32 | .. |
 *     +--------+--------+--------+--------+-----------------+
 *
 * With a granule of one byte a record has 32 bytes and its length in the first u16.
 */
import type { Instruction } from "../stage/instruction.js";
import { operandKind } from "../stage/program-builder.js";

/** Variants with a meaning of their own; the definitions' follow. */
export const SpecialVariant = { decode: 0, pageEnd: 1, region: 2 } as const;
export const FIRST_VARIANT = 3;

/** Where in a record of `SpecialVariant.region` stand the block it begins, its region's function in the table, and the units of the block. */
export const RegionRecord = { block: 4, function: 8, units: 12 } as const;

/** Where the length stands in a record with a granule of one byte. */
export const LENGTH_OFFSET = 2;

export interface RecordGeometry {
  readonly recordBytes: number;
  /** log2 of record bytes per byte of code: rec - base = offset << shift. */
  readonly shift: number;
  readonly slots: number;
  /** Bytes of one decoded page, with the record behind the last slot. */
  readonly pageBytes: number;
}

export function recordGeometry(granule: 1 | 4): RecordGeometry {
  const recordBytes = granule === 4 ? 16 : 32;
  const slots = 4096 / granule;
  return { recordBytes, shift: Math.log2(recordBytes / granule), slots, pageBytes: (slots + 1) * recordBytes };
}

export interface OperandPlace {
  readonly kind: "u16" | "i32" | "i64";
  readonly offset: number;
}

/** Places of the operands by name. Throws RangeError when they do not fit. */
export function placeOperands(instruction: Instruction, granule: 1 | 4): ReadonlyMap<string, OperandPlace> {
  const places = new Map<string, OperandPlace>();
  const end = granule === 4 ? 16 : 32;
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
