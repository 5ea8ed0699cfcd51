/** Turning what the user wrote into a place of one recording. */
import type { JournalReader } from "../ports/journal-store.js";
import { CoreKind } from "../event/core-kinds.js";
import { eachEvent, type SeqRange } from "../event/each-event.js";
import { NO_EVENT, type EventCursor } from "../event/event-cursor.js";
import { HotKind, ROW_EVENT } from "../event/event-kind.js";
import { ExitWord } from "../event/exit-frame.js";
import { type CallReader, HypercallExits } from "./hypercall-exits.js";
import { KVM_EXIT_NAMES } from "../event/kvm-exit-names.js";
import { ConsoleMatcher } from "../console-matcher.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import type { Goal } from "../machine/goal.js";
import { parseMachine } from "../machine/machine-description.js";
import { CONSOLE_PORT } from "../record/input-script.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";
import { PositionError, ReversedRangeError, type Position, type PositionRange } from "./parse-position.js";
import { formatPosition } from "./print-position.js";

/** The recording has no such moment. */
export class PositionNotFoundError extends Error {
  override readonly name = "PositionNotFoundError";
  readonly position: Position;
  /** Where the recording ends, to go to instead. */
  readonly end: Position;
  readonly ending: string;
  constructor(position: Position, reader: JournalReader, reason?: string) {
    const end: Position = { at: "exit", number: reader.end.exitNumber };
    const ending = describeEnding(reader);
    const why = reason ?? `the recording ends at ${formatPosition(end)}`;
    super(`${formatPosition(position)} is not in this recording: ${why} (${ending})`);
    this.position = position;
    this.end = end;
    this.ending = ending;
  }
}

/** How a recording ended: "powered off by PSCI SYSTEM_OFF", "not closed". */
export function describeEnding(reader: JournalReader): string {
  let ending: string = reader.end.state === "open" ? "not closed" : reader.end.state;
  const lastBatch = reader.seekByIcount(reader.end.icount).firstSeq;
  eachEvent(journalCursor(reader, lastBatch), { first: lastBatch, last: Infinity }, (cursor) => {
    if (cursor.kind !== ROW_EVENT || cursor.row.kind !== CoreKind.stopped.name) return;
    const fields = new PayloadFields("Stopped", cursor.row.payload);
    ending = `${fields.string("what")} by ${fields.string("by")}`;
  });
  return ending;
}

/** Where nothing has run: booted, or the base of a recording that grew from another. */
export function startSeq(reader: JournalReader): number {
  return Math.max(reader.snapshots()[0]?.seq ?? 0, firstSeqOf(reader) - 1);
}

type Matcher = (cursor: EventCursor) => number;

/** The event at which the wanted match is complete. */
function findMatch(reader: JournalReader, occurrence: number, matches: Matcher): number | undefined {
  const found: number[] = [];
  eachEvent(journalCursor(reader, firstSeqOf(reader)), { first: firstSeqOf(reader), last: Infinity }, (cursor) => {
    for (let count = matches(cursor); count > 0; count--) found.push(cursor.seq);
    return occurrence < 0 || found.length < occurrence;
  });
  return found.at(occurrence < 0 ? occurrence : occurrence - 1);
}

function consoleMatcher(expression: RegExp): Matcher {
  const matcher = new ConsoleMatcher(expression);
  return (cursor) =>
    cursor.kind === HotKind.outputProduced && cursor.outputPort === CONSOLE_PORT
      ? matcher.pushAll(cursor.outputBytes)
      : 0;
}

/** Exits by a row of the exit model, or by KVM_EXIT_*; upper or lower case. Throws PositionError for an unknown name. */
export function reasonMatcher(reader: JournalReader, reason: string): (cursor: EventCursor) => boolean {
  const wanted = reason.toUpperCase();
  const { reasons } = parseMachine(reader.header.machine).exitModel;
  const row = reasons.findIndex((name) => name.toUpperCase() === wanted);
  const kvmExit = [...KVM_EXIT_NAMES].find(([, name]) => name === wanted)?.[0];
  if (row < 0 && kvmExit === undefined)
    throw new PositionError(
      `exit:${reason}`,
      `this machine's exits are ${reasons.join(", ")}, or MMIO, HYPERCALL, SYSTEM_EVENT`,
    );
  return (cursor) =>
    cursor.kind === HotKind.exited &&
    (row >= 0 ? cursor.exit[ExitWord.reason] === row : cursor.exit[ExitWord.kvmExit] === kvmExit);
}

function hypercallMatcher(reader: JournalReader, number: bigint, architecture: CallReader): Matcher {
  const exits = new HypercallExits(parseMachine(reader.header.machine).exitModel.reasons, architecture);
  return ({ kind, exit }) => (kind === HotKind.exited && exits.calls(exit, number) ? 1 : 0);
}

/** The event of a position that a scan finds; undefined for the positions that are numbers. */
function searchedSeq(position: Position, reader: JournalReader, architecture: CallReader): number | undefined {
  switch (position.at) {
    case "console":
      return findMatch(reader, position.occurrence, consoleMatcher(position.expression));
    case "hypercall":
      return findMatch(reader, position.occurrence, hypercallMatcher(reader, position.function, architecture));
    case "reason": {
      const matches = reasonMatcher(reader, position.reason);
      return findMatch(reader, position.occurrence, (cursor) => (matches(cursor) ? 1 : 0));
    }
    default:
      return undefined;
  }
}

