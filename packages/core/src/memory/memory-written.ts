/** `GuestMemoryWritten`: bytes inline when few, else by hash in the page store that snapshots share. */
import type { Digester } from "../ports/digester.js";
import type { EventPayload } from "../event/event-kind.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { contentHash, hashAt, isAllZero, PAGE_HASH_BYTES, toHex } from "./page-hash.js";
import type { PageLoader, PageStore } from "./page-baseline.js";

export const INLINE_BYTES_MAX = 256;
/** One event covers at most this; longer writes are several events. */
export const MEMORY_WRITE_BYTES_MAX = 1024 * 1024;

/** `store` undefined: only the hashes are wanted. The last piece is padded with zeros. */
export function memoryWrittenPayload(
  physical: number,
  bytes: Uint8Array,
  digester: Digester,
  store: PageStore | undefined,
): EventPayload {
  if (bytes.length <= INLINE_BYTES_MAX) return { gpa: physical, length: bytes.length, bytes: bytes.slice() };
  const count = Math.ceil(bytes.length / PAGE_BYTES);
  const pages = new Uint8Array(count * PAGE_HASH_BYTES);
  for (let index = 0; index < count; index++) {
    const piece = wholePiece(bytes.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES));
    const hash = contentHash(piece, digester);
    pages.set(hash, index * PAGE_HASH_BYTES);
    const name = toHex(hash);
    if (store !== undefined && !isAllZero(hash) && !store.hasPage(name)) store.storePage(name, piece);
  }
  return { gpa: physical, length: bytes.length, pages };
}

/** Padded with zeros where it is shorter than a page. */
function wholePiece(bytes: Uint8Array): Uint8Array {
  if (bytes.length === PAGE_BYTES) return bytes;
  const piece = new Uint8Array(PAGE_BYTES);
  piece.set(bytes);
  return piece;
}

export interface MemoryWrite {
  readonly physical: number;
  readonly bytes: Uint8Array;
}

/** What was written. Throws PayloadError, or what `load` throws for a missing page. */
export function readMemoryWritten(payload: EventPayload, load: PageLoader): MemoryWrite {
  const fields = new PayloadFields("GuestMemoryWritten", payload);
  const physical = fields.number("gpa");
  if (fields.has("bytes")) return { physical, bytes: fields.bytes("bytes") };
  const hashes = fields.bytes("pages");
  const padded = new Uint8Array((hashes.length / PAGE_HASH_BYTES) * PAGE_BYTES);
  for (let index = 0; index * PAGE_HASH_BYTES < hashes.length; index++) {
    const hash = hashAt(hashes, index);
    if (!isAllZero(hash)) padded.set(load(toHex(hash)), index * PAGE_BYTES);
  }
  return { physical, bytes: padded.slice(0, fields.number("length")) };
}
