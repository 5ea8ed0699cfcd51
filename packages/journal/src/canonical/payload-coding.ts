/**
 * Payloads as standard msgpack: no extensions, no records, bigints as 64-bit integers, bytes as
 * bin, integral numbers beyond 32 bits as float64, maps in order of their keys: those that are
 * array indexes ascending, then the others by UTF-16 code units. Equal payloads give equal bytes.
 */
import type { EventPayload, PlainValue } from "@hvjournal/core";
import { Packr, Unpackr } from "msgpackr";
import { ByteCodingError } from "./byte-coding.js";

export const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024;
const PAYLOAD_DEPTH_MAX = 64;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

/** A payload that the journal can't carry: a bug of whoever made it. */
export class PayloadValueError extends Error {
  override readonly name = "PayloadValueError";
  /** Where in the payload: "payload.filter[2].base". */
  readonly place: string;
  constructor(place: string, reason: string) {
    super(`can't store ${place}: ${reason}`);
    this.place = place;
  }
}

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && Object.prototype.toString.call(value) === "[object Uint8Array]";
}

function isMap(value: PlainValue): value is { readonly [key: string]: PlainValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isBytes(value);
}

function checkText(text: string, place: string): string {
  if (/\p{Surrogate}/u.test(text)) throw new PayloadValueError(place, "it holds half of a surrogate pair");
  return text;
}

function sortedMap(map: { readonly [key: string]: PlainValue }, place: string, depth: number): PlainValue {
  const prototype: unknown = Object.getPrototypeOf(map);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null)
    throw new PayloadValueError(place, "it is no plain map");
  const sorted: Record<string, PlainValue> = {};
  const keys = Object.keys(map);
  // oxlint-disable-next-line require-array-sort-compare -- the default order is the one the format names
  keys.sort();
  for (const key of keys) {
    if (key === "__proto__") throw new PayloadValueError(place, "the key __proto__ is not allowed");
    sorted[checkText(key, place)] = sortedValue(map[key] as PlainValue, `${place}.${key}`, depth + 1);
  }
  return sorted;
}

/** The value with its maps in order; throws for what msgpack would not give back as it was. */
function sortedValue(value: PlainValue, place: string, depth: number): PlainValue {
  if (depth > PAYLOAD_DEPTH_MAX) throw new PayloadValueError(place, `it is nested deeper than ${PAYLOAD_DEPTH_MAX}`);
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      return checkText(value, place);
    case "number":
      if (!Number.isFinite(value)) throw new PayloadValueError(place, `${value} is not a finite number`);
      return value;
    case "bigint":
      if (value < INT64_MIN || value > UINT64_MAX)
        throw new PayloadValueError(place, `${value} does not fit into 64 bits`);
      return value;
    case "object":
      if (value === null || isBytes(value)) return value;
      if (isMap(value)) return sortedMap(value, place, depth);
      return value.map((item, index) => sortedValue(item, `${place}[${index}]`, depth + 1));
    default:
      throw new PayloadValueError(place, `${typeof value} is not plain data`);
  }
}

/** Throws PayloadValueError for what is not plain data. */
export function encodePayload(payload: EventPayload): Uint8Array {
  const packed = packr.pack(sortedValue(payload, "payload", 0));
  if (packed.length > PAYLOAD_BYTES_MAX) {
    throw new PayloadValueError("payload", `${packed.length} bytes are more than ${PAYLOAD_BYTES_MAX}`);
  }
  return new Uint8Array(packed);
}

