/** Tables for the stock sqlite3 and its relatives: derived, outside the hash chain, droppable. */
import type { Database } from "better-sqlite3";
import { type Steps, toItsEnd } from "../steps.js";
import type { RecordingTables } from "../store/recording-tables.js";
import {
  CONSOLE_COLUMNS,
  consoleRows,
  EXIT_COLUMNS,
  exitRows,
  HYPERCALL_COLUMNS,
  hypercallRows,
  type SqlRow,
} from "./derived-rows.js";
import { type ExitNames, exitNamesOf } from "./exit-names.js";

/** Above this the tables are made only on request. */
export const INDEX_EXITS_MAX = 1_000_000;

export interface DerivedTable {
  readonly name: "exits" | "hypercalls" | "console";
  readonly columns: readonly string[];
  readonly sql: string;
  rows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void>;
}

export const DERIVED_TABLES: readonly DerivedTable[] = [
  {
    name: "exits",
    columns: EXIT_COLUMNS,
    sql: `CREATE TABLE exits(nr INTEGER PRIMARY KEY, seq INTEGER NOT NULL, icount INTEGER NOT NULL, vcpu INTEGER NOT NULL,
  reason TEXT NOT NULL, kvm TEXT, handled_by TEXT NOT NULL, pc INTEGER NOT NULL, syndrome INTEGER NOT NULL,
  info INTEGER NOT NULL, rule INTEGER NOT NULL, gpa INTEGER, size INTEGER, is_write INTEGER, data INTEGER,
  arg0 INTEGER NOT NULL, arg1 INTEGER NOT NULL, arg2 INTEGER NOT NULL, arg3 INTEGER NOT NULL, answer INTEGER,
  answer1 INTEGER, answer2 INTEGER, answer3 INTEGER) STRICT`,
    rows: exitRows,
  },
  {
    name: "hypercalls",
    columns: HYPERCALL_COLUMNS,
    sql: `CREATE TABLE hypercalls(exit_nr INTEGER PRIMARY KEY, seq INTEGER NOT NULL, icount INTEGER NOT NULL,
  vcpu INTEGER NOT NULL, reason TEXT NOT NULL, handled_by TEXT NOT NULL, function INTEGER NOT NULL, flags INTEGER NOT NULL,
  arg1 INTEGER NOT NULL, arg2 INTEGER NOT NULL, arg3 INTEGER NOT NULL, rule INTEGER NOT NULL, answer INTEGER,
  pc INTEGER NOT NULL, answer1 INTEGER, answer2 INTEGER, answer3 INTEGER) STRICT`,
    rows: hypercallRows,
  },
  {
    name: "console",
    columns: CONSOLE_COLUMNS,
    sql: `CREATE TABLE console(port INTEGER NOT NULL, line INTEGER NOT NULL, seq INTEGER NOT NULL, icount INTEGER NOT NULL,
  exit_nr INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY(port, line)) STRICT`,
    rows: consoleRows,
  },
];

export function dropDerivedTables(database: Database): void {
  for (const { name } of DERIVED_TABLES) database.exec(`DROP TABLE IF EXISTS ${name}`);
}

export function hasDerivedTable(database: Database, name: string): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined;
}

/** In one transaction, in the place of older ones. */
export function deriveTables(tables: RecordingTables, names?: ExitNames): void {
  toItsEnd(deriveTablesSteps(tables, names));
}

/** The same in steps, a row each: left between two of them, the older ones stay. */
export function* deriveTablesSteps(
  tables: RecordingTables,
  names: ExitNames = exitNamesOf(tables.header),
): Steps<void> {
  const { database } = tables.connection;
  database.exec("BEGIN IMMEDIATE");
  try {
    dropDerivedTables(database);
    for (const table of DERIVED_TABLES) {
      database.exec(table.sql);
      const insert = database.prepare(`INSERT INTO ${table.name} VALUES(${table.columns.map(() => "?").join(", ")})`);
      for (const row of table.rows(tables, names)) {
        insert.run(row);
        yield undefined;
      }
    }
    database.exec("COMMIT");
  } finally {
    // An error of SQLite's may have rolled it back already.
    if (database.inTransaction) database.exec("ROLLBACK");
  }
}
