/** Decisions of two recordings' VMMs, compared. */
import type { Architecture } from "../ports/architecture.js";
import type { JournalReader } from "../ports/journal-store.js";
import { eachEventSteps, type EventStep, type SeqRange } from "../event/each-event.js";
import { type EventPayload, type PlainValue, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import {
  evolveControl,
  initialControlState,
  isControlKind,
  plainControlState,
  restoreControlState,
  type ControlState,
} from "../control/control-plane.js";
import { controlPatches, samePlain, type ControlPatch } from "../control/patches.js";
import { parseMachine } from "../machine/machine-description.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { lastOf } from "../replay/steps.js";
import { diffSequences } from "./sequence-diff.js";

export interface ControlHistory {
  /** Of the range. */
  readonly events: readonly RowEvent[];
  /** The state that the range begins with: what was decided before it. */
  readonly start: ControlState;
  /** The state at its end. */
  readonly state: ControlState;
}

/** Folds the control events of a recording, and keeps those of a range. */
export function controlHistory(architecture: Architecture, reader: JournalReader, range: SeqRange): ControlHistory {
  return lastOf(controlHistorySteps(architecture, reader, range));
}

/** The same, for one who looks up now and then. */
export function* controlHistorySteps(
  architecture: Architecture,
  reader: JournalReader,
  range: SeqRange,
): Generator<EventStep, ControlHistory, void> {
  const { parent } = reader.header;
  const base = parent === undefined ? undefined : reader.snapshots()[0];
  let state =
    base === undefined
      ? initialControlState(architecture, parseMachine(reader.header.machine).host)
      : restoreControlState(reader.loadSnapshot(base.number).control);
  let start = state;
  const first = (base?.seq ?? 0) + 1;
  const events: RowEvent[] = [];
  yield* eachEventSteps(journalCursor(reader, first), { first, last: range.last }, (cursor) => {
    if (cursor.kind !== ROW_EVENT || !isControlKind(architecture, cursor.row.kind)) return;
    state = evolveControl(architecture, state, cursor.row, cursor.seq);
    if (cursor.seq < range.first) start = state;
    else events.push(cursor.row);
  });
  const { machine } = reader.header;
  return { events, start: withMachine(start, machine), state: withMachine(state, machine) };
}

/** The machine as this recording goes on with it: behind a move or a branch others may answer than at the VM's start. */
function withMachine(state: ControlState, machine: EventPayload): ControlState {
  return state.core.machine === undefined ? state : { ...state, core: { ...state.core, machine } };
}

export interface ControlDiff {
  /** Events that only one side has. */
  readonly onlyA: readonly RowEvent[];
  readonly onlyB: readonly RowEvent[];
  /** What differed already where the ranges begin, without the machine. */
  readonly before: readonly ControlPatch[];
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
    before: isCreated(a.start) && isCreated(b.start) ? beforePatches(a.start, b.start) : [],
    patches: statePatches(a.state, b.state),
  };
}

export function isSameControl({ onlyA, onlyB, before, patches }: ControlDiff): boolean {
  return [onlyA, onlyB, before, patches].every((each) => each.length === 0);
}

/** Behind its VM's creation, which says what it was created with. */
function isCreated({ core }: ControlState): boolean {
  return core.machine !== undefined;
}

function beforePatches(a: ControlState, b: ControlState): ControlPatch[] {
  return statePatches(a, b).filter(({ path }) => path[0] !== "core");
}

function statePatches(a: ControlState, b: ControlState): ControlPatch[] {
  const [one, other] = [a, b].map(plainControlState);
  return controlPatches(comparable(one, other), comparable(other, one));
}

/** The architecture's slice in a form in which the same configuration is equal; core's is so as it is. */
function comparable(own: EventPayload = {}, other: EventPayload = {}): EventPayload {
  const [slice, otherSlice] = [own["architecture"], other["architecture"]];
  if (!isPlainMap(slice) || !isPlainMap(otherSlice)) return own;
  // A slice may leave out a list as long as it is empty: each item that the other has is a difference of its own.
  const lists = Object.keys(otherSlice).filter((key) => isEmpty(slice[key]) && isNamedList(otherSlice[key]));
  return { ...own, architecture: { ...without("seq", slice), ...Object.fromEntries(lists.map((key) => [key, {}])) } };
}

function isEmpty(list: PlainValue | undefined): boolean {
  return list === undefined || (Array.isArray(list) && list.length === 0);
}

function isNamedList(list: PlainValue | undefined): boolean {
  return Array.isArray(list) && byName(list) !== undefined;
}

/**
 * Without the numbers of the events that set something, which are each recording's own; and what has a name goes by that and
 * not by its place: policies stand in the order in which they were set.
 */
function unnumbered(value: PlainValue): PlainValue {
  if (Array.isArray(value)) return byName(value) ?? value.map(unnumbered);
  return isPlainMap(value) ? without("seq", value) : value;
}

/** undefined: not each item has a name of its own. */
function byName(items: readonly PlainValue[]): EventPayload | undefined {
  const named = new Map<string, PlainValue>();
  for (const item of items) {
    const name = isPlainMap(item) ? item["name"] : undefined;
    if (!isPlainMap(item) || typeof name !== "string" || named.has(name)) return undefined;
    named.set(name, without("name", without("seq", item)));
  }
  return named.size === 0 ? undefined : Object.fromEntries(named);
}

function without(field: string, map: EventPayload): EventPayload {
  const others = Object.entries(map).filter(([key]) => key !== field);
  return Object.fromEntries(others.map(([key, value]) => [key, unnumbered(value)]));
}
