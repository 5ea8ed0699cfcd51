/** Where each form of position lies in a recording, read off its events: what a replay that goes there is compared with. */
import { type EventCursor, ExitWord, HotKind, journalCursor, KvmExit, NO_EVENT, ROW_EVENT } from "@hvjournal/core";
import type { RecordingReader } from "@hvjournal/journal";
import { exitsOf, type RecordedExit } from "../testing/guest-replay.js";

/** A moment; what is undefined is not laid down by the position. */
export interface Moment {
  readonly exitNumber: number;
  readonly icount: number;
  readonly exitPending?: boolean;
  /** The last event that has taken effect. */
  readonly seq?: number;
}

export interface ExpectedPosition {
  readonly position: string;
  readonly moment: Moment;
}

function atExit({ number, seq, icount }: RecordedExit): Moment {
  return { exitNumber: number, icount, exitPending: true, seq };
}

/** The event whose byte completes the match that `expression` with the flag "g" has as its K-th, or the last for -1. */
function consoleMoment(reader: RecordingReader, expression: RegExp, occurrence: number): Moment {
  let text = "";
  const places: Moment[] = [];
  for (const cursor = journalCursor(reader, 1); cursor.kind !== NO_EVENT; cursor.next()) {
    if (cursor.kind !== HotKind.outputProduced || cursor.outputPort !== 0) continue;
    text += Buffer.from(cursor.outputBytes).toString("latin1");
    while (places.length < text.length) places.push(momentOf(cursor));
  }
  const match = [...text.matchAll(expression)].at(occurrence < 0 ? occurrence : occurrence - 1);
  const place = places[(match?.index ?? -1) + (match?.[0].length ?? 0) - 1];
  if (place === undefined) throw new Error(`the console never says ${String(expression)}`);
  return place;
}

function momentOf({ exitsBefore, icount, seq }: EventCursor): Moment {
  return { exitNumber: exitsBefore, icount, seq };
}

function pick(
  exits: readonly RecordedExit[],
  occurrence: number,
  matches: (exit: RecordedExit) => boolean,
): RecordedExit {
  const found = exits.filter(matches).at(occurrence < 0 ? occurrence : occurrence - 1);
  if (found === undefined) throw new Error("no such exit in the recording");
  return found;
}

/** A row event in the middle: the place of event:N, and of the units around it. */
function someRow(reader: RecordingReader): Moment {
  for (const cursor = journalCursor(reader, Math.floor(reader.end.firstSeq / 8)); ; cursor.next()) {
    if (cursor.kind === NO_EVENT) throw new Error("no row event in the recording");
    if (cursor.kind === ROW_EVENT) return momentOf(cursor);
  }
}

type Find = (occurrence: number, matches: (exit: RecordedExit) => boolean) => Moment;

/** The positions whose words are an architecture's own. */
export type ArchitecturePositions = (find: Find) => readonly (readonly [string, Moment])[];

function startsWith(...names: readonly string[]): (exit: RecordedExit) => boolean {
  return ({ text }) => names.some((name) => text.startsWith(name));
}

function leavesWith(kvmExit: number): (exit: RecordedExit) => boolean {
  return ({ words }) => words[ExitWord.kvmExit] === kvmExit;
}

export const ARM64_POSITIONS: ArchitecturePositions = (find) => {
  const isCall =
    (id: string) =>
    (exit: RecordedExit): boolean =>
      startsWith("HVC64 ", "SMC64 ")(exit) && exit.text.includes(id);
  return [
    ["hypercall:0x84000000", find(1, isCall("0x84000000"))],
    ["exit:SYS64", find(1, startsWith("SYS64"))],
    ["exit:mmio#50", find(50, leavesWith(KvmExit.mmio))],
    ["exit:WFx", find(1, startsWith("WFx"))],
    ["exit:WFx#-1", find(-1, startsWith("WFx"))],
    ["hypercall:0x84000008#-1", find(-1, isCall("0x84000008"))],
    ["exit:SYSTEM_EVENT", find(-1, isCall("0x84000008"))],
  ];
};

export const AMD64_POSITIONS: ArchitecturePositions = (find) => [
  ["exit:CPUID", find(1, startsWith("CPUID"))],
  ["exit:MSR_WRITE", find(1, startsWith("MSR_WRITE"))],
  ["exit:io#50", find(50, leavesWith(KvmExit.io))],
  ["exit:mmio#10", find(10, leavesWith(KvmExit.mmio))],
  ["exit:PREEMPTION_TIMER#3", find(3, startsWith("PREEMPTION_TIMER"))],
  ["exit:HLT", find(1, startsWith("HLT"))],
  ["exit:HLT#-1", find(-1, startsWith("HLT"))],
  ["exit:IO_INSTRUCTION#-1", find(-1, startsWith("IO "))],
];

/** In the order of the run, so that a replay which visits them goes on most of the time. */
export function expectedPositions(reader: RecordingReader, own: ArchitecturePositions): ExpectedPosition[] {
  const exits = exitsOf(reader);
  const find: Find = (occurrence, matches) => atExit(pick(exits, occurrence, matches));
  const row = someRow(reader);
  const [hundredth] = exits.slice(99);
  const last = reader.snapshots().at(-1);
  if (hundredth === undefined || last === undefined) throw new Error("the recording is too short");
  const expected: (readonly [string, Moment])[] = [
    ["start", { exitNumber: 0, icount: 0 }],
    ["exit:1", find(1, () => true)],
    ["exit 100", atExit(hundredth)],
    [`icount:${hundredth.icount + 3}`, { exitNumber: 100, icount: hundredth.icount + 3 }],
    ["console:/Linux version/", consoleMoment(reader, /Linux version/g, 1)],
    [`event:${row.seq}`, row],
    [`snapshot:${last.number}`, { exitNumber: last.exitNumber, icount: last.icount, seq: last.seq }],
    ["console:/power/#-1", consoleMoment(reader, /power/g, -1)],
    ...own(find),
  ];
  return expected
    .map(([position, moment]) => ({ position, moment }))
    .toSorted((a, b) => a.moment.icount - b.moment.icount);
}
