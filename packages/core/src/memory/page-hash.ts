/** Names of page contents in a journal's page store: the first 16 bytes of their SHA-256. */
import type { Digester } from "../ports/digester.js";
import type { PageHash } from "../ports/journal-store.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";

export const PAGE_HASH_BYTES = 16;
/** A page of zeros has this name and is never stored. */
export const ZERO_PAGE_HASH: PageHash = "00".repeat(PAGE_HASH_BYTES);

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte] ?? "";
  return text;
}

export function isAllZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** By words where the page is aligned, as all in guest RAM are. */
function isZeroPage(page: Uint8Array): boolean {
  if (page.byteOffset % 4 !== 0) return isAllZero(page);
  const words = new Int32Array(page.buffer, page.byteOffset, PAGE_BYTES / 4);
  for (let index = 0; index < words.length; index++) if (words[index] !== 0) return false;
  return true;
}

/** 16 bytes; zeros for a page of zeros. */
export function contentHash(page: Uint8Array, digester: Digester): Uint8Array {
  if (page.length !== PAGE_BYTES) throw new RangeError(`a page has ${PAGE_BYTES} bytes, not ${page.length}`);
  return isZeroPage(page) ? new Uint8Array(PAGE_HASH_BYTES) : digester.sha256(page).slice(0, PAGE_HASH_BYTES);
}

/** Hash of page `index` in a table of 16 bytes each. */
export function hashAt(table: Uint8Array, index: number): Uint8Array {
  return table.subarray(index * PAGE_HASH_BYTES, (index + 1) * PAGE_HASH_BYTES);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
