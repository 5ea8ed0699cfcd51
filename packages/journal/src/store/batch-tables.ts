/** Batches and their row events, each verified against the hash chain as it is read. */
import { EventBatch, type BatchStart, type EventPayload, type RowEvent, showRegistersAsRows } from "@hvjournal/core";
import type { Database, Statement } from "better-sqlite3";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { BATCH_BYTES_MAX, BatchCoder, checkBatch } from "../batch/batch-coding.js";
import { batchLink, type StoredRow } from "../batch/chain.js";
import { ByteCodingError } from "../canonical/byte-coding.js";
import { equalBytes, hex, ROW_CHECK_BYTES, rowCheck, SHA256_BYTES } from "../canonical/hash.js";
import { decodePayload, encodePayload } from "../canonical/payload-coding.js";
import type { JournalPlace, JournalPosition } from "../errors.js";
import { type Connection, readFailure, reading } from "./connection.js";
import { StoredFields } from "./stored-fields.js";

/**
 * Measured: of a boot with a full log, level 6 makes 26 kB in 4.7 ms and level 3 makes 28 kB in 2.3 ms; of a million equal
 * exits, 43 kB in 30 ms and 62 kB in 8 ms. What is deflated has some thousand bytes, so a small window and a small table do,
 * which zlib clears for each batch.
 */
const DEFLATE = { level: 3, windowBits: 12, memLevel: 5, chunkSize: 4096 } as const;

/** A batch's place in the recording: its row of the index. */
export interface BatchHead {
  /** From 1. */
  readonly number: number;
  readonly firstSeq: number;
  readonly eventCount: number;
  readonly exitsBefore: number;
  readonly exitCount: number;
  readonly firstIcount: number;
  /** Of its last event. */
  readonly lastIcount: number;
  readonly chain: Uint8Array;
}

function headValues(head: BatchHead): readonly (number | Uint8Array)[] {
  const { number, firstSeq, eventCount, exitsBefore, exitCount, firstIcount, lastIcount, chain } = head;
  return [number, firstSeq, eventCount, exitsBefore, exitCount, firstIcount, lastIcount, chain];
}

function readHead(row: unknown): BatchHead {
  const fields = new StoredFields(row);
  const head: BatchHead = {
    number: fields.count("number"),
    firstSeq: fields.count("first_seq"),
    eventCount: fields.count("event_count"),
    exitsBefore: fields.count("exits_before"),
    exitCount: fields.count("exit_count"),
    firstIcount: fields.count("first_icount"),
    lastIcount: fields.count("last_icount"),
    chain: fields.bytes("chain", SHA256_BYTES),
  };
  if (!equalBytes(rowCheck("batches", headValues(head)), fields.bytes("row_check", ROW_CHECK_BYTES))) {
    throw new ByteCodingError("its row is not what was written");
  }
  return head;
}

function storedRow(row: unknown): StoredRow {
  const fields = new StoredFields(row);
  return {
    seq: fields.count("seq"),
    kind: fields.text("kind"),
    version: fields.count("version"),
    vcpu: fields.integer("vcpu"),
    icount: fields.count("icount"),
    exitNumber: fields.count("exit_number"),
    payload: fields.bytes("payload"),
  };
}

/** The first index at which `reached` holds, which then holds for all that follow. */
function firstIndex(heads: readonly BatchHead[], reached: (head: BatchHead) => boolean): number {
  let low = 0;
  let high = heads.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const head = heads[middle];
    if (head !== undefined && reached(head)) high = middle;
    else low = middle + 1;
  }
  return low;
}

export class BatchTables {
  readonly #connection: Connection;
  readonly #start: BatchStart;
  readonly #firstChain: Uint8Array;
  readonly #heads: BatchHead[] = [];
  readonly #coder = new BatchCoder();
  readonly #selectHeads: Statement;
  readonly #selectColumns: Statement;
  readonly #selectRows: Statement;