/** Walks over msgpack without building anything: length, nesting, and no extension types. */
class MsgpackScan {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#position;
  }

  #skip(count: number): void {
    if (count > this.left)
      throw new ByteCodingError(`msgpack ends at byte ${this.#bytes.length}, ${count - this.left} more are needed`);
    this.#position += count;
  }

  /** A big-endian unsigned length of 1, 2 or 4 bytes. */
  #length(bytes: 1 | 2 | 4): number {
    const position = this.#position;
    this.#skip(bytes);
    if (bytes === 1) return this.#view.getUint8(position);
    return bytes === 2 ? this.#view.getUint16(position) : this.#view.getUint32(position);
  }

  #values(count: number, depth: number): void {
    for (let index = 0; index < count; index++) this.value(depth + 1);
  }

  #map(count: number, depth: number): void {
    for (let index = 0; index < count; index++) {
      const format = this.#bytes[this.#position] ?? 0;
      const isText = (format >= 0xa0 && format <= 0xbf) || (format >= 0xd9 && format <= 0xdb);
      if (!isText) throw new ByteCodingError(`map key at byte ${this.#position} is not a string`);
      this.value(depth + 1);
      this.value(depth + 1);
    }
  }

  value(depth: number): void {
    if (depth > PAYLOAD_DEPTH_MAX) throw new ByteCodingError(`msgpack is nested deeper than ${PAYLOAD_DEPTH_MAX}`);
    const position = this.#position;
    this.#skip(1);
    const format = this.#bytes[position] ?? 0;
    if (format <= 0x7f || format >= 0xe0) return;
    if (format <= 0x8f) this.#map(format & 0x0f, depth);
    else if (format <= 0x9f) this.#values(format & 0x0f, depth);
    else if (format <= 0xbf) this.#skip(format & 0x1f);
    else this.#longForm(format, position, depth);
  }

  /** The msgpack specification's formats 0xc0 to 0xdf. */
  #longForm(format: number, position: number, depth: number): void {
    switch (format) {
      case 0xc0: // nil, false, true
      case 0xc2:
      case 0xc3:
        return;
      case 0xc4: // bin 8, str 8
      case 0xd9:
        return this.#skip(this.#length(1));
      case 0xc5: // bin 16, str 16
      case 0xda:
        return this.#skip(this.#length(2));
      case 0xc6: // bin 32, str 32
      case 0xdb:
        return this.#skip(this.#length(4));
      case 0xcc: // uint 8, int 8
      case 0xd0:
        return this.#skip(1);
      case 0xcd: // uint 16, int 16
      case 0xd1:
        return this.#skip(2);
      case 0xce: // uint 32, int 32
      case 0xd2:
        return this.#skip(4);
      case 0xcb: // float 64, uint 64, int 64
      case 0xcf:
      case 0xd3:
        return this.#skip(8);
      case 0xdc:
        return this.#values(this.#length(2), depth);
      case 0xdd:
        return this.#values(this.#length(4), depth);
      case 0xde:
        return this.#map(this.#length(2), depth);
      case 0xdf:
        return this.#map(this.#length(4), depth);
      default:
        throw new ByteCodingError(
          `msgpack format 0x${format.toString(16)} at byte ${position} is not used by journals`,
        );
    }
  }
}

/** msgpackr gives views of what it read, as node's Buffer; payloads carry bytes of their own. */
function owned(value: PlainValue): PlainValue {
  if (typeof value !== "object" || value === null) return value;
  if (isBytes(value)) return Uint8Array.from(value);
  if (!isMap(value)) return value.map(owned);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, owned(item)]));
}

/** Throws ByteCodingError for bytes that are no payload. */
export function decodePayload(bytes: Uint8Array): EventPayload {
  if (bytes.length > PAYLOAD_BYTES_MAX)
    throw new ByteCodingError(`${bytes.length} bytes are more than ${PAYLOAD_BYTES_MAX}`);
  const scan = new MsgpackScan(bytes);
  scan.value(0);
  if (scan.left > 0) throw new ByteCodingError(`${scan.left} bytes behind the payload`);
  const value = unpackr.unpack(bytes) as PlainValue;
  if (!isMap(value)) throw new ByteCodingError("the payload is not a map");
  return owned(value) as EventPayload;
}
