/**
 * Page contents by hash, in packs of up to 64 with the hashes beside: a row of its own for each page took longer than
 * its content. A pack is `raw` (pages one after the other) or
 * `deflate` (the same, raw deflate): the first while recording, since storing a page takes a
 * sixth of the time that compressing it takes.
 */
import { PAGE_BYTES, type PageHash } from "@hvjournal/core";
import type { Database, Statement } from "better-sqlite3";
import { Buffer } from "node:buffer";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { ByteCodingError } from "../canonical/byte-coding.js";
import { contentHash, hex, PAGE_HASH_BYTES } from "../canonical/hash.js";
import { type Connection, reading } from "./connection.js";
import { StoredFields } from "./stored-fields.js";

export type PageCoding = "raw" | "deflate";

export const PAGES_PER_PACK_MAX = 64;
const PAGE_HASH_DIGITS = 2 * PAGE_HASH_BYTES;
/** Packs kept once read, 256 KiB each: pages that were written together are read together, but not all at once. */
const CACHED_PACKS_MAX = 192;

function checkPageHash(hash: PageHash): void {
  if (!/^[0-9a-f]{32}$/.test(hash)) throw new RangeError(`${hash} is no page hash: 32 lower-case hex digits are`);
}

/** Where a page stands. */
interface PagePlace {
  readonly pack: number;
  readonly slot: number;
}

export class PageReader {
  readonly #connection: Connection;
  readonly #selectNames: Statement;
  readonly #selectPack: Statement;
  /** Of the packs up to `#namesTo`, read when first asked for; packs are only ever added. */
  readonly #places = new Map<PageHash, PagePlace>();
  #namesTo = 0;
  /** Pages that were loaded, and are what their hashes say. */
  readonly #verified = new Set<PageHash>();
  /** In order of last use. */
  readonly #packs = new Map<number, Uint8Array>();

  constructor(connection: Connection) {
    const { database, path } = connection;
    this.#connection = connection;
    [this.#selectNames, this.#selectPack] = reading(path, { part: "schema" }, () => [
      database.prepare("SELECT number, page_count, hashes FROM page_packs WHERE number > ? ORDER BY number"),
      database.prepare("SELECT page_count, coding, bytes FROM page_packs WHERE number = ?"),
    ]);
  }

  has(hash: PageHash): boolean {
    return reading(this.#connection.path, { part: "pages" }, () => this.#place(hash) !== undefined);
  }

  /** The name of every page that the file holds, and the pack that it stands in. */
  names(): (readonly [hash: PageHash, pack: number])[] {
    return reading(this.#connection.path, { part: "pages" }, () => {
      this.#readNames();
      return [...this.#places].map(([hash, { pack }]) => [hash, pack] as const);
    });
  }

  isVerified(hash: PageHash): boolean {
    return this.#verified.has(hash);
  }

  #place(hash: PageHash): PagePlace | undefined {
    const known = this.#places.get(hash);
    if (known !== undefined) return known;
    this.#readNames();
    return this.#places.get(hash);
  }

  #readNames(): void {
    for (const row of this.#selectNames.iterate(this.#namesTo)) {
      const fields = new StoredFields(row);
      const pack = fields.count("number");
      const names = hex(fields.bytes("hashes", PAGE_HASH_BYTES * fields.count("page_count")));
      for (let slot = 0; slot * PAGE_HASH_DIGITS < names.length; slot++)
        this.#places.set(names.slice(slot * PAGE_HASH_DIGITS, (slot + 1) * PAGE_HASH_DIGITS), { pack, slot });
      this.#namesTo = pack;
    }
  }

  /** Not to be written to. JournalDamagedError when it is missing or is not what its hash says. */
  load(hash: PageHash): Uint8Array {
    checkPageHash(hash);
    return reading(this.#connection.path, { part: `page ${hash}` }, () => {
      const place = this.#place(hash);
      if (place === undefined) throw new ByteCodingError("it is missing");
      const { pack, slot } = place;
      const content = this.#pack(pack).subarray(slot * PAGE_BYTES, (slot + 1) * PAGE_BYTES);
      if (content.length !== PAGE_BYTES) throw new ByteCodingError(`its pack has no slot ${slot}`);
      if (hex(contentHash(content)) !== hash) throw new ByteCodingError("its content is not what its hash says");
      this.#verified.add(hash);
      return content;
    });
  }

  #pack(number: number): Uint8Array {
    let pack = this.#packs.get(number);
    if (pack === undefined) {
      pack = this.#readPack(number);
      const oldest = this.#packs.size < CACHED_PACKS_MAX ? undefined : this.#packs.keys().next().value;
      if (oldest !== undefined) this.#packs.delete(oldest);
    } else this.#packs.delete(number);
    this.#packs.set(number, pack);
    return pack;
  }

  #readPack(number: number): Uint8Array {
    const row = this.#selectPack.get(number);
    if (row === undefined) throw new ByteCodingError(`its pack ${number} is missing`);
    const fields = new StoredFields(row);
    const byteCount = fields.count("page_count") * PAGE_BYTES;
    if (byteCount > PAGES_PER_PACK_MAX * PAGE_BYTES) throw new ByteCodingError(`its pack ${number} is too long`);
    const bytes = fields.bytes("bytes");
    const pages =
      fields.oneOf("coding", ["raw", "deflate"]) === "raw"
        ? bytes
        : inflateRawSync(bytes, { maxOutputLength: byteCount });
    if (pages.length !== byteCount)
      throw new ByteCodingError(`its pack ${number} has ${pages.length} bytes in the place of ${byteCount}`);
    return pages;
  }
}

