/** Who may run the VM: rows that are only ever appended, each covering the one before it. */
import type { EventPayload } from "@hvjournal/core";
import type { Statement } from "better-sqlite3";
import { equalBytes, rowCheck, ROW_CHECK_BYTES } from "../canonical/hash.js";
import { decodePayload, encodePayload } from "../canonical/payload-coding.js";
import { JournalDamagedError } from "../errors.js";
import { type Connection, reading } from "./connection.js";
import { StoredFields } from "./stored-fields.js";

/** One step of a move. */
export interface OwnershipRow {
  /** `RecordingHeader.id` of the recording that the row speaks of. */
  readonly recording: string;
  /** Goes up with every move. */
  readonly epoch: number;
  readonly owner: string;
  /** The step: "prepared", "moved", "taken", "reclaimed" ... */
  readonly state: string;
  /** What the step needs beside: position, digest, the peer's address. */
  readonly detail: EventPayload;
}

const PLACE = { part: "ownership" };

function check(before: Uint8Array, number: number, row: OwnershipRow, detail: Uint8Array): Uint8Array {
  return rowCheck("ownership", [before, number, row.recording, row.epoch, row.owner, row.state, detail]);
}

function storedRow(row: unknown): { ownership: OwnershipRow; number: number; detail: Uint8Array; check: Uint8Array } {
  const fields = new StoredFields(row);
  const detail = fields.bytes("detail");
  return {
    ownership: {
      recording: fields.text("recording"),
      epoch: fields.count("epoch"),
      owner: fields.text("owner"),
      state: fields.text("state"),
      detail: decodePayload(detail),
    },
    number: fields.count("number"),
    detail,
    check: fields.bytes("row_check", ROW_CHECK_BYTES),
  };
}

interface OwnershipRows {
  readonly rows: readonly OwnershipRow[];
  /** What the next row covers. */
  readonly lastCheck: Uint8Array;
}

function readRows(connection: Connection, count: number): OwnershipRows {
  const { path, database } = connection;
  return reading(path, PLACE, () => {
    const stored = database.prepare("SELECT * FROM ownership ORDER BY number").all();
    let lastCheck: Uint8Array = new Uint8Array(ROW_CHECK_BYTES);
    const rows = stored.map((row, index) => {
      const { ownership, number, detail, check: found } = storedRow(row);
      if (number !== index + 1 || !equalBytes(check(lastCheck, number, ownership, detail), found)) {
        throw new JournalDamagedError(path, `row ${index + 1} is not what was written`, PLACE);
      }
      lastCheck = found;
      return ownership;
    });
    if (rows.length !== count) throw new JournalDamagedError(path, `${rows.length} of ${count} rows are there`, PLACE);
    return { rows, lastCheck };
  });
}

/** Oldest first; `count` as the progress row says. */
export function readOwnership(connection: Connection, count: number): readonly OwnershipRow[] {
  return readRows(connection, count).rows;
}

export class OwnershipWriter {
  readonly #insert: Statement<unknown[]>;
  #count: number;
  #lastCheck: Uint8Array;

  constructor(connection: Connection, count: number) {
    this.#insert = connection.database.prepare("INSERT INTO ownership VALUES(?, ?, ?, ?, ?, ?, ?)");
    this.#count = count;
    this.#lastCheck = readRows(connection, count).lastCheck;
  }

  write(row: OwnershipRow): void {
    const detail = encodePayload(row.detail);
    const number = this.#count + 1;
    const covers = check(this.#lastCheck, number, row, detail);
    this.#insert.run(number, row.recording, row.epoch, row.owner, row.state, detail, covers);
    this.#count = number;
    this.#lastCheck = covers;
  }
}
