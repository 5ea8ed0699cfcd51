/** Who answered each call that handlers were asked about: a recording says so where that changes. */
import {
  type CallAnswerer,
  CoreKind,
  EventBatch,
  type EventPayload,
  firstSeqOf,
  HotKind,
  type JournalReader,
  NO_EVENT,
  ROW_EVENT,
} from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";
import { cursorBehind, hasGoneOn, type RecordedExit } from "./recorded-call.js";

interface Change {
  readonly seq: number;
  readonly answerer: CallAnswerer;
}

export class RecordedAnswerers {
  readonly #reader: JournalReader;
  /** In order, of the events before `#read`. */
  readonly #changes: Change[] = [];
  #read: number;

  constructor(reader: JournalReader) {
    this.#reader = reader;
    this.#read = firstSeqOf(reader);
  }

  /** undefined: nobody has answered it, or the recording does not say who did. */
  of(exit: RecordedExit): CallAnswerer | undefined {
    try {
      const answered = this.#answeredBy(exit);
      return answered === undefined ? undefined : this.#lastChange(answered);
    } catch (error) {
      // What else the recording says can be told all the same.
      if (!(error instanceof JournalDamagedError)) throw error;
      return undefined;
    }
  }

  /** Number of the event by which it is known that the exit has its answer, and from whom. */
  #answeredBy(exit: RecordedExit): number | undefined {
    const cursor = cursorBehind(this.#reader, exit);
    for (; cursor.kind !== NO_EVENT; cursor.next()) {
      if (hasGoneOn(cursor, exit) || cursor.kind === HotKind.exitCompleted) return cursor.seq;
      if (cursor.kind !== ROW_EVENT) continue;
      const { kind } = cursor.row;
      if (kind === CoreKind.answererChanged.name || kind === CoreKind.registerSet.name) return cursor.seq;
    }
    return undefined;
  }

  #lastChange(seq: number): CallAnswerer | undefined {
    this.#readTo(seq);
    return this.#changes.findLast((change) => change.seq <= seq)?.answerer;
  }

  #readTo(seq: number): void {
    if (seq < this.#read) return;
    this.#reader.readBatches(this.#read, new EventBatch(), (batch) => {
      for (const row of batch.rows)
        if (row.kind === CoreKind.answererChanged.name && row.seq >= this.#read)
          this.#changes.push({ seq: row.seq, answerer: readAnswerer(row.payload) });
      this.#read = batch.firstSeq + batch.count;
      return this.#read <= seq;
    });
  }
}

function readAnswerer({ by, name }: EventPayload): CallAnswerer {
  if (by === "handler" || by === "builtin") return { by, name: String(name) };
  return { by: "board" };
}
