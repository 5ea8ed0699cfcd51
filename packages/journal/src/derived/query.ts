/**
 * SQL over a recording. The tables that a query sees are virtual: each row is made from batches
 * that are verified as they are read, so an answer is never made from damaged or stale rows,
 * whether the file has derived tables or not.
 */
import { EventBatch, HotKind } from "@hvjournal/core";
import Database from "better-sqlite3";
import { JournalQueryError } from "../errors.js";
import { openRecording } from "../recording-reader.js";
import { readFailure } from "../store/connection.js";
import { readEventKinds } from "../store/header-table.js";
import { readOwnership } from "../store/ownership-table.js";
import type { RecordingTables } from "../store/recording-tables.js";
import type { SqlRow, SqlValue } from "./derived-rows.js";
import { type ExitNames, exitNamesOf } from "./exit-names.js";
import { DERIVED_TABLES } from "./index-tables.js";

interface QueryTable {
  readonly name: string;
  readonly columns: readonly string[];
  rows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void>;
}

/** Payloads for people and for SQLite's JSON functions: 64-bit values and bytes as hex texts. */
function json(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === "bigint") return `0x${item.toString(16)}`;
    return ArrayBuffer.isView(item) ? Buffer.from(item.buffer, item.byteOffset, item.byteLength).toString("hex") : item;
  });
}

const HOT_KIND_NAMES: ReadonlyMap<number, string> = new Map([
  [HotKind.exited, "Exited"],
  [HotKind.exitHandled, "ExitHandled"],
  [HotKind.exitCompleted, "ExitCompleted"],
  [HotKind.outputProduced, "OutputProduced"],
  [HotKind.irqLineSet, "IrqLineSet"],
  [HotKind.digested, "Digested"],
]);

/** Every event; the payload only of row events, as JSON. */
function* eventRows(tables: RecordingTables): Generator<SqlRow, void> {
  for (const batch of tables.batchesFrom(0, new EventBatch())) {
    let row = 0;
    let exitNumber = batch.firstExitNumber;
    for (let index = 0; index < batch.count; index++) {
      const kind = batch.kinds[index] ?? 0;
      if (kind === HotKind.exited) exitNumber += 1;
      const position = [batch.firstSeq + index, batch.icounts[index] ?? 0, exitNumber];
      const name = HOT_KIND_NAMES.get(kind);
      const event = name === undefined ? batch.rows[row++] : undefined;
      if (event === undefined) yield [...position, name ?? null, 1, null, null];
      else yield [...position, event.kind, event.version, event.vcpu, json(event.payload)];
    }
  }
}

function* digestRows(tables: RecordingTables): Generator<SqlRow, void> {
  for (const batch of tables.batchesFrom(0, new EventBatch())) {
    let digest = 0;
    for (let index = 0; index < batch.count; index++) {
      if (batch.kinds[index] !== HotKind.digested) continue;
      const bytes = batch.digests.subarray(digest * 32, (digest + 1) * 32);
      digest += 1;
      yield [batch.firstSeq + index, batch.icounts[index] ?? 0, Buffer.from(bytes).toString("hex")];
    }
  }
}

function* headerRows({ header }: RecordingTables): Generator<SqlRow, void> {
  for (const [key, value] of Object.entries(header)) {
    if (value !== undefined) yield [key, typeof value === "object" ? json(value) : (value as SqlValue)];
  }
}

function* snapshotRows(tables: RecordingTables): Generator<SqlRow, void> {
  for (const { number, kind, seq, exitNumber, icount, guestTimeNs, digest } of tables.snapshotHeads()) {
    yield [number, kind, seq, exitNumber, icount, guestTimeNs, Buffer.from(digest).toString("hex")];
  }
}

function* batchRows(tables: RecordingTables): Generator<SqlRow, void> {
  for (const head of tables.batches.heads) {
    const { number, firstSeq, eventCount, exitsBefore, exitCount, firstIcount, lastIcount, chain } = head;
    const positions = [firstSeq, eventCount, exitsBefore, exitCount, firstIcount, lastIcount];
    yield [number, ...positions, Buffer.from(chain).toString("hex")];
  }
}

function* kindRows({ connection, progress }: RecordingTables): Generator<SqlRow, void> {
  for (const { name, version, role, fields } of readEventKinds(connection, progress.kindCount))
    yield [name, version, role, fields.join(", ")];
}

function* ownershipRows({ connection, progress }: RecordingTables): Generator<SqlRow, void> {
  for (const { recording, epoch, owner, state, detail } of readOwnership(connection, progress.ownershipCount)) {
    yield [recording, epoch, owner, state, json(detail)];
  }
}

