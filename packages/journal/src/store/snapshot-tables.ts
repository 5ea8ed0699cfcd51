/** Snapshots: heads that are listed cheaply, and the rest, verified against the root that the chain carries. */
import {
  EventBatch,
  type Snapshot,
  type SnapshotHead,
  snapshotRoot as rootOfSnapshot,
  type StateSection,
} from "@hvjournal/core";
import type { Database, Statement } from "better-sqlite3";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { ByteCodingError } from "../canonical/byte-coding.js";
import { equalBytes, PAGE_HASH_BYTES, ROW_CHECK_BYTES, rowCheck, sha256, SHA256_BYTES } from "../canonical/hash.js";
import { decodePayload, encodePayload } from "../canonical/payload-coding.js";
import { JournalDamagedError, JournalNotFoundError, type JournalPlace } from "../errors.js";
import type { BatchTables } from "./batch-tables.js";
import { type Connection, reading } from "./connection.js";
import { applyPageChanges, encodePageChanges } from "./page-changes.js";
import { type Progress, toggleRoot } from "./progress-table.js";
import { StoredFields } from "./stored-fields.js";

/** Of the largest RAM, 3 GiB, and room for more. */
const PAGE_COUNT_MAX = 4 * 1024 * 1024;
const SECTION_BYTES_MAX = 256 * 1024 * 1024;
/** So many snapshots are coded one against the other before one stands for itself. */
const BASES_MAX = 16;
const SECTION_DEFLATE_LEVEL = 3;
const Half = { guest: "guest", vmm: "vmm" } as const;

interface StoredHead {
  readonly head: SnapshotHead;
  readonly root: Uint8Array;
}

function headCheck(head: SnapshotHead, root: Uint8Array): Uint8Array {
  const { number, kind, seq, exitNumber, icount, guestTimeNs, digest } = head;
  return rowCheck("snapshots", [number, kind, seq, exitNumber, icount, guestTimeNs, digest, root]);
}

function readHead(row: unknown): StoredHead {
  const fields = new StoredFields(row);
  const head: SnapshotHead = {
    number: fields.count("number"),
    kind: fields.oneOf("kind", ["full", "seek"]),
    seq: fields.count("seq"),
    exitNumber: fields.count("exit_number"),
    icount: fields.count("icount"),
    guestTimeNs: fields.count("guest_time_ns"),
    digest: fields.bytes("digest").slice(),
  };
  const root = fields.bytes("root", SHA256_BYTES).slice();
  if (!equalBytes(headCheck(head, root), fields.bytes("row_check", ROW_CHECK_BYTES))) {
    throw new ByteCodingError("its row is not what was written");
  }
  return { head, root };
}

export function snapshotRoot(snapshot: Snapshot): Uint8Array {
  return rootOfSnapshot(snapshot, { sha256 });
}

export class SnapshotTables {
  readonly #connection: Connection;
  readonly #batches: BatchTables;
  readonly #selectHeads: Statement;
  readonly #selectOne: Statement;
  readonly #selectSections: Statement;

