/** A recording that is written: made, continued, sealed. */
import {
  type BatchStart,
  type Durability,
  EventBatch,
  type EventKind,
  type JournalWriter,
  type PageHash,
  type RecordingEnd,
  type RecordingHeader,
  type Snapshot,
  type SnapshotHead,
} from "@hvjournal/core";
import { unlinkSync } from "node:fs";
import { deriveTables, deriveTablesSteps, dropDerivedTables, INDEX_EXITS_MAX } from "./derived/index-tables.js";
import type { ExitNames } from "./derived/exit-names.js";
import { JournalSealedError, type JournalPosition, JournalWriteError } from "./errors.js";
import { RecordingReader } from "./recording-reader.js";
import { BatchWriter, type EncodedBatch } from "./store/batch-tables.js";
import {
  closeWriting,
  type Connection,
  openToContinue,
  reading,
  startWritingAhead,
  writeFailure,
} from "./store/connection.js";
import { createForWriting } from "./store/new-file.js";
import { recordingStart, writeEventKinds, writeHeader } from "./store/header-table.js";
import { type OwnershipRow, OwnershipWriter } from "./store/ownership-table.js";
import { type PageCoding, PageWriter } from "./store/page-tables.js";
import { initialProgress, type Progress, progressEnd, ProgressWriter, toggleRoot } from "./store/progress-table.js";
import { RecordingTables } from "./store/recording-tables.js";
import { createTables, DATABASE_PAGE_BYTES, FORMAT_VERSION } from "./store/schema.js";
import { type Steps, toItsEnd } from "./steps.js";
import { SnapshotWriter } from "./store/snapshot-tables.js";

export interface WriterOptions {
  /** Every kind that may be appended: what other programs read the file by. */
  readonly kinds?: readonly EventKind[];
  /** How pages are stored; raw by default, which is faster. */
  readonly pages?: PageCoding;
  /** Names for the derived tables; by default those of the header's exit model. */
  readonly names?: ExitNames;
  /** The file is refused to grow beyond; no limit by default. */
  readonly fileBytesMax?: number;
}

export interface ContinueOptions extends WriterOptions {
  /** Also a sealed recording: the operator's recorded force, or a move that is resolved. */
  readonly evenSealed?: boolean;
  /** How long another process is waited for, in milliseconds; 5000 by default. */
  readonly lockTimeoutMs?: number;
}

export class RecordingWriter implements JournalWriter {
  readonly #tables: RecordingTables;
  readonly #reader: RecordingReader;
  readonly #options: WriterOptions;
  readonly #progressWriter: ProgressWriter;
  readonly #batchWriter: BatchWriter;
  readonly #pageWriter: PageWriter;
  readonly #snapshotWriter: SnapshotWriter;
  readonly #ownershipWriter: OwnershipWriter;
  /** The write that failed; nothing is written after it. */
  #failure: unknown;
  #writesAhead: boolean;

  constructor(tables: RecordingTables, options: WriterOptions) {
    const { connection, pages, progress } = tables;
    const { database } = connection;
    this.#tables = tables;
    this.#reader = new RecordingReader(tables);
    this.#options = options;
    this.#writesAhead = database.pragma("journal_mode", { simple: true }) === "wal";
    if (options.fileBytesMax !== undefined)
      database.pragma(`max_page_count = ${Math.floor(options.fileBytesMax / DATABASE_PAGE_BYTES)}`);
    this.#progressWriter = new ProgressWriter(database);
    this.#batchWriter = new BatchWriter(database);
    this.#pageWriter = new PageWriter(database, pages, options.pages ?? "raw");
    this.#snapshotWriter = new SnapshotWriter(database);
    this.#ownershipWriter = new OwnershipWriter(connection, progress.ownershipCount);
  }

  get path(): string {
    return this.#reader.path;
  }

  get header(): RecordingHeader {
    return this.#reader.header;
  }

  get end(): RecordingEnd {
    return progressEnd(this.#tables.progress);
  }

  get #position(): JournalPosition {
    return this.#tables.batches.position;
  }

  append(batch: EventBatch, durability: Durability): void {
    this.#checkUsable();
    const { database } = this.#tables.connection;
    if (batch.count === 0 && durability === "normal" && !database.inTransaction) return;
    const encoded = this.#encode(batch);
    this.#transact(durability, progressAfter(encoded), () => this.#writeBatch(encoded));
    this.#addHead(encoded);
  }

