/** An exit of a recording, or the one that its VM came with. */
import {
  type Architecture,
  type EventCursor,
  type ExitFrame,
  type JournalReader,
  CoreKind,
  ExitWord,
  HotKind,
  journalCursor,
  type MachineDescription,
  NO_EVENT,
  ROW_EVENT,
} from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";

export interface RecordingParts {
  readonly architecture: Architecture;
  readonly reader: JournalReader;
  readonly description: MachineDescription;
}

export interface RecordedExit {
  readonly number: number;
  readonly frame: ExitFrame;
  readonly icount: number;
  /** Its answer is looked for behind this event. */
  readonly seq: number;
}

/** Of a cursor that stands on an exit's event. */
export function exitAt({ exit, exitsBefore, icount, seq }: EventCursor): RecordedExit {
  return { number: exitsBefore + 1, frame: exit.slice(), icount, seq };
}

/** The exit that nobody had answered when a VM moved or was branched here: its event is in the parent recording. */
export function carriedExit({ architecture, reader }: RecordingParts): RecordedExit | undefined {
  const { parent } = reader.header;
  const [base] = parent === undefined ? [] : reader.snapshots();
  if (parent === undefined || base?.kind !== "full" || architecture.pendingExit === undefined) return undefined;
  try {
    const frame = architecture.pendingExit(reader.loadSnapshot(base.number).guestSections);
    return frame && { number: base.exitNumber, frame, icount: base.icount, seq: parent.seq };
  } catch (error) {
    // What else the recording says can be told all the same.
    if (!(error instanceof JournalDamagedError)) throw error;
    return undefined;
  }
}

/** One for all exits of a recording: where the next one that is asked about is near, its batch is there already. */
const cursors = new WeakMap<JournalReader, EventCursor>();

/** Stands behind an exit's event, until it is asked for again. */
export function cursorBehind(reader: JournalReader, { seq }: RecordedExit): EventCursor {
  const cursor = cursors.get(reader) ?? journalCursor(reader, seq + 1);
  cursors.set(reader, cursor);
  cursor.seek(seq + 1);
  return cursor;
}

/** Whether what a cursor stands on, behind an exit's event, is no answer to it any more: the guest has gone on. */
export function hasGoneOn({ kind, icount }: EventCursor, exit: RecordedExit): boolean {
  if (kind === HotKind.exited) return true;
  // An instruction that retires as it is answered is one more unit by then.
  const isResult = kind === HotKind.exitHandled || kind === HotKind.exitCompleted;
  return !isResult && icount !== exit.icount;
}

/** Number of the first event that answers an exit. */
export function firstAnswer(reader: JournalReader, exit: RecordedExit): number | undefined {
  const cursor = cursorBehind(reader, exit);
  for (; cursor.kind !== NO_EVENT && !hasGoneOn(cursor, exit); cursor.next()) {
    if (cursor.kind === HotKind.exitHandled || cursor.kind === HotKind.exitCompleted) return cursor.seq;
    const isRow = cursor.kind === ROW_EVENT && cursor.row.kind === CoreKind.registerSet.name;
    if (isRow && cursor.row.vcpu === exit.frame[ExitWord.vcpu]) return cursor.seq;
  }
  return undefined;
}
