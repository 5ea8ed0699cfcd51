/** Reads everything that a recording holds and says what of it is whole. */
import { CoreKind, EventBatch, type RecordingEnd, type RowEvent } from "@hvjournal/core";
import { exitNamesOf } from "./derived/exit-names.js";
import type { SqlRow, SqlValue } from "./derived/derived-rows.js";
import { DERIVED_TABLES, type DerivedTable, hasDerivedTable } from "./derived/index-tables.js";
import { hex, isSamePageHash, PAGE_HASH_BYTES } from "./canonical/hash.js";
import { JournalDamagedError, type JournalPlace, type JournalPosition } from "./errors.js";
import type { RecordingReader } from "./recording-reader.js";
import { type JournalNote, openForReading, reading } from "./store/connection.js";
import { readEventKinds } from "./store/header-table.js";
import { readOwnership } from "./store/ownership-table.js";
import { progressEnd } from "./store/progress-table.js";
import { RecordingTables } from "./store/recording-tables.js";
import { type Steps, toItsEnd } from "./steps.js";
import { locateRow } from "./store/row-location.js";
import { StoredFields } from "./store/stored-fields.js";

export interface FsckProblem {
  readonly what: string;
  readonly place: JournalPlace;
  /** First and last byte of the file's pages that hold the damaged row, where they are known. */
  readonly bytes?: readonly [first: number, last: number];
}

export interface FsckReport {
  readonly path: string;
  readonly isWhole: boolean;
  readonly problems: readonly FsckProblem[];
  /** The damage is in derived tables alone, which `index` makes anew: nothing of the recording is lost. */
  readonly onlyDerived: boolean;
  readonly notes: readonly JournalNote[];
  /** Undefined when the recording can't be opened at all. */
  readonly end: RecordingEnd | undefined;
  /** Every event up to here is whole, and so is the first snapshot; undefined when nothing replays. */
  readonly replaysTo: JournalPosition | undefined;
  readonly batchCount: number;
  readonly snapshotCount: number;
  readonly pageCount: number;
}

const SQLITE_MALFORMED = "database disk image is malformed";
const BEHIND_CUT = "a part of its tree was cut off";
const INTEGRITY_MESSAGES_MAX = 100;
const ZERO_PAGE = "0".repeat(PAGE_HASH_BYTES * 2);

interface TableRow {
  readonly table: "batch_columns" | "page_packs" | "snapshots";
  readonly id: number;
}

class Check {
  readonly #tables: RecordingTables;
  readonly problems: FsckProblem[] = [];
  /** Hashes of pages that are there and can't be used. */
  readonly #damagedPages = new Set<string>();
  /** Those of the last snapshot whose pages are all there. */
  #wholeHashes: Uint8Array | undefined;
  replaysTo: JournalPosition | undefined;
  snapshotCount = 0;
  pageCount = 0;
  onlyDerived = false;

  constructor(tables: RecordingTables) {
    this.#tables = tables;
    this.replaysTo = tables.batches.position;
  }