  #encode(batch: EventBatch | undefined): EncodedBatch | undefined {
    return batch === undefined || batch.count === 0 ? undefined : this.#tables.batches.encode(batch);
  }

  #writeBatch(encoded: EncodedBatch | undefined): void {
    if (encoded !== undefined) this.#batchWriter.write(encoded);
  }

  /** Once it is committed. */
  #addHead(encoded: EncodedBatch | undefined): void {
    if (encoded !== undefined) this.#tables.batches.add(encoded.head);
  }

  storePage(hash: PageHash, content: Uint8Array): void {
    this.#checkUsable();
    this.#orFail(() => {
      this.#begin();
      this.#pageWriter.store(hash, content);
    });
  }

  hasPage(hash: PageHash): boolean {
    return this.#pageWriter.has(hash);
  }

  addSnapshot(snapshot: Snapshot, durability: Durability): void {
    this.#checkUsable();
    const { snapshotCount, snapshotRoots } = this.#tables.progress;
    const next: Partial<Progress> = { snapshotCount: snapshotCount + 1 };
    this.#transact(durability, next, () => {
      next.snapshotRoots = toggleRoot(snapshotRoots, this.#snapshotWriter.write(snapshot));
    });
  }

  /** One durable step of a move: the row, and the events that go with it, are both there or neither is. */
  appendOwnership(row: OwnershipRow, batch?: EventBatch): void {
    this.#checkUsable();
    const encoded = this.#encode(batch);
    const next = { ...progressAfter(encoded), ownershipCount: this.#tables.progress.ownershipCount + 1 };
    this.#transact("full", next, () => {
      this.#writeBatch(encoded);
      this.#ownershipWriter.write(row);
    });
    this.#addHead(encoded);
  }

  finish(state: "closed" | "sealed", options: { readonly index: boolean }): void {
    this.#checkUsable();
    this.#transact("full", { state }, () => undefined);
    let indexFailure: unknown;
    try {
      if (options.index && this.end.exitNumber - recordingStart(this.header).exitNumber <= INDEX_EXITS_MAX) {
        deriveTables(this.#tables, this.#options.names);
      }
    } catch (error) {
      // The recording itself is whole and must be left as one closed file first.
      indexFailure = error;
    }
    this.#close();
    if (indexFailure !== undefined) throw writeFailure(this.path, indexFailure, this.#position);
  }

  /** Leaves an unfinished recording as it was committed last. After `finish` it does nothing. */
  close(): void {
    if (this.#tables.connection.database.open) this.#close();
  }

  #close(): void {
    const { connection } = this.#tables;
    if (connection.database.inTransaction) connection.database.exec("ROLLBACK");
    try {
      closeWriting(connection);
    } catch (error) {
      throw writeFailure(this.path, error, this.#position);
    }
  }

  #checkUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#tables.connection.database.open) {
      throw new JournalWriteError(this.path, "it has been finished", "continue the recording first", this.#position);
    }
  }

  #begin(): void {
    const { database } = this.#tables.connection;
    if (!database.inTransaction) database.exec("BEGIN IMMEDIATE");
  }

  /** Runs `write` in the transaction that may hold pages already, and commits it with the new progress. */
  #transact(durability: Durability, next: Partial<Progress>, write: () => void): void {
    const { database } = this.#tables.connection;
    this.#orFail(() => {
      // How a transaction syncs is settled before it begins: one that holds pages is followed by an empty one.
      const isLate = durability === "full" && database.inTransaction;
      if (durability === "full" && !isLate) database.pragma("synchronous = FULL");
      this.#begin();
      write();
      this.#pageWriter.closePack();
      const progress = { ...this.#tables.progress, ...next };
      this.#progressWriter.write(progress);
      database.exec("COMMIT");
      this.#tables.progress = progress;
      if (isLate) {
        database.pragma("synchronous = FULL");
        this.#begin();
        this.#progressWriter.write(progress);
        database.exec("COMMIT");
      }
      if (durability === "full") database.pragma("synchronous = NORMAL");
      if (!this.#writesAhead) startWritingAhead(this.#tables.connection);
      this.#writesAhead = true;
    });
  }

  #orFail(write: () => void): void {
    try {
      write();
    } catch (error) {
      const { database } = this.#tables.connection;
      if (database.inTransaction) database.exec("ROLLBACK");
      this.#failure = writeFailure(this.path, error, this.#position);
      throw this.#failure;
    }
  }

  readBatches(seq: number, batch: EventBatch, visit: (batch: EventBatch) => boolean): void {
    this.#reader.readBatches(seq, batch, visit);
  }

  seekByExit(exitNumber: number): BatchStart {
    return this.#reader.seekByExit(exitNumber);
  }

  seekByIcount(icount: number): BatchStart {
    return this.#reader.seekByIcount(icount);
  }

  snapshots(): readonly SnapshotHead[] {
    return this.#reader.snapshots();
  }

  loadSnapshot(number: number): Snapshot {
    return this.#reader.loadSnapshot(number);
  }

  loadPage(hash: PageHash): Uint8Array {
    return this.#pageWriter.openPage(hash) ?? this.#reader.loadPage(hash);
  }

  chainAt(seq: number): string | undefined {
    return this.#reader.chainAt(seq);
  }

  eventKinds(): readonly EventKind[] {
    return this.#reader.eventKinds();
  }

  ownership(): readonly OwnershipRow[] {
    return this.#reader.ownership();
  }
}