  constructor(connection: Connection, batches: BatchTables) {
    const { database, path } = connection;
    this.#connection = connection;
    this.#batches = batches;
    const head = "number, kind, seq, exit_number, icount, guest_time_ns, digest, root, row_check";
    [this.#selectHeads, this.#selectOne, this.#selectSections] = reading(path, { part: "schema" }, () => [
      database.prepare(`SELECT ${head} FROM snapshots ORDER BY number`),
      database.prepare("SELECT * FROM snapshots WHERE number = ?"),
      database.prepare("SELECT * FROM snapshot_sections WHERE snapshot = ? AND half = ? ORDER BY position"),
    ]);
  }

  /** In order of their numbers. `progress` says how many there are. */
  heads(progress: Progress): readonly SnapshotHead[] {
    const { path } = this.#connection;
    const place = { part: "snapshots" };
    const stored = reading(path, place, () => this.#selectHeads.all().map(readHead));
    let roots: Uint8Array = new Uint8Array(SHA256_BYTES);
    for (const { root } of stored) roots = toggleRoot(roots, root);
    if (stored.length !== progress.snapshotCount || !equalBytes(roots, progress.snapshotRoots)) {
      throw new JournalDamagedError(
        path,
        `${stored.length} of ${progress.snapshotCount} are there as they were written`,
        place,
      );
    }
    return stored.map(({ head }) => head);
  }

  /** The heads that can be read, whatever `progress` says of them. */
  wholeHeads(): readonly SnapshotHead[] {
    const heads: SnapshotHead[] = [];
    for (const row of reading(this.#connection.path, { part: "snapshots" }, () => this.#selectHeads.all())) {
      try {
        heads.push(readHead(row).head);
      } catch {
        // Salvage leaves out what is damaged; fsck names it.
      }
    }
    return heads;
  }

  load(number: number): Snapshot {
    const { path } = this.#connection;
    const place = { part: `snapshot ${number}` };
    const { snapshot, root } = reading(path, place, () => this.#read(number, place));
    const recorded = this.#recordedRoot(number);
    if (recorded !== undefined && !equalBytes(recorded, root)) {
      throw new JournalDamagedError(path, "its root is not the one that the event SnapshotTaken carries", place);
    }
    return snapshot;
  }

  #read(number: number, place: JournalPlace): { snapshot: Snapshot; root: Uint8Array } {
    const row = this.#selectOne.get(number);
    if (row === undefined) throw new JournalNotFoundError(this.#connection.path, `snapshot ${number}`);
    const { head, root } = readHead(row);
    const snapshot: Snapshot = {
      ...head,
      control: decodePayload(new StoredFields(row).bytes("control")),
      guestSections: this.#sections(number, Half.guest),
      vmmSections: this.#sections(number, Half.vmm),
      pageHashes: this.#pageHashes(row),
    };
    if (!equalBytes(snapshotRoot(snapshot), root)) {
      throw new JournalDamagedError(this.#connection.path, "it is not what its root hash says", place);
    }
    return { snapshot, root };
  }

  #sections(snapshot: number, half: string): StateSection[] {
    return this.#selectSections.all(snapshot, half).map((row) => {
      const fields = new StoredFields(row);
      const byteCount = fields.count("byte_count");
      if (byteCount > SECTION_BYTES_MAX) throw new ByteCodingError(`section of ${byteCount} bytes`);
      // One byte more than announced: a bound of 0 would be refused.
      const bytes = inflateRawSync(fields.bytes("bytes"), { maxOutputLength: byteCount + 1 });
      if (bytes.length !== byteCount)
        throw new ByteCodingError(`section of ${bytes.length} bytes in the place of ${byteCount}`);
      return { name: fields.text("name"), version: fields.count("version"), bytes: new Uint8Array(bytes) };
    });
  }

  /** The page hashes of a row: from the snapshot that stands for itself forward. */
  #pageHashes(row: unknown): Uint8Array {
    const rows = [new StoredFields(row)];
    for (let fields = rows[0]; fields !== undefined; fields = rows[0]) {
      const base = fields.countOrNull("base");
      if (base === null) break;
      if (base >= fields.count("number")) throw new ByteCodingError(`it is coded against the later snapshot ${base}`);
      const baseRow = this.#selectOne.get(base);
      if (baseRow === undefined) throw new ByteCodingError(`snapshot ${base}, against which it is coded, is missing`);
      rows.unshift(new StoredFields(baseRow));
    }
    const pageCount = rows.at(-1)?.count("page_count") ?? 0;
    if (pageCount > PAGE_COUNT_MAX) throw new ByteCodingError(`${pageCount} pages of RAM`);
    const hashes = new Uint8Array(pageCount * PAGE_HASH_BYTES);
    for (const fields of rows) applyPageChanges(fields.bytes("page_changes"), hashes);
    return hashes;
  }

  /** The root that the journal's event carries; seek points that were made later have none. */
  #recordedRoot(number: number): Uint8Array | undefined {
    const batch = new EventBatch();
    for (const seq of this.#batches.findRowSeqs("SnapshotTaken").toReversed()) {
      if (!this.#isOf(seq, number)) continue;
      const root = this.#batches.readRow(seq, batch)?.payload["root"];
      if (ArrayBuffer.isView(root)) return root as Uint8Array;
    }
    return undefined;
  }

  /** By its unverified payload, so that not every batch with a snapshot has to be read. */
  #isOf(seq: number, number: number): boolean {
    const { path, database } = this.#connection;
    const row = reading(path, { part: "events" }, () =>
      database.prepare("SELECT payload FROM events WHERE seq = ?").get(seq),
    );
    try {
      return row !== undefined && decodePayload(new StoredFields(row).bytes("payload"))["number"] === number;
    } catch {
      // Reading its batch says what is wrong with it.
      return true;
    }
  }
}

