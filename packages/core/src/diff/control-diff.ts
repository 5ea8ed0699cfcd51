/** Decisions of two recordings' VMMs, compared. */
import type { Architecture } from "../ports/architecture.js";
import type { JournalReader } from "../ports/journal-store.js";
import { eachEventSteps, type EventStep, type SeqRange } from "../event/each-event.js";
import { ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import {
  evolveControl,
  initialControlState,
  isControlKind,
  restoreControlState,
  type ControlState,
} from "../control/control-plane.js";
import { controlPatches, samePlain, type ControlPatch } from "../control/patches.js";
import { parseMachine } from "../machine/machine-description.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { lastOf } from "../replay/steps.js";
import { diffSequences } from "./sequence-diff.js";

export interface ControlHistory {
  readonly events: readonly RowEvent[];
  /** The state folded up to the end of the range. */
  readonly state: ControlState;
}

/** Folds the control events of a recording up to an event. */
export function controlHistory(architecture: Architecture, reader: JournalReader, lastSeq: number): ControlHistory {
  return lastOf(controlHistorySteps(architecture, reader, lastSeq));
}

/** The same, for one who looks up now and then. */
export function* controlHistorySteps(
  architecture: Architecture,
  reader: JournalReader,
  lastSeq: number,
): Generator<EventStep, ControlHistory, void> {
  const { parent } = reader.header;
  const base = parent === undefined ? undefined : reader.snapshots()[0];
  let state =
    base === undefined
      ? initialControlState(architecture, parseMachine(reader.header.machine).host)
      : restoreControlState(reader.loadSnapshot(base.number).control);
  const first = (base?.seq ?? 0) + 1;
  const events: RowEvent[] = [];
  const range: SeqRange = { first, last: lastSeq };
  yield* eachEventSteps(journalCursor(reader, first), range, (cursor) => {
    if (cursor.kind !== ROW_EVENT || !isControlKind(architecture, cursor.row.kind)) return;
    state = evolveControl(architecture, state, cursor.row, cursor.seq);
    events.push(cursor.row);
  });
  return { events, state };
}

export interface ControlDiff {
  /** Events that only one side has. */
  readonly onlyA: readonly RowEvent[];
  readonly onlyB: readonly RowEvent[];
  /** What differs in the end. */
  readonly patches: readonly ControlPatch[];
}

export function diffControl(a: ControlHistory, b: ControlHistory): ControlDiff {
  const distinct: RowEvent[] = [];
  const intern = (events: readonly RowEvent[]): number[] =>
    events.map((event) => {
      const known = distinct.findIndex(
        (each) => each.kind === event.kind && each.vcpu === event.vcpu && samePlain(each.payload, event.payload),
      );
      if (known >= 0) return known;
      distinct.push(event);
      return distinct.length - 1;
    });
  const { hunks } = diffSequences(intern(a.events), intern(b.events));
  return {
    onlyA: hunks.flatMap(({ atA, countA }) => a.events.slice(atA, atA + countA)),
    onlyB: hunks.flatMap(({ atB, countB }) => b.events.slice(atB, atB + countB)),
    patches: controlPatches(a.state, b.state),
  };
}