function progressAfter(encoded: EncodedBatch | undefined): Partial<Progress> {
  if (encoded === undefined) return {};
  const { number, firstSeq, eventCount, exitsBefore, exitCount, lastIcount, chain } = encoded.head;
  return {
    batchCount: number,
    nextSeq: firstSeq + eventCount,
    exitNumber: exitsBefore + exitCount,
    icount: lastIcount,
    chain,
  };
}

function fillNewRecording(
  connection: Connection["database"],
  header: RecordingHeader,
  kinds: readonly EventKind[],
): void {
  createTables(connection);
  const chain = writeHeader(connection, header);
  const progress = { ...initialProgress(recordingStart(header), chain), kindCount: writeEventKinds(connection, kinds) };
  new ProgressWriter(connection).write(progress);
}

/** Makes a recording where no file is. Throws JournalExistsError, JournalMissingError, JournalWriteError. */
export function createRecording(path: string, header: RecordingHeader, options: WriterOptions = {}): RecordingWriter {
  if (header.formatVersion !== FORMAT_VERSION) {
    throw new RangeError(`can't write format ${header.formatVersion}: this build writes ${FORMAT_VERSION}`);
  }
  const connection = createForWriting(path, (database) => fillNewRecording(database, header, options.kinds ?? []));
  try {
    return new RecordingWriter(new RecordingTables(connection, {}), options);
  } catch (error) {
    connection.database.close();
    unlinkSync(path);
    throw error;
  }
}

/**
 * Goes on with a recording behind its last event: after a crash, or to seal it. Derived tables are dropped.
 * Throws JournalBusyError while any other process has it open, JournalSealedError, and what `openRecording` throws.
 */
export function continueRecording(path: string, options: ContinueOptions = {}): RecordingWriter {
  const connection = openToContinue(path, options.lockTimeoutMs);
  try {
    const tables = new RecordingTables(connection, {});
    if (tables.progress.state === "sealed" && options.evenSealed !== true)
      throw new JournalSealedError(path, "continue");
    const { batches } = tables;
    // What comes next is chained to the last batch, so that one must be whole.
    if (batches.heads.length > 0) batches.read(batches.heads.length - 1, new EventBatch());
    reopen(tables, options.kinds ?? []);
    return new RecordingWriter(tables, options);
  } catch (error) {
    connection.database.close();
    throw error;
  }
}

function reopen(tables: RecordingTables, kinds: readonly EventKind[]): void {
  const { database, path } = tables.connection;
  try {
    database.pragma("synchronous = FULL");
    database
      .transaction(() => {
        dropDerivedTables(database);
        const kindCount = writeEventKinds(database, kinds);
        const progress: Progress = { ...tables.progress, state: "open", kindCount };
        new ProgressWriter(database).write(progress);
        tables.progress = progress;
      })
      .immediate();
    database.pragma("synchronous = NORMAL");
  } catch (error) {
    throw writeFailure(path, error, tables.batches.position);
  }
}

/** Builds the tables for the stock sqlite3, whatever their size. Left between two steps, the file stays as it was. */
export function buildIndex(path: string, options: { readonly names?: ExitNames } = {}): Steps<void> {
  return onClosedFile(path, (tables) => deriveTablesSteps(tables, options.names));
}

export function dropIndex(path: string): void {
  toItsEnd(
    onClosedFile(path, function* ({ connection }) {
      yield undefined;
      dropDerivedTables(connection.database);
    }),
  );
}

function* onClosedFile(path: string, act: (tables: RecordingTables) => Steps<void>): Steps<void> {
  const connection = openToContinue(path);
  try {
    const tables = new RecordingTables(connection, {});
    try {
      yield* act(tables);
    } catch (error) {
      throw writeFailure(path, error, tables.batches.position);
    }
  } finally {
    reading(path, { part: "file" }, () => closeWriting(connection));
  }
}