  /** Notes what is damaged in `act`, which reads `row`, and goes on. */
  #try(act: () => void, row?: TableRow): void {
    try {
      act();
    } catch (error) {
      this.#noteDamage(error, row);
    }
  }

  /** The same of an act that takes long. */
  *#trySteps(steps: Steps<void>): Steps<void> {
    try {
      yield* steps;
    } catch (error) {
      this.#noteDamage(error);
    }
  }

  #noteDamage(error: unknown, row?: TableRow): void {
    if (!(error instanceof JournalDamagedError)) throw error;
    const bytes = row === undefined ? undefined : this.#bytesOf(row);
    const what = this.#isBehindCut(error) ? BEHIND_CUT : error.what;
    this.problems.push({ what, place: error.place, ...(bytes === undefined ? {} : { bytes }) });
    if (error.replaysTo !== undefined) this.#limit(error.replaysTo);
  }

  /** SQLite says of what was cut off no more than that the file is malformed. */
  #isBehindCut({ what }: JournalDamagedError): boolean {
    return this.#tables.connection.cutOff !== undefined && what === SQLITE_MALFORMED;
  }

  /** Only of a closed file: in others a page's newest content may stand in the -wal. */
  #bytesOf({ table, id }: TableRow): readonly [number, number] | undefined {
    const { connection, progress } = this.#tables;
    return progress.state === "open" ? undefined : locateRow(connection, table, id);
  }

  #limit(position: JournalPosition): void {
    if (this.replaysTo !== undefined && position.seq < this.replaysTo.seq) this.replaysTo = position;
  }

  *steps(): Steps<void> {
    this.#checkOpening();
    this.#checkFrame();
    yield undefined;
    yield* this.#checkPages();
    yield* this.#checkBatches();
    this.#checkStrayRows();
    yield* this.#checkSnapshots();
    if (this.problems.length > 0) return;
    for (const table of DERIVED_TABLES) yield* this.#trySteps(this.#checkDerived(table));
    this.onlyDerived = this.problems.length > 0;
  }

  /** All that no run from start to end has to read. */
  *stepsBesideBatches(): Steps<void> {
    this.#checkFrame();
    yield undefined;
    yield* this.#checkPages();
    this.#checkStrayRows();
    yield* this.#checkSnapshots();
  }

  /** What opening it has found. */
  #checkOpening(): void {
    const { connection, progress, batches } = this.#tables;
    const { cutOff, walIsMissing, walDamage, path, notes } = connection;
    if (cutOff !== undefined) this.problems.push({ what: cutOff.what, place: cutOff.place });
    for (const { code, text } of notes) {
      if (code === "salvaged" && cutOff === undefined)
        this.problems.push({ what: text, place: { part: "index of batches" } });
    }
    if (walDamage !== undefined && progress.state === "open") {
      const what = `behind batch ${batches.heads.length} stands a frame that is not what was written, and more behind it`;
      this.problems.push({ what, place: { part: `${path}-wal, byte ${walDamage}` } });
    }
    if (!walIsMissing || progress.state !== "open" || cutOff !== undefined) return;
    const what = `no end mark stands behind batch ${batches.heads.length}, and ${path}-wal, which held what came later, is missing`;
    this.problems.push({ what, place: { part: "end" } });
  }

  #checkFrame(): void {
    // Of one that was cut off, SQLite names every page that is gone.
    if (this.#tables.connection.cutOff === undefined) this.#checkDatabase();
    this.#try(() => void readEventKinds(this.#tables.connection, this.#tables.progress.kindCount));
    this.#try(() => void readOwnership(this.#tables.connection, this.#tables.progress.ownershipCount));
  }

  /** SQLite's own check of its trees; its messages name pages of the file. */
  #checkDatabase(): void {
    const { path, database } = this.#tables.connection;
    this.#try(() => {
      const messages = reading(path, { part: "SQLite structure" }, () =>
        database.pragma(`integrity_check(${INTEGRITY_MESSAGES_MAX})`),
      );
      for (const row of messages as Readonly<Record<string, unknown>>[]) {
        const what = String(row["integrity_check"]).replace(/^\*\*\* in database main \*\*\*\s*/, "");
        if (what !== "ok") this.problems.push({ what, place: { part: "SQLite structure" } });
      }
    });
  }

  *#checkBatches(): Steps<void> {
    const batch = new EventBatch();
    for (const [index, { number, exitsBefore, firstIcount }] of this.#tables.batches.heads.entries()) {
      yield { exitNumber: exitsBefore, icount: firstIcount };
      this.#try(
        () => {
          this.#tables.batches.read(index, batch);
          for (const row of batch.rows) this.#checkWrittenPages(row);
        },
        { table: "batch_columns", id: number },
      );
    }
  }

  /** A replay needs the pages that the VMM half wrote when it comes to them. */
  #checkWrittenPages(row: RowEvent): void {
    const { pages } = row.payload;
    if (row.kind !== CoreKind.guestMemoryWritten.name || !ArrayBuffer.isView(pages)) return;
    const { missing, example } = this.#missingPages(pages as Uint8Array);
    if (missing === 0) return;
    const { seq, exitNumber, icount } = row;
    const what = `${missing} pages that were written to the guest are missing or damaged, ${example} for one`;
    const place = { part: `event:${seq}`, events: [seq, seq] } as const;
    throw new JournalDamagedError(this.#tables.connection.path, what, place, { seq: seq - 1, exitNumber, icount });
  }

  /** How many of the pages in a list of hashes can't be loaded, and one of them. `whole`: a list with none. */
  #missingPages(pageHashes: Uint8Array, whole?: Uint8Array): { missing: number; example: string | undefined } {
    const missing = new Set<string>();
    for (let offset = 0; offset < pageHashes.length; offset += PAGE_HASH_BYTES) {
      if (whole !== undefined && isSamePageHash(pageHashes, whole, offset)) continue;
      const hash = hex(pageHashes.subarray(offset, offset + PAGE_HASH_BYTES));
      const isThere = hash === ZERO_PAGE || this.#tables.pages.has(hash);
      if (!isThere || this.#damagedPages.has(hash)) missing.add(hash);
    }
    return { missing: missing.size, example: [...missing][0] };
  }

  /** Rows that no batch claims are never read; they say that something went wrong all the same. */
  #checkStrayRows(): void {
    const { connection, progress, batches, header } = this.#tables;
    const { path, database } = connection;
    const first = batches.heads[0]?.firstSeq ?? progress.nextSeq;
    this.#try(() => {
      const place = { part: `events of ${header.id}` };
      const strays = reading(path, place, () =>
        database.prepare("SELECT seq FROM events WHERE seq < ? OR seq >= ?").all(first, progress.nextSeq),
      );
      if (strays.length > 0)
        throw new JournalDamagedError(path, `${strays.length} row events belong to no batch`, place);
    });
  }

  /** But for those that have been read already. */
  *#checkPages(): Steps<void> {
    let names: ReturnType<RecordingTables["pages"]["names"]> = [];
    this.#try(() => (names = this.#tables.pages.names()));
    for (const [hash, pack] of names) {
      this.pageCount += 1;
      if (this.#tables.pages.isVerified(hash)) continue;
      const before = this.problems.length;
      this.#try(() => void this.#tables.pages.load(hash), { table: "page_packs", id: pack });
      if (this.problems.length > before) this.#damagedPages.add(hash);
      yield undefined;
    }
  }

  *#checkSnapshots(): Steps<void> {
    this.#try(() => void this.#tables.snapshots.heads(this.#tables.progress));
    yield* this.#trySteps(this.#checkEachSnapshot());
  }

  *#checkEachSnapshot(): Steps<void> {
    const { path, database } = this.#tables.connection;
    const rows = reading(path, { part: "snapshots" }, () =>
      database.prepare("SELECT number FROM snapshots ORDER BY number").all(),
    );
    for (const [index, row] of rows.entries()) {
      yield undefined;
      const number = reading(path, { part: "snapshots" }, () => new StoredFields(row).count("number"));
      const before = this.problems.length;
      this.#try(() => this.#checkSnapshot(number), { table: "snapshots", id: number });
      this.snapshotCount += 1;
      if (index === 0 && this.problems.length > before) this.replaysTo = undefined;
    }
  }

  #checkSnapshot(number: number): void {
    const { path } = this.#tables.connection;
    const { pageHashes } = this.#tables.snapshots.load(number);
    // Most of a snapshot is as it was at the one before; at the first, most is zeros.
    const before =
      this.#wholeHashes?.length === pageHashes.length ? this.#wholeHashes : new Uint8Array(pageHashes.length);
    const { missing, example } = this.#missingPages(pageHashes, before);
    if (missing === 0) {
      this.#wholeHashes = pageHashes;
      return;
    }
    const what = `${missing} of its pages are missing or damaged, ${example} for one`;
    throw new JournalDamagedError(path, what, { part: `snapshot ${number}` });
  }

  /** A derived table must say what the batches say. */
  *#checkDerived(table: DerivedTable): Steps<void> {
    const { path, database } = this.#tables.connection;
    const place = { part: `derived table ${table.name}` };
    if (!reading(path, place, () => hasDerivedTable(database, table.name))) return;
    // Older builds made it with fewer columns: no query reads it, and `index` makes it anew.
    const columns = reading(path, place, () => database.pragma(`table_info(${table.name})`)) as unknown[];
    if (columns.length < table.columns.length) return;
    const stored = reading(path, place, () =>
      database.prepare(`SELECT * FROM ${table.name} ORDER BY rowid`).raw().safeIntegers().iterate(),
    );
    try {
      for (const row of table.rows(this.#tables, exitNamesOf(this.#tables.header))) {
        yield undefined;
        const next = reading(path, place, () => stored.next());
        if (next.done === true || !isSameRow(row, next.value as SqlRow)) {
          const what = `the row of ${table.columns[0]} ${String(row[0])} is not what the journal says`;
          throw new JournalDamagedError(path, what, place);
        }
      }
      if (reading(path, place, () => stored.next()).done !== true)
        throw new JournalDamagedError(path, "it has rows that the journal has not", place);
    } finally {
      // A connection with an open query can't be closed, wherever the check was left.
      stored.return?.();
    }
  }
}

