/**
 * A snapshot's page hashes (16 bytes for each page of RAM) as changes to another snapshot's, or to
 * RAM that is all zeros:
 *
 *     changes := count varint,
 *                for each changed page: pages skipped since the one before varint, hash (16 bytes)
 */
import { Buffer } from "node:buffer";
import { ByteCodingError, ByteSink, ByteSource } from "../canonical/byte-coding.js";
import { isSamePageHash, PAGE_HASH_BYTES } from "../canonical/hash.js";

export interface PageChanges {
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Most of RAM is as it was: so many hashes are compared at a time. */
const STRETCH_BYTES = 64 * PAGE_HASH_BYTES;

/** Offsets of the hashes that differ, ascending. */
function differences(before: Uint8Array, after: Uint8Array): number[] {
  const offsets: number[] = [];
  const old = Buffer.from(before.buffer, before.byteOffset, before.byteLength);
  for (let start = 0; start < after.length; start += STRETCH_BYTES) {
    const end = Math.min(start + STRETCH_BYTES, after.length);
    if (old.compare(after, start, end, start, end) === 0) continue;
    for (let offset = start; offset < end; offset += PAGE_HASH_BYTES)
      if (!isSamePageHash(before, after, offset)) offsets.push(offset);
  }
  return offsets;
}

/** Both have equally many pages. */
export function encodePageChanges(before: Uint8Array, after: Uint8Array): PageChanges {
  const offsets = differences(before, after);
  const sink = new ByteSink(8 + offsets.length * (PAGE_HASH_BYTES + 2));
  sink.varint(offsets.length);
  let next = 0;
  for (const offset of offsets) {
    const page = offset / PAGE_HASH_BYTES;
    sink.varint(page - next);
    sink.raw(after.subarray(offset, offset + PAGE_HASH_BYTES));
    next = page + 1;
  }
  return { count: offsets.length, bytes: sink.view() };
}

/** Applies changes to `hashes` in place. Throws ByteCodingError. */
export function applyPageChanges(changes: Uint8Array, hashes: Uint8Array): void {
  const source = new ByteSource(changes);
  const pageCount = hashes.length / PAGE_HASH_BYTES;
  let left = source.varint(pageCount);
  let page = 0;
  for (; left > 0; left--) {
    page += source.varint(pageCount);
    if (page >= pageCount) throw new ByteCodingError(`page ${page} of ${pageCount} changes`);
    hashes.set(source.raw(PAGE_HASH_BYTES), page * PAGE_HASH_BYTES);
    page += 1;
  }
  source.end();
}