  /** Reads no batch yet. */
  constructor(connection: Connection, start: BatchStart, firstChain: Uint8Array) {
    const { database, path } = connection;
    this.#connection = connection;
    this.#start = start;
    this.#firstChain = firstChain;
    [this.#selectHeads, this.#selectColumns, this.#selectRows] = reading(path, { part: "schema" }, () => [
      database.prepare("SELECT * FROM batches WHERE number > ? ORDER BY number"),
      database.prepare("SELECT number, bytes FROM batch_columns WHERE number = ?"),
      database.prepare("SELECT * FROM events WHERE seq >= ? AND seq < ? ORDER BY seq"),
    ]);
  }

  get heads(): readonly BatchHead[] {
    return this.#heads;
  }

  get lastChain(): Uint8Array {
    return this.#heads.at(-1)?.chain ?? this.#firstChain;
  }

  /** What the heads read so far reach up to. */
  get position(): JournalPosition {
    const last = this.#heads.at(-1);
    if (last === undefined)
      return { seq: this.#start.firstSeq - 1, exitNumber: this.#start.exitNumber, icount: this.#start.icount };
    return {
      seq: last.firstSeq + last.eventCount - 1,
      exitNumber: last.exitsBefore + last.exitCount,
      icount: last.lastIcount,
    };
  }

  /** Reads the index behind what is known of it. The heads before a damaged one stay known. */
  loadHeads(): void {
    const { path } = this.#connection;
    const known = this.#heads.length;
    try {
      for (const row of this.#selectHeads.iterate(known)) {
        const head = readHead(row);
        this.#checkSuccession(head, this.#heads.length + 1);
        this.#heads.push({ ...head, chain: head.chain.slice() });
      }
    } catch (error) {
      const place = { part: `batch ${this.#heads.length + 1}, its row of the index` };
      throw readFailure(path, place, error, this.position);
    }
  }

  #checkSuccession(head: BatchHead, number: number): void {
    const { seq, exitNumber, icount } = this.position;
    const follows =
      head.number === number &&
      head.firstSeq === seq + 1 &&
      head.exitsBefore === exitNumber &&
      head.firstIcount >= icount;
    if (!follows) throw new ByteCodingError("it does not follow the one before it");
  }

  /** Index of the batch that holds event `seq`; of the first for an earlier one, the count of batches for a later one. */
  indexOfSeq(seq: number): number {
    return firstIndex(this.#heads, (head) => head.firstSeq + head.eventCount > seq);
  }

  /** Start of the batch that holds exit `exitNumber`; of the last for a later one. */
  startOfExit(exitNumber: number): BatchStart {
    return this.#startOf(firstIndex(this.#heads, (head) => head.exitsBefore + head.exitCount >= exitNumber));
  }

  /** Start of the first batch with an event at `icount` or later; of the last if there is none. */
  startOfIcount(icount: number): BatchStart {
    return this.#startOf(firstIndex(this.#heads, (head) => head.lastIcount >= icount));
  }

  chainAt(seq: number): string | undefined {
    if (seq === this.#start.firstSeq - 1) return hex(this.#firstChain);
    const head = this.#heads[this.indexOfSeq(seq)];
    return head === undefined || head.firstSeq + head.eventCount - 1 !== seq ? undefined : hex(head.chain);
  }

  #startOf(index: number): BatchStart {
    const head = this.#heads[Math.min(index, this.#heads.length - 1)];
    if (head === undefined) return this.#start;
    return { firstSeq: head.firstSeq, exitNumber: head.exitsBefore, icount: head.firstIcount };
  }

  place(head: BatchHead): JournalPlace {
    const { number, firstSeq, eventCount, exitsBefore, exitCount } = head;
    return {
      part: `batch ${number}`,
      events: [firstSeq, firstSeq + eventCount - 1],
      exits: exitCount === 0 ? undefined : [exitsBefore + 1, exitsBefore + exitCount],
    };
  }

  /** Reads the batch at `index` of the heads into `batch`. */
  read(index: number, batch: EventBatch): void {
    const head = this.#heads[index];
    if (head === undefined) throw new RangeError(`batch ${index + 1} of ${this.#heads.length}`);
    const before = this.#heads[index - 1];
    try {
      this.#readVerified(head, before?.chain ?? this.#firstChain, batch);
    } catch (error) {
      const replaysTo = {
        seq: head.firstSeq - 1,
        exitNumber: head.exitsBefore,
        icount: before?.lastIcount ?? this.#start.icount,
      };
      throw readFailure(this.#connection.path, this.place(head), error, replaysTo);
    }
  }

  #readVerified(head: BatchHead, chainBefore: Uint8Array, batch: EventBatch): void {
    const stored = this.#selectColumns.get(head.number);
    if (stored === undefined) throw new ByteCodingError("its columns are missing");
    const columns = inflateRawSync(new StoredFields(stored).bytes("bytes"), { maxOutputLength: BATCH_BYTES_MAX });
    const rows = this.#selectRows.all(head.firstSeq, head.firstSeq + head.eventCount).map(storedRow);
    if (!equalBytes(batchLink(chainBefore, columns, rows), head.chain))
      throw new ByteCodingError("it is not what the hash chain says");
    const rowCount = this.#coder.decode(columns, batch);
    if (rows.length !== rowCount) throw new ByteCodingError(`${rows.length} of its ${rowCount} row events are there`);
    for (const { seq, kind, version, vcpu, icount, exitNumber, payload } of rows) {
      batch.rows.push({ seq, kind, version, vcpu, icount, exitNumber, payload: this.#payload(seq, payload) });
    }
    showRegistersAsRows(batch);
    const agrees =
      batch.firstSeq === head.firstSeq &&
      batch.count === head.eventCount &&
      batch.firstExitNumber === head.exitsBefore &&
      batch.exitCount === head.exitCount &&
      batch.firstIcount === head.firstIcount;
    if (!agrees) throw new ByteCodingError("it does not agree with its row of the index");
  }

  #payload(seq: number, bytes: Uint8Array): EventPayload {
    try {
      return decodePayload(bytes);
    } catch (error) {
      if (error instanceof ByteCodingError) throw new ByteCodingError(`payload of event:${seq}: ${error.message}`);
      throw error;
    }
  }

  /** Row events of one kind, unverified: only to find the batch to read. */
  findRowSeqs(kind: string): readonly number[] {
    const { path, database } = this.#connection;
    return reading(path, { part: "events" }, () =>
      database
        .prepare("SELECT seq FROM events WHERE kind = ? ORDER BY seq")
        .all(kind)
        .map((row) => new StoredFields(row).count("seq")),
    );
  }

  /** The row event `seq`, verified with its batch; undefined when the journal has no such row event. */
  readRow(seq: number, batch: EventBatch): RowEvent | undefined {
    const index = this.indexOfSeq(seq);
    if (index >= this.#heads.length) return undefined;
    this.read(index, batch);
    return batch.rows.find((row) => row.seq === seq);
  }

  /** Checks and encodes the batch that comes next; RangeError or PayloadValueError when it can't be stored. */
  encode(batch: EventBatch): EncodedBatch {
    const { seq, exitNumber, icount } = this.position;
    checkBatch(batch, seq + 1, exitNumber, icount);
    const columns = this.#coder.encode(batch);
    const rows = batch.rows.map((row): StoredRow => ({ ...row, payload: encodePayload(row.payload) }));
    const head: BatchHead = {
      number: this.#heads.length + 1,
      firstSeq: batch.firstSeq,
      eventCount: batch.count,
      exitsBefore: batch.firstExitNumber,
      exitCount: batch.exitCount,
      firstIcount: batch.firstIcount,
      lastIcount: batch.icounts[batch.count - 1] ?? batch.firstIcount,
      chain: batchLink(this.lastChain, columns, rows),
    };
    return { head, deflated: deflateRawSync(columns, DEFLATE), rows };
  }

  /** Once the transaction that wrote it is committed. */
  add(head: BatchHead): void {
    this.#heads.push(head);
  }
}

/** A batch's rows of all three tables. */
export interface EncodedBatch {
  readonly head: BatchHead;
  readonly deflated: Uint8Array;
  readonly rows: readonly StoredRow[];
}

export class BatchWriter {
  readonly #insertHead: Statement<unknown[]>;
  readonly #insertColumns: Statement<unknown[]>;
  readonly #insertRow: Statement<unknown[]>;

  constructor(database: Database) {
    this.#insertHead = database.prepare("INSERT INTO batches VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
    this.#insertColumns = database.prepare("INSERT INTO batch_columns VALUES(?, ?)");
    this.#insertRow = database.prepare("INSERT INTO events VALUES(?, ?, ?, ?, ?, ?, ?)");
  }

  /** In the caller's transaction. */
  write({ head, deflated, rows }: EncodedBatch): void {
    const values = headValues(head);
    this.#insertHead.run(...values, rowCheck("batches", values));
    this.#insertColumns.run(head.number, deflated);
    for (const { seq, kind, version, vcpu, icount, exitNumber, payload } of rows) {
      this.#insertRow.run(seq, kind, version, vcpu, icount, exitNumber, payload);
    }
  }
}