/** Where to stop a replay of this recording, which is of this architecture. Throws PositionNotFoundError. */
export function resolvePosition(position: Position, reader: JournalReader, architecture: CallReader = {}): Goal {
  const { end } = reader;
  const check = (isThere: boolean): void => {
    if (!isThere) throw new PositionNotFoundError(position, reader);
  };
  switch (position.at) {
    case "start":
      return { seq: startSeq(reader) };
    case "end":
      return {};
    case "exit":
      check(position.number <= end.exitNumber);
      return position.unitsAfter === undefined
        ? { exitNumber: position.number }
        : { exitNumber: position.number, unitsAfter: position.unitsAfter };
    case "event":
      check(position.seq < end.firstSeq);
      return { seq: position.seq };
    case "icount":
      check(position.icount <= end.icount);
      return { icount: position.icount };
    case "time":
      return { guestTimeNs: position.timeNs };
    case "snapshot": {
      const head = reader.snapshots().find(({ number }) => number === position.number);
      if (head === undefined)
        throw new PositionNotFoundError(position, reader, snapshotsText(reader.snapshots().length));
      return { seq: head.seq };
    }
    default: {
      const seq = searchedSeq(position, reader, architecture);
      if (seq === undefined) throw new PositionNotFoundError(position, reader, "there is no such match");
      return { seq };
    }
  }
}

function snapshotsText(count: number): string {
  return `it has ${count} ${count === 1 ? "snapshot" : "snapshots"}`;
}

/** The event of exit `number`. */
export function seqOfExit(reader: JournalReader, number: number): number | undefined {
  let found: number | undefined;
  const { firstSeq: first } = reader.seekByExit(number);
  eachEvent(journalCursor(reader, first), { first, last: Infinity }, (cursor) => {
    if (cursor.kind === HotKind.exited && cursor.exitsBefore + 1 === number) found = cursor.seq;
    return found === undefined;
  });
  return found;
}

/** icount of an event; undefined behind the last one. */
export function icountOfEvent(reader: JournalReader, seq: number): number | undefined {
  const cursor = journalCursor(reader, seq);
  return cursor.kind === NO_EVENT || cursor.seq !== seq ? undefined : cursor.icount;
}

/** The first event at or behind an icount. */
function seqAtIcount(reader: JournalReader, icount: number): number {
  const { firstSeq: first } = reader.seekByIcount(icount);
  const cursor = journalCursor(reader, first);
  while (cursor.kind !== NO_EVENT && cursor.icount < icount) cursor.next();
  return cursor.seq;
}

/** The event that bounds a list at a position. Units behind an exit count from the exit. Throws like `resolvePosition`. */
function boundSeq(position: Position, reader: JournalReader, edge: "first" | "last", architecture: CallReader): number {
  const goal = resolvePosition(position, reader, architecture);
  if (position.at === "start") return edge === "first" ? firstSeqOf(reader) : startSeq(reader);
  if (position.at === "end") return reader.end.firstSeq - 1;
  if (goal.guestTimeNs !== undefined)
    throw new PositionError(
      formatPosition(position),
      "events are listed by exit, event or icount; guest time needs a replay",
    );
  if (goal.seq !== undefined) return goal.seq;
  const exitSeq = goal.exitNumber === undefined ? undefined : seqOfExit(reader, goal.exitNumber);
  if (exitSeq !== undefined && goal.unitsAfter === undefined) return exitSeq;
  // The exit at which a branch or a destination begins stands in the parent, its answer here.
  if (goal.exitNumber !== undefined && goal.exitNumber === reader.header.parent?.exitNumber && !goal.unitsAfter)
    return edge === "first" ? firstSeqOf(reader) : startSeq(reader);
  const icount = goal.icount ?? (icountOfEvent(reader, exitSeq ?? 0) ?? 0) + (goal.unitsAfter ?? 0);
  return edge === "first" ? seqAtIcount(reader, icount) : seqAtIcount(reader, icount + 1) - 1;
}

/** Moments between the same two events have the same bound: there, the numbers tell. */
function isReversed(from: Position, to: Position, reader: JournalReader, architecture: CallReader): boolean {
  const [first, last] = [boundSeq(from, reader, "first", architecture), boundSeq(to, reader, "first", architecture)];
  if (first !== last) return first > last;
  if (from.at === "icount" && to.at === "icount") return from.icount > to.icount;
  return from.at === "exit" && to.at === "exit" && (from.unitsAfter ?? 0) > (to.unitsAfter ?? 0);
}

/** Events of a range, both ends included. A missing end is the recording's. Throws ReversedRangeError. */
export function resolveRange(range: PositionRange, reader: JournalReader, architecture: CallReader = {}): SeqRange {
  const { from, to } = range;
  if (from !== undefined && to !== undefined && isReversed(from, to, reader, architecture))
    throw new ReversedRangeError(formatPosition(from), formatPosition(to));
  return {
    first: from === undefined ? firstSeqOf(reader) : boundSeq(from, reader, "first", architecture),
    last: to === undefined ? reader.end.firstSeq - 1 : boundSeq(to, reader, "last", architecture),
  };
}
