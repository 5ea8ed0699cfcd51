/**
 * The one byte form of plain data: what digests and hashes are computed over, and what core's own
 * state sections hold. Equal data gives equal bytes; maps are sorted by their keys' UTF-16 units.
 *
 *     tag  0 null   1 false   2 true   3 number (f64)   4 bigint >= 0 (u64)   5 bigint < 0 (i64)
 *          6 string (u32 length, UTF-8)   7 bytes (u32 length)   8 array (u32 count, items)
 *          9 map (u32 count, then key as string without tag, value)
 */
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import { ByteReader, ByteWriter } from "./bytes.js";
import { decodeUtf8, encodeUtf8 } from "./utf8.js";

const Tag = {
  null: 0,
  false: 1,
  true: 2,
  number: 3,
  unsigned: 4,
  negative: 5,
  string: 6,
  bytes: 7,
  array: 8,
  map: 9,
} as const;

const DEPTH_MAX = 64;

/** Data that a journal can't carry. */
export class PlainValueError extends Error {
  override readonly name = "PlainValueError";
  readonly place: string;
  constructor(place: string, reason: string) {
    super(`can't encode ${place}: ${reason}`);
    this.place = place;
  }
}

export function isPlainMap(value: PlainValue | undefined): value is { readonly [key: string]: PlainValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function isPrototypePlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Checks that `value` is plain data and gives it as such, without properties that are undefined.
 * Throws PlainValueError with the place of the first part that isn't.
 */
export function plainValue(value: unknown, place = "value"): PlainValue {
  if (value === null || typeof value === "string" || typeof value === "boolean" || typeof value === "bigint")
    return value;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new PlainValueError(place, `${value} is not a finite number`);
    return value;
  }
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map((item: unknown, index) => plainValue(item, `${place}[${index}]`));
  if (typeof value === "object" && isPrototypePlain(value)) {
    const result: Record<string, PlainValue> = {};
    for (const [key, item] of Object.entries(value))
      if (item !== undefined) result[key] = plainValue(item, `${place}.${key}`);
    return result;
  }
  throw new PlainValueError(place, `${typeof value} is not plain data`);
}

function writeValue(writer: ByteWriter, value: PlainValue, depth: number): void {
  if (depth > DEPTH_MAX) throw new PlainValueError("value", `nested deeper than ${DEPTH_MAX}`);
  if (value === null) writer.u8(Tag.null);
  else if (typeof value === "boolean") writer.u8(value ? Tag.true : Tag.false);
  else if (typeof value === "number") {
    writer.u8(Tag.number);
    writer.f64(value === 0 ? 0 : value);
  } else if (typeof value === "bigint") {
    const low = value >= 0n ? 0n : -(1n << 63n);
    const high = value >= 0n ? (1n << 64n) - 1n : -1n;
    if (value < low || value > high) throw new PlainValueError("value", `${value} does not fit into 64 bits`);
    writer.u8(value >= 0n ? Tag.unsigned : Tag.negative);
    writer.u64(value & 0xffff_ffff_ffff_ffffn);
  } else if (typeof value === "string") {
    writer.u8(Tag.string);
    writer.block(encodeUtf8(value));
  } else if (value instanceof Uint8Array) {
    writer.u8(Tag.bytes);
    writer.block(value);
  } else if (isPlainMap(value)) {
    const keys = Object.keys(value).sort();
    writer.u8(Tag.map);
    writer.u32(keys.length);
    for (const key of keys) {
      writer.block(encodeUtf8(key));
      writeValue(writer, value[key] ?? null, depth + 1);
    }
  } else {
    writer.u8(Tag.array);
    writer.u32(value.length);
    for (const item of value) writeValue(writer, item, depth + 1);
  }
}

export function encodeCanonical(value: PlainValue): Uint8Array {
  const writer = new ByteWriter();
  writeValue(writer, value, 0);
  return writer.finish();
}

/** As `encodeCanonical`, into a writer that the caller reuses: for values of a megabyte. */
export function writeCanonical(writer: ByteWriter, value: PlainValue): void {
  writeValue(writer, value, 0);
}

function readMap(reader: ByteReader, depth: number): PlainValue {
  const count = reader.u32();
  const map: Record<string, PlainValue> = {};
  for (let index = 0; index < count; index++) map[decodeUtf8(reader.block())] = readValue(reader, depth + 1);
  return map;
}

function readValue(reader: ByteReader, depth: number): PlainValue {
  if (depth > DEPTH_MAX) throw new RangeError(`nested deeper than ${DEPTH_MAX}`);
  const tag = reader.u8();
  switch (tag) {
    case Tag.null:
      return null;
    case Tag.false:
      return false;
    case Tag.true:
      return true;
    case Tag.number:
      return reader.f64();
    case Tag.unsigned:
      return reader.u64();
    case Tag.negative:
      return BigInt.asIntN(64, reader.u64());
    case Tag.string:
      return decodeUtf8(reader.block());
    case Tag.bytes:
      return reader.block();
    case Tag.array: {
      const count = reader.u32();
      const items: PlainValue[] = [];
      for (let index = 0; index < count; index++) items.push(readValue(reader, depth + 1));
      return items;
    }
    case Tag.map:
      return readMap(reader, depth);
    default:
      throw new RangeError(`unknown tag ${tag}`);
  }
}

/** Throws RangeError for bytes that `encodeCanonical` does not write. */
export function decodeCanonical(bytes: Uint8Array): PlainValue {
  const reader = new ByteReader(bytes);
  const value = readValue(reader, 0);
  if (reader.left > 0) throw new RangeError(`${reader.left} bytes behind the value`);
  return value;
}

/** As `decodeCanonical`, where only a map will do. */
export function decodeCanonicalMap(bytes: Uint8Array): EventPayload {
  const value = decodeCanonical(bytes);
  if (!isPlainMap(value)) throw new RangeError("a map was expected");
  return value;
}
