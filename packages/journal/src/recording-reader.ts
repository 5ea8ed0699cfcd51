/** A recording that is read: by replay, by people, beside a writer, or after a crash. */
import type {
  BatchStart,
  EventBatch,
  EventKind,
  JournalReader,
  PageHash,
  RecordingEnd,
  RecordingHeader,
  Snapshot,
  SnapshotHead,
} from "@hvjournal/core";
import { closeReading, type JournalNote, openForReading } from "./store/connection.js";
import { readEventKinds } from "./store/header-table.js";
import { type OwnershipRow, readOwnership } from "./store/ownership-table.js";
import { progressEnd, readProgress } from "./store/progress-table.js";
import { type OpenOptions, RecordingTables } from "./store/recording-tables.js";

export class RecordingReader implements JournalReader {
  /** For the other parts of this package. */
  readonly tables: RecordingTables;

  constructor(tables: RecordingTables) {
    this.tables = tables;
  }

  get path(): string {
    return this.tables.connection.path;
  }

  get header(): RecordingHeader {
    return this.tables.header;
  }

  /** As of opening, or of the last `refresh`. */
  get end(): RecordingEnd {
    return progressEnd(this.tables.progress);
  }

  /** What the person at the terminal should be told about this file. */
  get notes(): readonly JournalNote[] {
    return this.tables.connection.notes;
  }

  get batchCount(): number {
    return this.tables.batches.heads.length;
  }

  /** Sees what a writer has appended since. */
  refresh(): void {
    this.tables.refresh();
  }

  eventKinds(): readonly EventKind[] {
    return readEventKinds(this.tables.connection, this.tables.progress.kindCount);
  }

  ownership(): readonly OwnershipRow[] {
    return readOwnership(this.tables.connection, this.tables.progress.ownershipCount);
  }

  readBatches(seq: number, batch: EventBatch, visit: (batch: EventBatch) => boolean): void {
    for (const read of this.tables.batchesFrom(seq, batch)) if (!visit(read)) return;
  }

  /** Of the last batch for an exit beyond the end. */
  seekByExit(exitNumber: number): BatchStart {
    return this.tables.batches.startOfExit(exitNumber);
  }

  /** The first batch with an event at `icount` or later; the last batch if there is none. */
  seekByIcount(icount: number): BatchStart {
    return this.tables.batches.startOfIcount(icount);
  }

  /** Hash chain up to event `seq`, hex, where a batch ends with it or the recording begins behind it; else undefined. */
  chainAt(seq: number): string | undefined {
    return this.tables.batches.chainAt(seq);
  }

  snapshots(): readonly SnapshotHead[] {
    return this.tables.snapshotHeads();
  }

  loadSnapshot(number: number): Snapshot {
    return this.tables.snapshots.load(number);
  }

  loadPage(hash: PageHash): Uint8Array {
    return this.tables.pages.load(hash);
  }

  close(): void {
    closeReading(this.tables.connection, () => readProgress(this.tables.connection).state !== "open");
  }
}

/**
 * Throws JournalMissingError, JournalFormatError, JournalBusyError, or JournalDamagedError when header or index
 * are damaged; damage elsewhere is thrown when it is met.
 */
export function openRecording(path: string, options: OpenOptions = {}): RecordingReader {
  const connection = openForReading(path, options);
  try {
    return new RecordingReader(new RecordingTables(connection, options));
  } catch (error) {
    connection.database.close();
    throw error;
  }
}