/** Collects pages into packs; the caller's transaction holds them. */
export class PageWriter {
  readonly #coding: PageCoding;
  readonly #insertPack: Statement<unknown[]>;
  /** Every page that is stored, in the file or in the open pack: asking SQLite takes ten times as long. */
  readonly #names: Set<PageHash>;
  /** The pack that is being filled, and the slot of each page in it. */
  readonly #pack = new Uint8Array(PAGES_PER_PACK_MAX * PAGE_BYTES);
  readonly #hashes = Buffer.alloc(PAGES_PER_PACK_MAX * PAGE_HASH_BYTES);
  readonly #slots = new Map<PageHash, number>();
  #nextPack: number;

  constructor(database: Database, reader: PageReader, coding: PageCoding) {
    this.#names = new Set(reader.names().map(([hash]) => hash));
    this.#coding = coding;
    this.#insertPack = database.prepare("INSERT INTO page_packs VALUES(?, ?, ?, ?, ?)");
    this.#nextPack = 1 + Number(database.prepare("SELECT coalesce(max(number), 0) FROM page_packs").pluck().get());
  }

  has(hash: PageHash): boolean {
    return this.#names.has(hash);
  }

  /** The content of a page that is not in the file yet. */
  openPage(hash: PageHash): Uint8Array | undefined {
    const slot = this.#slots.get(hash);
    return slot === undefined ? undefined : this.#pack.slice(slot * PAGE_BYTES, (slot + 1) * PAGE_BYTES);
  }

  store(hash: PageHash, content: Uint8Array): void {
    checkPageHash(hash);
    if (content.length !== PAGE_BYTES)
      throw new RangeError(`page ${hash} has ${content.length} bytes, not ${PAGE_BYTES}`);
    if (this.#names.has(hash)) return;
    const slot = this.#slots.size;
    this.#pack.set(content, slot * PAGE_BYTES);
    this.#slots.set(hash, slot);
    this.#hashes.write(hash, slot * PAGE_HASH_BYTES, "hex");
    this.#names.add(hash);
    if (slot + 1 === PAGES_PER_PACK_MAX) this.closePack();
  }

  /** Writes the pack that is being filled, if it holds a page. */
  closePack(): void {
    const pageCount = this.#slots.size;
    if (pageCount === 0) return;
    const bytes = this.#pack.subarray(0, pageCount * PAGE_BYTES);
    const stored = this.#coding === "raw" ? bytes : deflateRawSync(bytes, { level: 1 });
    const hashes = this.#hashes.subarray(0, pageCount * PAGE_HASH_BYTES);
    this.#insertPack.run(this.#nextPack, pageCount, this.#coding, hashes, stored);
    this.#nextPack += 1;
    this.#slots.clear();
  }
}