function sameValue(expected: SqlValue, stored: SqlValue | undefined): boolean {
  if (typeof expected === "number" || typeof expected === "bigint") return BigInt(expected) === stored;
  return expected === stored;
}

function isSameRow(expected: SqlRow, stored: SqlRow): boolean {
  return expected.length === stored.length && expected.every((value, index) => sameValue(value, stored[index]));
}

/**
 * Damage where a run through all batches does not come by: SQLite's trees, snapshots, pages. The batches it has checked
 * itself, and the tables for the stock sqlite3 are none of the recording.
 */
export function damageBesideBatches(reader: RecordingReader): Steps<readonly FsckProblem[]> {
  return atOneMoment(reader.tables, function* () {
    const check = new Check(reader.tables);
    yield* check.stepsBesideBatches();
    return check.problems;
  });
}

/** A writer may go on meanwhile: what is compared with each other is read as of one moment. */
function* atOneMoment<Result>(tables: RecordingTables, act: () => Steps<Result>): Steps<Result> {
  const { database, path } = tables.connection;
  reading(path, { part: "file" }, () => database.exec("BEGIN"));
  try {
    tables.refreshLive();
    return yield* act();
  } finally {
    endReading(tables);
  }
}

function endReading({ connection: { database } }: RecordingTables): void {
  try {
    database.exec("COMMIT");
  } catch {
    // A damaged tree fails it, which has been told; nothing was written.
  }
}

