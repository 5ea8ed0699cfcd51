/**
 * How far the file goes: one row, written in every transaction. Rows that vanish from a damaged
 * tree are noticed by its counts and its chain.
 */
import type { BatchStart, RecordingEnd } from "@hvjournal/core";
import type { Database, Statement } from "better-sqlite3";
import { equalBytes, hex, ROW_CHECK_BYTES, rowCheck, SHA256_BYTES } from "../canonical/hash.js";
import { JournalDamagedError } from "../errors.js";
import { type Connection, reading } from "./connection.js";
import { StoredFields } from "./stored-fields.js";

export interface Progress {
  state: RecordingEnd["state"];
  batchCount: number;
  /** Of the next event. */
  nextSeq: number;
  exitNumber: number;
  icount: number;
  chain: Uint8Array;
  snapshotCount: number;
  /** The roots of all snapshots, combined by exclusive or: the same whatever their order, and for any that are removed. */
  snapshotRoots: Uint8Array;
  ownershipCount: number;
  kindCount: number;
}

export function initialProgress(start: BatchStart, chain: Uint8Array): Progress {
  return {
    state: "open",
    batchCount: 0,
    nextSeq: start.firstSeq,
    exitNumber: start.exitNumber,
    icount: start.icount,
    chain,
    snapshotCount: 0,
    snapshotRoots: new Uint8Array(SHA256_BYTES),
    ownershipCount: 0,
    kindCount: 0,
  };
}

export function progressEnd(progress: Progress): RecordingEnd {
  const { nextSeq, exitNumber, icount, state, chain } = progress;
  return { firstSeq: nextSeq, exitNumber, icount, state, chain: hex(chain) };
}

/** Puts a snapshot's root in, or takes it out. */
export function toggleRoot(roots: Uint8Array, root: Uint8Array): Uint8Array {
  return roots.map((byte, index) => byte ^ (root[index] ?? 0));
}

type ProgressValues = [string, number, number, number, number, Uint8Array, number, Uint8Array, number, number];

function progressValues(progress: Progress): ProgressValues {
  const { state, batchCount, nextSeq, exitNumber, icount, chain } = progress;
  const { snapshotCount, snapshotRoots, ownershipCount, kindCount } = progress;
  return [
    state,
    batchCount,
    nextSeq,
    exitNumber,
    icount,
    chain,
    snapshotCount,
    snapshotRoots,
    ownershipCount,
    kindCount,
  ];
}

export class ProgressWriter {
  readonly #replace: Statement<unknown[]>;

  constructor(database: Database) {
    this.#replace = database.prepare("INSERT OR REPLACE INTO progress VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  }

  write(progress: Progress): void {
    const values = progressValues(progress);
    this.#replace.run(...values, rowCheck("progress", values));
  }
}

export function readProgress(connection: Connection): Progress {
  const { path, database } = connection;
  const place = { part: "progress" };
  return reading(path, place, () => {
    const row = database.prepare("SELECT * FROM progress WHERE id = 1").get();
    if (row === undefined) throw new JournalDamagedError(path, "its row is missing", place);
    const fields = new StoredFields(row);
    const progress: Progress = {
      state: fields.oneOf("state", ["open", "closed", "sealed"]),
      batchCount: fields.count("batch_count"),
      nextSeq: fields.count("next_seq"),
      exitNumber: fields.count("exit_number"),
      icount: fields.count("icount"),
      chain: fields.bytes("chain", SHA256_BYTES),
      snapshotCount: fields.count("snapshot_count"),
      snapshotRoots: fields.bytes("snapshot_roots", SHA256_BYTES),
      ownershipCount: fields.count("ownership_count"),
      kindCount: fields.count("kind_count"),
    };
    if (!equalBytes(rowCheck("progress", progressValues(progress)), fields.bytes("row_check", ROW_CHECK_BYTES))) {
      throw new JournalDamagedError(path, "its row is not what was written", place);
    }
    return progress;
  });
}
