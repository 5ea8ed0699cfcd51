/** Visits the events of a recording in order. */
import type { EventCursor } from "./event-cursor.js";
import { NO_EVENT } from "./event-cursor.js";

/** Events by number, both ends included. */
export interface SeqRange {
  readonly first: number;
  readonly last: number;
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