const QUERY_TABLES: readonly QueryTable[] = [
  ...DERIVED_TABLES,
  { name: "events", columns: ["seq", "icount", "exit_number", "kind", "version", "vcpu", "payload"], rows: eventRows },
  { name: "digests", columns: ["seq", "icount", "sha256"], rows: digestRows },
  { name: "header", columns: ["key", "value"], rows: headerRows },
  {
    name: "snapshots",
    columns: ["number", "kind", "seq", "exit_number", "icount", "guest_time_ns", "digest"],
    rows: snapshotRows,
  },
  {
    name: "batches",
    columns: [
      "number",
      "first_seq",
      "event_count",
      "exits_before",
      "exit_count",
      "first_icount",
      "last_icount",
      "chain",
    ],
    rows: batchRows,
  },
  { name: "event_kinds", columns: ["kind", "version", "role", "fields"], rows: kindRows },
  { name: "ownership", columns: ["recording", "epoch", "owner", "state", "detail"], rows: ownershipRows },
  { name: "tables", columns: ["name", "columns"], rows: tableRows },
];

function* tableRows(): Generator<SqlRow, void> {
  for (const { name, columns } of QUERY_TABLES) yield [name, columns.join(", ")];
}

/** A failure while rows are made goes through SQLite, which may wrap it; `failure` keeps it as it was. */
function defineTables(
  database: Database.Database,
  tables: RecordingTables,
  names: ExitNames,
  failed: (failure: unknown) => void,
): void {
  for (const { name, columns, rows } of QUERY_TABLES) {
    database.table(moduleOf(name), {
      columns: [...columns],
      rows: function* () {
        try {
          // A number would come out as a real.
          for (const row of rows(tables, names))
            yield row.map((value) => (typeof value === "number" ? BigInt(value) : value));
        } catch (failure) {
          failed(failure);
          throw failure;
        }
      },
    });
    // A virtual table alone is in no schema: as a view, sqlite_schema and PRAGMA table_info have it.
    database.exec(viewOf({ name, columns }));
  }
}

function moduleOf(name: string): string {
  return `${name}_rows`;
}

function viewOf({ name, columns }: Pick<QueryTable, "name" | "columns">): string {
  return `CREATE VIEW ${name}(${columns.join(", ")}) AS SELECT * FROM ${moduleOf(name)}`;
}

/** What a query may ask, as SQL: the same for every recording. */
export function querySchema(): string[] {
  return QUERY_TABLES.map(viewOf);
}

export interface QueryResult {
  readonly columns: readonly string[];
  /** Integers as bigint: 64-bit values keep all their bits. */
  readonly rows: readonly (readonly SqlValue[])[];
}

export interface QueryOptions {
  readonly names?: ExitNames;
  readonly parameters?: readonly (string | number | bigint)[];
}

function prepare(database: Database.Database, sql: string): Database.Statement {
  const statement = database.prepare(sql);
  if (!statement.reader || !statement.readonly)
    throw new TypeError("it is no query: only statements that give rows and change nothing are run");
  return statement;
}

/** Whether a query goes through several tables: SQLite would read one of them anew for each row of another. */
function readsSeveral(database: Database.Database, sql: string, parameters: readonly unknown[]): boolean {
  const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...parameters) as { readonly detail: string }[];
  return plan.filter(({ detail }) => detail.includes("VIRTUAL TABLE")).length > 1;
}

/** Each table is read once, into one that SQLite can find rows in. */
function readOnce(database: Database.Database): void {
  for (const { name, columns } of QUERY_TABLES)
    database.exec(
      `DROP VIEW ${name}; CREATE VIEW ${name}(${columns.join(", ")}) AS ` +
        `WITH read AS MATERIALIZED (SELECT * FROM ${moduleOf(name)}) SELECT * FROM read`,
    );
}

function run(database: Database.Database, sql: string, parameters: readonly unknown[]): QueryResult {
  prepare(database, sql);
  if (readsSeveral(database, sql, parameters)) readOnce(database);
  const statement = prepare(database, sql);
  const rows = statement
    .raw()
    .safeIntegers()
    .all(...parameters) as SqlValue[][];
  return { columns: statement.columns().map(({ name }) => name), rows };
}

/** Throws JournalQueryError for what SQLite refuses, and what `openRecording` throws. */
export function query(path: string, sql: string, options: QueryOptions = {}): QueryResult {
  const reader = openRecording(path);
  // Nothing of the file itself is reachable from here, so no query can change it.
  const database = new Database(":memory:");
  let failure: unknown;
  try {
    defineTables(database, reader.tables, options.names ?? exitNamesOf(reader.header), (error) => {
      failure ??= error;
    });
    return run(database, sql, options.parameters ?? []);
  } catch (error) {
    if (failure !== undefined) throw readFailure(path, { part: "query" }, failure);
    throw new JournalQueryError(path, (error as Error).message, error);
  } finally {
    database.close();
    reader.close();
  }
}
