/** Recordings of guests, run again and read. */
import { arm64 } from "@hvjournal/cpu-arm64";
import { amd64 } from "@hvjournal/cpu-x86";
import {
  type Architecture,
  type CacheOptions,
  checkMachine,
  type Goal,
  HotKind,
  journalCursor,
  NO_EVENT,
  parseMachine,
  parsePosition,
  Replayer,
  resolvePosition,
  ROW_EVENT,
  type RowEvent,
  seek,
  toHex,
} from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { digester } from "./guest-recording.js";

/** Hands an open recording to `use` and closes it. */
export async function withRecording<Result>(
  path: string,
  use: (reader: RecordingReader) => Result | Promise<Result>,
): Promise<Result> {
  const reader = openRecording(path);
  try {
    return await use(reader);
  } finally {
    reader.close();
  }
}

export function architectureOf(reader: RecordingReader): Architecture {
  return reader.header.architecture === amd64.name ? amd64 : arm64;
}

/** A replayer at the start. It is given nothing but the recording. */
export function replayerOf(reader: RecordingReader, caches?: CacheOptions): Replayer {
  return new Replayer({ architecture: architectureOf(reader), digester, reader, ...(caches && { caches }) });
}

/** Goes to a position as a user writes it. */
export function goTo(replayer: Replayer, position: string): void {
  const goal: Goal = resolvePosition(parsePosition(position), replayer.reader);
  const result = seek(replayer, goal);
  if (result !== "reached") throw new Error(`${position} was not reached: ${result}`);
}

/** What a replay from the start must have compared by its end. */
export function countObserved(reader: RecordingReader): { exits: number; digests: number } {
  const counts = { exits: 0, digests: 0 };
  const firstSeq = (reader.header.parent?.seq ?? 0) + 1;
  for (const cursor = journalCursor(reader, firstSeq); cursor.kind !== NO_EVENT; cursor.next()) {
    if (cursor.kind === HotKind.exited) counts.exits += 1;
    if (cursor.kind === HotKind.digested) counts.digests += 1;
  }
  return counts;
}

/** Every event as one line of text: what is equal between two recordings of one setup. */
export function eventLines(reader: RecordingReader): string[] {
  const lines: string[] = [];
  for (const cursor = journalCursor(reader, 1); cursor.kind !== NO_EVENT; cursor.next()) {
    const contents: { readonly [kind: number]: () => unknown } = {
      [HotKind.exited]: () => cursor.exit.join(" "),
      [HotKind.exitHandled]: () => cursor.handled,
      [HotKind.exitCompleted]: () => cursor.completed,
      [HotKind.outputProduced]: () => [cursor.outputPort, toHex(cursor.outputBytes)],
      [HotKind.irqLineSet]: () => cursor.irqLine,
      [HotKind.digested]: () => toHex(cursor.digest),
      [ROW_EVENT]: () => cursor.row,
    };
    lines.push(`event:${cursor.seq} ${cursor.kind} icount:${cursor.icount} ${plainText(contents[cursor.kind]?.())}`);
  }
  return lines;
}

function plainText(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === "bigint") return `${item}n`;
    return item instanceof Uint8Array ? toHex(item) : item;
  });
}

/** The row events of some kinds, in order. */
export function rowsOf(reader: RecordingReader, ...kinds: readonly string[]): RowEvent[] {
  const rows: RowEvent[] = [];
  for (const cursor = journalCursor(reader, 1); cursor.kind !== NO_EVENT; cursor.next())
    if (cursor.kind === ROW_EVENT && kinds.includes(cursor.row.kind)) rows.push(cursor.row);
  return rows;
}

export interface RecordedExit {
  readonly number: number;
  readonly seq: number;
  readonly icount: number;
  readonly words: Uint32Array;
  /** As `log` prints it. */
  readonly text: string;
}

export function exitsOf(reader: RecordingReader): RecordedExit[] {
  const architecture = architectureOf(reader);
  const model = checkMachine(parseMachine(reader.header.machine), architecture);
  const exits: RecordedExit[] = [];
  for (const cursor = journalCursor(reader, 1); cursor.kind !== NO_EVENT; cursor.next()) {
    if (cursor.kind !== HotKind.exited) continue;
    const words = cursor.exit.slice();
    const { seq, icount, exitsBefore } = cursor;
    exits.push({ number: exitsBefore + 1, seq, icount, words, text: architecture.describeExit(model, words) });
  }
  return exits;
}
