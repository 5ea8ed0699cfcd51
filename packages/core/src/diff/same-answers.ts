/** Whether two recordings say the same about what came of an exit, read side by side: there may be millions. */
import { CoreKind } from "../event/core-kinds.js";
import { type EventCursor, NO_EVENT } from "../event/event-cursor.js";
import { HotKind, ROW_EVENT } from "../event/event-kind.js";
import type { JournalReader } from "../ports/journal-store.js";
import { sameBytes } from "../memory/page-hash.js";
import { journalCursor } from "../replay/journal-cursor.js";

export class SameAnswers {
  readonly #a: EventCursor;
  readonly #b: EventCursor;

  constructor(a: JournalReader, b: JournalReader) {
    this.#a = journalCursor(a, 1);
    this.#b = journalCursor(b, 1);
  }

  /** Of exits by their events. False where that is not plain to see: at events of other kinds than the frequent ones. */
  areSame(seqA: number, seqB: number): boolean {
    const [a, b] = [this.#a, this.#b];
    a.seek(seqA);
    b.seek(seqB);
    const [icountA, icountB] = [a.icount, b.icount];
    for (;;) {
      a.next();
      b.next();
      const [isOverA, isOverB] = [isOver(a, icountA), isOver(b, icountB)];
      if (isOverA || isOverB) return isOverA && isOverB;
      if (!isSameEvent(a, b)) return false;
    }
  }
}

function isOver(cursor: EventCursor, icount: number): boolean {
  return cursor.kind === NO_EVENT || cursor.kind === HotKind.exited || cursor.icount !== icount;
}

function isSameEvent(a: EventCursor, b: EventCursor): boolean {
  if (a.kind !== b.kind) return false;
  switch (a.kind) {
    case HotKind.exitHandled:
      return a.handled.low === b.handled.low && a.handled.high === b.handled.high;
    case HotKind.exitCompleted:
      return a.completed.low === b.completed.low && a.completed.high === b.completed.high;
    case HotKind.irqLineSet:
      return a.irqLine.line === b.irqLine.line && a.irqLine.level === b.irqLine.level;
    case HotKind.outputProduced:
      return a.outputPort === b.outputPort && sameBytes(a.outputBytes, b.outputBytes);
    case ROW_EVENT:
      // Who answered is no part of what the guest got.
      return a.row.kind === CoreKind.answererChanged.name && b.row.kind === CoreKind.answererChanged.name;
    default:
      return true;
  }
}
