/**
 * A recording is one SQLite 3 file: `application_id` 0x68766a6c ("hvjl"), `user_version` the
 * format version, pages of 8 KiB, all tables STRICT.
 *
 *     ┌ covered by the hash chain (batch/chain.ts) ──────────────────────────────────────────────┐
 *     │ header         key, value                      link 0                                    │
 *     │ batches        number from 1, positions, chain one row a batch: the index of positions   │
 *     │ batch_columns  number, bytes                   the batch's hot events, deflated          │
 *     │                                                (batch/batch-coding.ts)                   │
 *     │ events         seq, kind, ..., payload         its row events; payloads are msgpack      │
 *     ├ covered by its own hash ─────────────────────────────────────────────────────────────────┤
 *     │ page_packs     number, coding, hashes, bytes   up to 64 page contents of 4096 bytes and  │
 *     │                                                their names of 16; no zero page           │
 *     │ snapshots      number, ..., root               root = SHA-256 of the whole snapshot;     │
 *     │ snapshot_sections                              the event SnapshotTaken carries it, so    │
 *     │                                                the chain covers it                       │
 *     ├ covered by `row_check` (canonical/hash.ts) ──────────────────────────────────────────────┤
 *     │ event_kinds    kind, version, role, fields     what the events mean, for any reader      │
 *     │ ownership      who may run the VM              append-only                               │
 *     │ progress       one row                         how far the file goes, how it ended       │
 *     ├ derived (derived/index-tables.ts) ───────────────────────────────────────────────────────┤
 *     │ exits, hypercalls, console                     for the stock sqlite3; droppable          │
 *     └──────────────────────────────────────────────────────────────────────────────────────────┘
 */
import type { Database } from "better-sqlite3";

export const FORMAT_VERSION = 1;
export const APPLICATION_ID = 0x6876_6a6c;
/** Measured: 9000 guest pages cost 114 ms of CPU time with 4 KiB, 92 with 8, 81 with 16; small recordings and small commits grow with it. */
export const DATABASE_PAGE_BYTES = 8192;

/** The statements in SQLite's own spelling: `sqlite_schema` gives them back word for word, and opening compares. */
const TABLES: ReadonlyMap<string, string> = new Map([
  ["header", "CREATE TABLE header(key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID"],
  [
    "event_kinds",
    `CREATE TABLE event_kinds(kind TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL,
  fields TEXT NOT NULL, row_check BLOB NOT NULL, PRIMARY KEY(kind, version)) STRICT, WITHOUT ROWID`,
  ],
  [
    "batches",
    `CREATE TABLE batches(number INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, event_count INTEGER NOT NULL,
  exits_before INTEGER NOT NULL, exit_count INTEGER NOT NULL, first_icount INTEGER NOT NULL,
  last_icount INTEGER NOT NULL, chain BLOB NOT NULL, row_check BLOB NOT NULL) STRICT`,
  ],
  ["batch_columns", "CREATE TABLE batch_columns(number INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT"],
  [
    "events",
    `CREATE TABLE events(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL,
  vcpu INTEGER NOT NULL, icount INTEGER NOT NULL, exit_number INTEGER NOT NULL, payload BLOB NOT NULL) STRICT`,
  ],
  [
    "page_packs",
    `CREATE TABLE page_packs(number INTEGER PRIMARY KEY, page_count INTEGER NOT NULL, coding TEXT NOT NULL,
  hashes BLOB NOT NULL, bytes BLOB NOT NULL) STRICT`,
  ],
  [
    "snapshots",
    `CREATE TABLE snapshots(number INTEGER PRIMARY KEY, kind TEXT NOT NULL, seq INTEGER NOT NULL,
  exit_number INTEGER NOT NULL, icount INTEGER NOT NULL, guest_time_ns INTEGER NOT NULL, digest BLOB NOT NULL,
  root BLOB NOT NULL, row_check BLOB NOT NULL, control BLOB NOT NULL, page_count INTEGER NOT NULL,
  base INTEGER, page_changes BLOB NOT NULL) STRICT`,
  ],
  [
    "snapshot_sections",
    `CREATE TABLE snapshot_sections(snapshot INTEGER NOT NULL, half TEXT NOT NULL, position INTEGER NOT NULL,
  name TEXT NOT NULL, version INTEGER NOT NULL, byte_count INTEGER NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY(snapshot, half, position)) STRICT, WITHOUT ROWID`,
  ],
  [
    "ownership",
    `CREATE TABLE ownership(number INTEGER PRIMARY KEY, recording TEXT NOT NULL, epoch INTEGER NOT NULL,
  owner TEXT NOT NULL, state TEXT NOT NULL, detail BLOB NOT NULL, row_check BLOB NOT NULL) STRICT`,
  ],
  [
    "progress",
    `CREATE TABLE progress(id INTEGER PRIMARY KEY CHECK(id = 1), state TEXT NOT NULL, batch_count INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, exit_number INTEGER NOT NULL, icount INTEGER NOT NULL, chain BLOB NOT NULL,
  snapshot_count INTEGER NOT NULL, snapshot_roots BLOB NOT NULL, ownership_count INTEGER NOT NULL,
  kind_count INTEGER NOT NULL, row_check BLOB NOT NULL) STRICT`,
  ],
]);

/** In a fresh file, inside a transaction. */
export function createTables(database: Database): void {
  for (const sql of TABLES.values()) database.exec(sql);
  database.pragma(`application_id = ${APPLICATION_ID}`);
  database.pragma(`user_version = ${FORMAT_VERSION}`);
}

/** Names the first table that is missing or declared otherwise, or gives undefined. */
export function findSchemaDamage(database: Database): string | undefined {
  const rows = database.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").raw().all();
  const found = new Map(rows as [unknown, unknown][]);
  for (const [name, sql] of TABLES) {
    if (!found.has(name)) return `table ${name} is missing`;
    if (found.get(name) !== sql) return `table ${name} is not declared as format ${FORMAT_VERSION} declares it`;
  }
  return undefined;
}
