/** Visits the events of a recording in order. */
import type { EventCursor } from "./event-cursor.js";
import { NO_EVENT } from "./event-cursor.js";

/** Events by number, both ends included. */
export interface SeqRange {
  readonly first: number;
  readonly last: number;
}

/** Events between two steps: looking up after each one would take as long as reading it. */
const STEP_EVENTS = 4096;

/** Where a reader of events has come to. */
export interface EventStep {
  readonly exitNumber: number;
  readonly icount: number;
}

/** As `eachEvent` whose visits don't stop it, in steps of some thousand events, for one who looks up between them. */
export function* eachEventSteps(
  cursor: EventCursor,
  range: SeqRange,
  visit: (cursor: EventCursor) => void,
): Generator<EventStep, void, void> {
  let count = 0;
  for (cursor.seek(range.first); cursor.kind !== NO_EVENT && cursor.seq <= range.last; cursor.next()) {
    visit(cursor);
    count += 1;
    if (count % STEP_EVENTS === 0) yield { exitNumber: cursor.exitsBefore, icount: cursor.icount };
  }
}

/** `visit` reads what it needs from the cursor; false stops. Gives the number of events visited. */
export function eachEvent(
  cursor: EventCursor,
  range: SeqRange,
  visit: (cursor: EventCursor) => boolean | void,
): number {
  let count = 0;
  for (cursor.seek(range.first); cursor.kind !== NO_EVENT && cursor.seq <= range.last; cursor.next()) {
    count += 1;
    if (visit(cursor) === false) return count;
  }
  return count;
}