/** One tree may be read for several reasons. */
function withoutRepeats(problems: readonly FsckProblem[]): FsckProblem[] {
  const texts = new Set<string>();
  return problems.filter(({ what, place, bytes }) => {
    const text = JSON.stringify([place.part, what, bytes]);
    return !texts.has(text) && texts.add(text);
  });
}

function* reportOf(tables: RecordingTables): Steps<FsckReport> {
  const check = new Check(tables);
  yield* check.steps();
  const { replaysTo, snapshotCount, pageCount, onlyDerived } = check;
  const problems = withoutRepeats(check.problems);
  const { path, notes } = tables.connection;
  return {
    path,
    isWhole: problems.length === 0,
    problems,
    onlyDerived,
    notes,
    end: progressEnd(tables.progress),
    replaysTo,
    batchCount: tables.batches.heads.length,
    snapshotCount,
    pageCount,
  };
}

/** Throws JournalMissingError and JournalFormatError; damage is what it reports. */
export function fsck(path: string): FsckReport {
  return toItsEnd(fsckSteps(path));
}

/** The same, for one who looks up now and then. */
export function* fsckSteps(path: string): Steps<FsckReport> {
  const empty = {
    onlyDerived: false,
    end: undefined,
    replaysTo: undefined,
    batchCount: 0,
    snapshotCount: 0,
    pageCount: 0,
  };
  try {
    const connection = openForReading(path, { salvage: true });
    try {
      const tables = new RecordingTables(connection, { salvage: true });
      return yield* atOneMoment(tables, () => reportOf(tables));
    } finally {
      connection.database.close();
    }
  } catch (error) {
    if (!(error instanceof JournalDamagedError)) throw error;
    return { path, isWhole: false, problems: [{ what: error.what, place: error.place }], notes: [], ...empty };
  }
}
