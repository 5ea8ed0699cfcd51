/** All tables of one open recording: what its reader and its writer share. */
import type { EventBatch, RecordingHeader, SnapshotHead } from "@hvjournal/core";
import { hex } from "../canonical/hash.js";
import { JournalDamagedError, JournalError } from "../errors.js";
import { BatchTables } from "./batch-tables.js";
import { checkMarks, type Connection, reading } from "./connection.js";
import { headerFormatVersion, readHeader, recordingStart } from "./header-table.js";
import { PageReader } from "./page-tables.js";
import { initialProgress, type Progress, readProgress } from "./progress-table.js";
import { FORMAT_VERSION } from "./schema.js";
import { SnapshotTables } from "./snapshot-tables.js";

export interface OpenOptions {
  /** Opens a damaged recording with what is whole from its start on, and says so in `notes`. */
  readonly salvage?: boolean;
}

export class RecordingTables {
  readonly connection: Connection;
  readonly header: RecordingHeader;
  readonly batches: BatchTables;
  readonly pages: PageReader;
  readonly snapshots: SnapshotTables;
  progress: Progress;
  readonly #salvage: boolean;
  #isSalvaged = false;

  constructor(connection: Connection, options: OpenOptions) {
    this.connection = connection;
    checkMarks(connection, () => headerFormatVersion(connection) === FORMAT_VERSION);
    const { header, chain } = readHeader(connection);
    const start = recordingStart(header);
    this.header = header;
    this.batches = new BatchTables(connection, start, chain);
    this.pages = new PageReader(connection);
    this.snapshots = new SnapshotTables(connection, this.batches);
    this.progress = initialProgress(start, chain);
    this.#salvage = options.salvage === true;
    this.#load();
    this.#noteCutOff();
    this.#noteLostWal();
  }

  #load(): void {
    try {
      this.refresh();
    } catch (error) {
      if (!this.#salvage || !(error instanceof JournalDamagedError)) throw error;
      this.#isSalvaged = true;
      this.progress = { ...this.progress, ...this.#reach(), state: "open" };
      this.connection.notes.push({
        code: "salvaged",
        text: `${this.connection.cutOff?.message ?? error.message}; opened up to event:${this.progress.nextSeq - 1} (exit:${this.progress.exitNumber})`,
      });
    }
  }

  /** All snapshots; of a salvaged recording those that are whole and lie in what is left of it. */
  snapshotHeads(): readonly SnapshotHead[] {
    try {
      if (!this.#isSalvaged) return this.snapshots.heads(this.progress);
    } catch (error) {
      if (!this.#salvage || !(error instanceof JournalDamagedError)) throw error;
    }
    return this.snapshots.wholeHeads().filter(({ seq }) => seq < this.progress.nextSeq);
  }

  #reach(): Pick<Progress, "batchCount" | "nextSeq" | "exitNumber" | "icount" | "chain"> {
    const { seq, exitNumber, icount } = this.batches.position;
    return {
      batchCount: this.batches.heads.length,
      nextSeq: seq + 1,
      exitNumber,
      icount,
      chain: this.batches.lastChain,
    };
  }

  /** Sees what a writer has committed since; both tables at one moment. */
  refresh(): void {
    const { path, database } = this.connection;
    let failure: unknown;
    try {
      reading(path, { part: "file" }, () => {
        database.transaction(() => {
          try {
            this.#refreshNow();
          } catch (error) {
            failure = error;
          }
        })();
      });
    } catch (error) {
      // A damaged tree fails the end of the transaction as well, which says less.
      failure ??= error;
    }
    if (failure !== undefined) throw failure;
  }

  /** Does so where there may be a writer. */
  refreshLive(): void {
    if (this.progress.state === "open" && !this.#isSalvaged && this.connection.cutOff === undefined) this.refresh();
  }

  #refreshNow(): void {
    let damage: unknown;
    try {
      this.progress = readProgress(this.connection);
    } catch (error) {
      // The index is read all the same: a salvage goes as far as it does.
      if (!(error instanceof JournalError)) throw error;
      damage = error;
    }
    this.batches.loadHeads();
    if (damage !== undefined) throw damage;
    const { path } = this.connection;
    const reach = this.#reach();
    const { batchCount, nextSeq, exitNumber, icount, chain } = this.progress;
    const agrees =
      batchCount === reach.batchCount &&
      nextSeq === reach.nextSeq &&
      exitNumber === reach.exitNumber &&
      icount === reach.icount &&
      hex(chain) === hex(reach.chain);
    if (agrees) return;
    const what = `${reach.batchCount} of ${batchCount} batches are there, up to event:${reach.nextSeq - 1} of ${nextSeq - 1}`;
    throw new JournalDamagedError(path, what, { part: "batches" }, this.batches.position);
  }

  /** For one that was cut off behind all of its index. */
  #noteCutOff(): void {
    const { cutOff, notes } = this.connection;
    if (cutOff !== undefined && !this.#isSalvaged) notes.push({ code: "salvaged", text: cutOff.message });
  }

  #noteLostWal(): void {
    const { path, walIsMissing, walDamage, notes } = this.connection;
    if (this.progress.state !== "open") return;
    const { nextSeq, exitNumber } = this.progress;
    const later = `what came after event:${nextSeq - 1} (exit:${exitNumber})`;
    if (walIsMissing)
      notes.push({ code: "wal-missing", text: `${path} was copied without its ${path}-wal: ${later} is not in it` });
    if (walDamage !== undefined)
      notes.push({ code: "wal-damaged", text: `${path}-wal is damaged at byte ${walDamage}: ${later} can't be read` });
  }

  /** The batches from the one that holds event `seq` on, each in the same `batch`. */
  *batchesFrom(seq: number, batch: EventBatch): Generator<EventBatch, void> {
    for (let index = this.batches.indexOfSeq(seq); index < this.batches.heads.length; index++) {
      this.batches.read(index, batch);
      yield batch;
    }
  }
}
