/**
 * Where in the file a row stands, by SQLite's file format (https://www.sqlite.org/fileformat2.html,
 * "B-tree Pages"), read without SQLite, since it is asked for rows that SQLite may choke on.
 */
import { closeSync, openSync, readSync } from "node:fs";
import type { Connection } from "./connection.js";
import { DATABASE_PAGE_BYTES } from "./schema.js";

const PageType = { interiorTable: 0x05, leafTable: 0x0d } as const;
const FILE_HEADER_BYTES = 100;
const DEPTH_MAX = 20;
const OVERFLOW_PAGES_MAX = 100_000;
/** Usable bytes of a page, as no space is reserved, minus 35: more of a payload goes to overflow pages. */
const LOCAL_PAYLOAD_MAX = DATABASE_PAGE_BYTES - 35;
const LOCAL_PAYLOAD_MIN = Math.floor(((DATABASE_PAGE_BYTES - 12) * 32) / 255) - 23;

class DatabasePages {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "r");
  }

  close(): void {
    closeSync(this.#file);
  }

  /** Page `number`, from 1. */
  read(number: number): DataView {
    const bytes = new Uint8Array(DATABASE_PAGE_BYTES);
    readSync(this.#file, bytes, 0, DATABASE_PAGE_BYTES, (number - 1) * DATABASE_PAGE_BYTES);
    return new DataView(bytes.buffer);
  }
}

/** SQLite's big-endian varint: value and the offset behind it. Row ids and lengths here stay below 2^53. */
function readVarint(page: DataView, offset: number): readonly [value: number, after: number] {
  let value = 0;
  for (let index = 0; index < 8; index++) {
    const byte = page.getUint8(offset + index);
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return [value, offset + index + 1];
  }
  return [value * 256 + page.getUint8(offset + 8), offset + 9];
}

function cellOffsets(page: DataView, header: number, headerBytes: number): readonly number[] {
  const count = page.getUint16(header + 3);
  return Array.from({ length: count }, (_, index) => page.getUint16(header + headerBytes + index * 2));
}

/** Pages of the row in this leaf: the leaf itself and the row's overflow pages. */
function leafRow(
  pages: DatabasePages,
  number: number,
  page: DataView,
  header: number,
  rowId: number,
): number[] | undefined {
  for (const offset of cellOffsets(page, header, 8)) {
    const [payloadBytes, afterLength] = readVarint(page, offset);
    const [id, payload] = readVarint(page, afterLength);
    if (id !== rowId) continue;
    const found = [number];
    if (payloadBytes <= LOCAL_PAYLOAD_MAX) return found;
    const surplus = LOCAL_PAYLOAD_MIN + ((payloadBytes - LOCAL_PAYLOAD_MIN) % (DATABASE_PAGE_BYTES - 4));
    let next = page.getUint32(payload + (surplus <= LOCAL_PAYLOAD_MAX ? surplus : LOCAL_PAYLOAD_MIN));
    for (let count = 0; next !== 0 && count < OVERFLOW_PAGES_MAX; count++) {
      found.push(next);
      next = pages.read(next).getUint32(0);
    }
    return found;
  }
  return undefined;
}

function findRow(pages: DatabasePages, root: number, rowId: number): number[] | undefined {
  let number = root;
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const page = pages.read(number);
    const header = number === 1 ? FILE_HEADER_BYTES : 0;
    const type = page.getUint8(header);
    if (type === PageType.leafTable) return leafRow(pages, number, page, header, rowId);
    if (type !== PageType.interiorTable) return undefined;
    const child = cellOffsets(page, header, 12).find((offset) => readVarint(page, offset + 4)[0] >= rowId);
    number = child === undefined ? page.getUint32(header + 8) : page.getUint32(child);
  }
  return undefined;
}

/** First and last byte of the pages that hold a row; undefined when the tree does not lead there. */
export function locateRow(
  connection: Connection,
  table: string,
  rowId: number,
): readonly [first: number, last: number] | undefined {
  try {
    const select = connection.database.prepare("SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?");
    const root: unknown = select.pluck().get(table);
    if (typeof root !== "number") return undefined;
    const pages = new DatabasePages(connection.path);
    try {
      const found = findRow(pages, root, rowId);
      if (found === undefined) return undefined;
      return [(Math.min(...found) - 1) * DATABASE_PAGE_BYTES, Math.max(...found) * DATABASE_PAGE_BYTES - 1];
    } finally {
      pages.close();
    }
  } catch {
    // A tree that is damaged on the way there gives no place, and the problem is reported without one.
    return undefined;
  }
}
