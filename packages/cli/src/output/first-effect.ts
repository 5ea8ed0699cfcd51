/** What a change did first: the first exit that two runs of a guest do not share, and the console line that came of it. */
import { CONSOLE_PORT, diffExitsSteps, eachEvent, HotKind, journalCursor, type RecordedExit } from "@hvjournal/core";
import type { Reached } from "../vm/long-act.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { answersApart, toldText } from "./answers-apart.js";
import { type ComparedSide, exitSide, type FirstDifference, firstDifference } from "./diff-text.js";
import { ExitText } from "./exit-text.js";
import { toldApart } from "./told-apart.js";
import { quotedBytes } from "./value-text.js";

export interface EffectSide {
  readonly path: string;
  /** undefined: this side has no exit there. */
  readonly exit: number | undefined;
  readonly what: string;
  readonly decided: string;
  readonly answer: string;
}

export interface FirstEffect {
  readonly good: EffectSide;
  readonly bad: EffectSide;
  /** The first line of the bad run's console that ends behind it and that the good run does not have. */
  readonly line: { readonly exit: number; readonly text: string } | undefined;
}

function sideOf(recording: OpenRecording): ComparedSide {
  return { recording, range: { first: 1, last: recording.reader.end.firstSeq - 1 } };
}

type Steps<Result> = Generator<Reached | undefined, Result, void>;

function* difference(a: OpenRecording, b: OpenRecording): Steps<FirstDifference | undefined> {
  const [sideA, sideB] = [sideOf(a), sideOf(b)];
  return yield* firstDifference(yield* diffExitsSteps(exitSide(sideA), exitSide(sideB)), sideA, sideB);
}

/**
 * `unchanged`: the good recording's guest run again with nothing changed. Where that differs from the recording
 * earlier, by the times of its inputs say, it is the one to compare with. undefined: the runs do not differ. In steps, for
 * one who looks up between them.
 */
export function* firstEffect(
  good: OpenRecording,
  unchanged: OpenRecording,
  bad: OpenRecording,
): Steps<FirstEffect | undefined> {
  const ofRecording = yield* difference(good, bad);
  const again = ofRecording && (yield* difference(good, unchanged));
  const isByInputs = again !== undefined && again.equal <= (ofRecording?.equal ?? 0);
  const left = isByInputs ? unchanged : good;
  const first = isByInputs ? yield* difference(unchanged, bad) : ofRecording;
  if (first === undefined) return undefined;
  const [goodSide, badSide] = effectSides(first, left, bad);
  return {
    good: goodSide,
    bad: badSide,
    line: firstNewLine(left, bad, first.b?.seq),
  };
}

/** Two lines that read the same would not say what the effect is. */
function effectSides(
  { a, b, isAnswerOnly }: FirstDifference,
  good: OpenRecording,
  bad: OpenRecording,
): readonly [EffectSide, EffectSide] {
  const [left, right] = withAnswers([effectSide(good, a), effectSide(bad, b)], [good, a], [bad, b]);
  if (a === undefined || b === undefined || isAnswerOnly || left.what !== right.what) return [left, right];
  const asked = toldApart(a, b, new ExitText(good).argumentNames(a.frame));
  if (asked === undefined && left.decided !== right.decided) return [left, right];
  const [moreLeft, moreRight] = asked ?? [`icount:${a.icount}`, `icount:${b.icount}`];
  return [
    { ...left, what: `${left.what}  ${moreLeft}` },
    { ...right, what: `${right.what}  ${moreRight}` },
  ];
}

function effectSide(recording: OpenRecording, exit: RecordedExit | undefined): EffectSide {
  const { path } = recording;
  if (exit === undefined) return { path, exit: undefined, what: "no exit any more", decided: "", answer: "" };
  const text = new ExitText(recording);
  const { frame, number } = exit;
  return {
    path,
    exit: number,
    what: text.title(frame),
    decided: text.handledBy(frame).replace("VMM half", text.kvmExit(frame) ?? "VMM half"),
    answer: toldText(text.toldAnswer(exit)),
  };
}

type RecordedSide = readonly [recording: OpenRecording, exit: RecordedExit | undefined];

/** Of one exit that was answered in two ways: what tells them apart. */
function withAnswers(
  [left, right]: readonly [EffectSide, EffectSide],
  [good, a]: RecordedSide,
  [bad, b]: RecordedSide,
): readonly [EffectSide, EffectSide] {
  if (a === undefined || b === undefined || left.what !== right.what) return [left, right];
  const [answerA, answerB] = answersApart(new ExitText(good).toldAnswer(a), new ExitText(bad).toldAnswer(b));
  return [
    { ...left, answer: answerA },
    { ...right, answer: answerB },
  ];
}

interface WrittenLine {
  readonly bytes: Uint8Array;
  /** Exits before its end. */
  readonly exit: number;
  readonly seq: number;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

function consoleLines({ reader }: OpenRecording, visit: (line: WrittenLine) => boolean): void {
  let open: number[] = [];
  eachEvent(journalCursor(reader, 1), { first: 1, last: reader.end.firstSeq - 1 }, (cursor) => {
    if (cursor.kind !== HotKind.outputProduced || cursor.outputPort !== CONSOLE_PORT) return true;
    for (const byte of cursor.outputBytes) {
      if (byte !== LINE_FEED) {
        if (byte !== CARRIAGE_RETURN) open.push(byte);
        continue;
      }
      const line = { bytes: Uint8Array.from(open), exit: cursor.exitsBefore, seq: cursor.seq };
      open = [];
      if (!visit(line)) return false;
    }
    return true;
  });
}

/** When a kernel writes a line is no part of what it says. */
const TIME_STAMP = /^\[ *\d+\.\d+\] /;

function keyOf({ bytes }: WrittenLine): string {
  return String.fromCharCode(...bytes).replace(TIME_STAMP, "");
}

function firstNewLine(good: OpenRecording, bad: OpenRecording, seq: number | undefined): FirstEffect["line"] {
  if (seq === undefined) return undefined;
  const known = new Set<string>();
  consoleLines(good, (line) => {
    known.add(keyOf(line));
    return true;
  });
  let found: WrittenLine | undefined;
  consoleLines(bad, (line) => {
    if (line.seq > seq && !known.has(keyOf(line))) found = line;
    return found === undefined;
  });
  return found && { exit: found.exit, text: quotedBytes(found.bytes) };
}

/** Lines below "first effect". */
export function effectLines({ good, bad, line }: FirstEffect): string[] {
  const rows = [good, bad].map(({ path, exit, what, decided, answer }) => [
    path,
    exit === undefined ? "" : `exit:${exit}`,
    what,
    decided,
    answer,
  ]);
  if (line !== undefined) rows.push(["then", `exit:${line.exit}`, `console ${line.text}`]);
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...rows.filter(({ length }) => length > column + 1).map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd());
}