/** How the page hashes of the last snapshot were written, so that the next can be coded against it. */
interface Baseline {
  readonly number: number;
  readonly pageHashes: Uint8Array;
  /** Snapshots between it and one that stands for itself. */
  readonly bases: number;
}

export class SnapshotWriter {
  readonly #insert: Statement<unknown[]>;
  readonly #insertSection: Statement<unknown[]>;
  #baseline: Baseline | undefined;

  constructor(database: Database) {
    this.#insert = database.prepare("INSERT INTO snapshots VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    this.#insertSection = database.prepare("INSERT INTO snapshot_sections VALUES(?, ?, ?, ?, ?, ?, ?)");
  }

  /** In the caller's transaction; gives the root. */
  write(snapshot: Snapshot): Uint8Array {
    const { number, kind, seq, exitNumber, icount, guestTimeNs, digest, pageHashes } = snapshot;
    const pageCount = pageHashes.length / PAGE_HASH_BYTES;
    if (!Number.isInteger(pageCount))
      throw new RangeError(`${pageHashes.length} bytes of page hashes are not a multiple of ${PAGE_HASH_BYTES}`);
    const root = snapshotRoot(snapshot);
    const { base, changes } = this.#code(number, pageHashes);
    this.#insert.run(
      number, kind, seq, exitNumber, icount, guestTimeNs, digest, root, headCheck(snapshot, root),
      encodePayload(snapshot.control), pageCount, base, changes,
    ); // prettier-ignore
    this.#writeSections(number, Half.guest, snapshot.guestSections);
    this.#writeSections(number, Half.vmm, snapshot.vmmSections);
    return root;
  }

  #writeSections(snapshot: number, half: string, sections: readonly StateSection[]): void {
    for (const [position, { name, version, bytes }] of sections.entries()) {
      const deflated = deflateRawSync(bytes, { level: SECTION_DEFLATE_LEVEL });
      this.#insertSection.run(snapshot, half, position, name, version, bytes.length, deflated);
    }
  }

  #code(number: number, pageHashes: Uint8Array): { base: number | null; changes: Uint8Array } {
    const before = this.#baseline;
    const fits = before !== undefined && before.bases < BASES_MAX && before.number < number;
    if (fits && before.pageHashes.length === pageHashes.length) {
      const { count, bytes } = encodePageChanges(before.pageHashes, pageHashes);
      if (count * PAGE_HASH_BYTES * 2 <= pageHashes.length) {
        this.#keep(number, pageHashes, before.bases + 1);
        return { base: before.number, changes: bytes };
      }
    }
    this.#keep(number, pageHashes, 0);
    return { base: null, changes: encodePageChanges(new Uint8Array(pageHashes.length), pageHashes).bytes };
  }

  #keep(number: number, pageHashes: Uint8Array, bases: number): void {
    // One buffer for all: a megabyte for each snapshot would make the garbage collector run.
    const kept = this.#baseline?.pageHashes;
    const buffer = kept?.length === pageHashes.length ? kept : new Uint8Array(pageHashes.length);
    buffer.set(pageHashes);
    this.#baseline = { number, pageHashes: buffer, bases };
  }
}
