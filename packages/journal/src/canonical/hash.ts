/** The hashes of the store: SHA-256, or its first bytes where only accidents have to be found. */
import { Buffer } from "node:buffer";
import { createHash, hash } from "node:crypto";
import { ByteSink } from "./byte-coding.js";

export const SHA256_BYTES = 32;
/** `PageHash` in bytes. */
export const PAGE_HASH_BYTES = 16;
export const ROW_CHECK_BYTES = 8;

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash("sha256");
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
}

/** The name of a page's content in the store: the first 16 bytes of its SHA-256. */
export function contentHash(page: Uint8Array): Uint8Array {
  return hash("sha256", page, "buffer").subarray(0, PAGE_HASH_BYTES);
}

/** Of two tables of page hashes, the entries at a byte offset. */
export function isSamePageHash(left: Uint8Array, right: Uint8Array, offset: number): boolean {
  for (let index = offset; index < offset + PAGE_HASH_BYTES; index++) if (left[index] !== right[index]) return false;
  return true;
}

export type CheckedValue = number | string | Uint8Array | null;

const Tag = { null: 0, count: 1, text: 2, bytes: 3, negative: 4 } as const;

/** Coded so that no two rows of values, nor their types, give the same bytes. */
export function writeCheckedValue(sink: ByteSink, value: CheckedValue): void {
  if (value === null) sink.u8(Tag.null);
  else if (typeof value === "number") {
    sink.u8(value < 0 ? Tag.negative : Tag.count);
    sink.varint(value < 0 ? -value : value);
  } else if (typeof value === "string") {
    sink.u8(Tag.text);
    sink.text(value);
  } else {
    sink.u8(Tag.bytes);
    sink.block(value);
  }
}

const sink = new ByteSink(1024);

/** Covers a row that no chain covers, so that a flipped bit in it is found when it is read. */
export function rowCheck(table: string, values: readonly CheckedValue[]): Uint8Array {
  sink.reset();
  sink.text(table);
  for (const value of values) writeCheckedValue(sink, value);
  return sha256(sink.view()).subarray(0, ROW_CHECK_BYTES);
}

export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
