/** `hvjournal diff`: two recordings, or two moments, compared. */
import {
  type ControlHistory,
  controlHistorySteps,
  diffControl,
  diffExitsSteps,
  diffStateSteps,
  type Machine,
  firstSeqOf,
  type Position,
  type RecordedExit,
  formatPosition,
  isSameControl,
  isSameState,
  type Replayer,
  seqOfExit,
  type StateDiff,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { carriedDifference } from "../output/carried-difference.js";
import {
  comparedByText,
  type ComparedSide,
  controlLines,
  type ExitComparison,
  exitLines,
  exitSide,
  firstDifference,
  momentsText,
  shapeLines,
  type StateComparison,
  stateLine,
  stateLines,
  stateStatLines,
} from "../output/diff-text.js";
import { counted } from "../output/value-text.js";
import { wordsOption } from "../recording-path.js";
import { nameByGuest } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { type LongAct, type Reached, withLongAct } from "../vm/long-act.js";
import {
  checkReached,
  createReplayer,
  fileAtPosition,
  findPlace,
  inContext,
  liesBeforeEnd,
  type OpenRecording,
  unfinishedNote,
  withRecording,
} from "../vm/open-recording.js";
import { type Arguments, type Command, type CommandContext, flag, flagOption, listOption } from "./command.js";

export const diff: Command = {
  usage: "diff <words..>",
  summary: "compare two recordings, or two moments: diff A[@POSITION] B[@POSITION]",
  options: (yargs) =>
    symbolOptions(wordsOption(yargs))
      .usage("usage: $0 diff A[@POSITION] B[@POSITION] [OPTIONS]")
      .option("stat", flagOption("only how much differs"))
      .option("control", flagOption("only decisions of the VMM"))
      .option("exits", flagOption("only exits, every difference"))
      .option("state", flagOption("only registers and memory, with the values on both sides"))
      .option("all", flagOption("with --state: every word of memory that differs; --json always has them")),
  run: (args, context) => {
    const [a, b, ...more] = listOption(args, "words").map(fileAtPosition);
    if (a === undefined || b === undefined || more.length > 0) throw new UsageError("diff A[@POSITION] B[@POSITION]");
    const symbols = symbolsFromFiles(args);
    return withRecording(a.file, context, symbols, (recordingA) =>
      withRecording(b.file, context, symbolsFromFiles(args), (recordingB) =>
        withLongAct({ act: `comparing ${a.file} and ${b.file}`, total: 0, output: context.output }, (act) =>
          runDiff(
            { recording: recordingA, position: a.position, act },
            { recording: recordingB, position: b.position, act },
            args,
            context,
          ),
        ),
      ),
    );
  },
};

interface Operand {
  readonly recording: OpenRecording;
  readonly position: Position | undefined;
  readonly act: LongAct;
}

/** A machine that stands at the moment of an operand. */
interface Stand {
  readonly machine: Machine;
  /** The last event that has taken effect there. */
  readonly seq: number;
}

interface Parts {
  readonly control: boolean;
  readonly exits: boolean;
  readonly state: boolean;
}

function partsOf(args: Arguments): Parts {
  const [control, exits, state] = [flag(args, "control"), flag(args, "exits"), flag(args, "state")];
  const isAll = !control && !exits && !state;
  return { control: control || isAll, exits: exits || isAll, state: state || isAll };
}

/** What of the two is compared: from where both have events, to the moments that were named, else the ends. */
interface ComparedSides {
  readonly sides: readonly [ComparedSide, ComparedSide];
  /** Where comparing begins, unless both begin at a start. */
  readonly since: string | undefined;
}

function comparedSides(a: Operand, b: Operand, stands: readonly (Stand | undefined)[]): ComparedSides {
  const { firsts, exitNumber, since } = commonStart(a.recording, b.recording);
  const sideOf = ({ recording }: Operand, index: number): ComparedSide => {
    const last = stands[index]?.seq ?? recording.reader.end.firstSeq - 1;
    return { recording, range: { first: firsts[index] ?? 1, last } };
  };
  const sides = [sideOf(a, 0), sideOf(b, 1)] as const;
  const early = stands.findIndex((stand) => stand !== undefined && stand.machine.exitNumber < exitNumber);
  if (early < 0) return { sides, since };
  const none = ({ recording, range: { last } }: ComparedSide): ComparedSide => ({
    recording,
    range: { first: last + 1, last },
  });
  const { recording, position } = [a, b][early] ?? a;
  const where = `${recording.path}@${formatPosition(position ?? { at: "end" })} lies before that`;
  return { sides: [none(sides[0]), none(sides[1])], since: `${since ?? ""}; ${where}: its state alone is compared` };
}

interface CommonStart {
  /** The event of each side with which comparing begins. */
  readonly firsts: readonly [number, number];
  /** The exit behind which it begins. */
  readonly exitNumber: number;
  readonly since: string | undefined;
}

/** A recording that grew from another shares what lies before. */
function commonStart(a: OpenRecording, b: OpenRecording): CommonStart {
  const [parentA, parentB] = [a.reader.header.parent, b.reader.header.parent];
  const firsts = [firstSeqOf(a.reader), firstSeqOf(b.reader)] as const;
  if (a.reader.header.id === b.reader.header.id || (parentA === undefined && parentB === undefined))
    return { firsts, exitNumber: 0, since: undefined };
  if (parentB?.id === a.reader.header.id)
    return { firsts: [firsts[1], firsts[1]], exitNumber: parentB.exitNumber, since: grewText(b, a.path) };
  if (parentA?.id === b.reader.header.id)
    return { firsts: [firsts[0], firsts[0]], exitNumber: parentA.exitNumber, since: grewText(a, b.path) };
  const [later, earlier] = (parentA?.exitNumber ?? 0) > (parentB?.exitNumber ?? 0) ? [a, b] : [b, a];
  const exitNumber = later.reader.header.parent?.exitNumber ?? 0;
  // Only by the exits' numbers can it be told where an event of one stands in the other.
  const start = seqOfExit(earlier.reader, exitNumber + 1) ?? earlier.reader.end.firstSeq;
  const first = Math.max(start, firstSeqOf(earlier.reader));
  const before = counted(first - firstSeqOf(earlier.reader), "event");
  const since = `from exit:${exitNumber} on, where ${later.path} begins; ${before} of ${earlier.path} before it are not`;
  return { firsts: later === a ? [firsts[0], first] : [first, firsts[1]], exitNumber, since };
}

function grewText({ path, reader }: OpenRecording, from: string): string {
  const { exitNumber = 0, seq = 0 } = reader.header.parent ?? {};
  return `from exit:${exitNumber} (event:${seq}) on, where ${path} grew from ${from}`;
}

async function runDiff(a: Operand, b: Operand, args: Arguments, { output }: CommandContext): Promise<ExitCode> {
  if (a.recording.architecture.name !== b.recording.architecture.name)
    throw new UsageError(
      `${a.recording.path} is of ${a.recording.architecture.name}, ${b.recording.path} of ${b.recording.architecture.name}`,
    );
  for (const { recording, position } of [a, b])
    if (position === undefined || !liesBeforeEnd(position)) noteUnfinished(recording, output);
  const parts = partsOf(args);
  const stands: (Stand | undefined)[] = [];
  for (const operand of [a, b]) stands.push(operand.position === undefined ? undefined : await standAt(operand));
  // Two moments are compared by themselves: what the guest did before is read only where it was asked for.
  if (parts.state && !parts.control && !parts.exits && stands.some((stand) => stand !== undefined)) {
    const [standA = await standAt(a), standB = await standAt(b)] = stands;
    const state = await a.act.run(diffStateSteps(standA.machine, standB.machine));
    return tellState({ diff: state, at: namedMoments(a, b) }, [a, b], args, output);
  }
  const {
    sides: [sideA, sideB],
    since,
  } = comparedSides(a, b, stands);
  if (since !== undefined) output.note(`note: compared ${since}`);
  const { act } = a;
  const history = await act.run(historyOf(sideA));
  const control = diffControl(history, await act.run(historyOf(sideB)));
  const exits = await act.run(compareExits(sideA, sideB));
  const comparedBy = comparedByText(exits.diff, [a.recording, b.recording]);
  if (parts.exits && comparedBy !== undefined) output.note(`note: ${comparedBy}`);
  const isStateAsked = flag(args, "state") || stands.some((stand) => stand !== undefined);
  const state = parts.state ? await compareStates({ a, b, stands, isStateAsked }, exits) : undefined;
  const isEqual =
    (!parts.control || isSameControl(control)) &&
    (!parts.exits || exits.first === undefined) &&
    (state === undefined || isSameState(state.diff));
  const status = isEqual ? ExitStatus.done : ExitStatus.no;
  if (output.json) {
    output.line(
      jsonLine({
        equal: isEqual,
        since,
        ends: endsJson(a, b),
        control,
        exits: exitsJson(exits),
        state: state && stateJson(state),
      }),
    );
    return status;
  }
  output.startPager();
  if (isEqual) {
    const equal = [
      ...(parts.exits ? [counted(exits.diff.equal, "exit")] : []),
      ...(parts.control ? [`${counted(history.events.length, "decision")} of the VMM`] : []),
      ...(state === undefined ? [] : [`registers and memory at ${momentsText(state.at)}`]),
    ];
    print([`equal: ${equal.join(", ")}`], output);
  } else if (flag(args, "stat")) print(statLines(control, exits, state), output);
  else {
    if (parts.control) print(controlLines(control, [a.recording, b.recording], output), output);
    if (parts.exits) print(exitLines(exits, { all: flag(args, "exits"), output }), output);
    if (state !== undefined)
      print(
        flag(args, "state")
          ? stateLines(state, a.recording.symbols, flag(args, "all"))
          : [stateLine(state), ...shapeLines(state.diff.shapes)],
        output,
      );
  }
  return status;
}

/** "open": the recording has no end mark, and what it would have gone on to do is not known. */
function endsJson(a: Operand, b: Operand): Record<"a" | "b", string> {
  return { a: a.recording.reader.end.state, b: b.recording.reader.end.state };
}

function noteUnfinished(recording: OpenRecording, output: Output): void {
  const unfinished = unfinishedNote(recording);
  if (unfinished !== undefined) output.note(`note: ${unfinished}`);
}

/** The moments that were named, else the ends. */
function namedMoments(a: Operand, b: Operand): StateComparison["at"] {
  const text = ({ position = { at: "end" } }: Operand): string => formatPosition(position);
  return { a: text(a), b: text(b) };
}

function stateJson({ diff: state, at }: StateComparison): Record<string, unknown> {
  return { at, ...state };
}

function tellState(
  state: StateComparison,
  [a, b]: readonly [Operand, Operand],
  args: Arguments,
  output: Output,
): ExitCode {
  const isEqual = isSameState(state.diff);
  const { symbols } = a.recording;
  if (output.json) output.line(jsonLine({ equal: isEqual, ends: endsJson(a, b), state: stateJson(state) }));
  else {
    output.startPager();
    print(flag(args, "stat") ? stateStatLines(state) : stateLines(state, symbols, flag(args, "all")), output);
  }
  return isEqual ? ExitStatus.done : ExitStatus.no;
}

function print(lines: readonly string[], output: Output): void {
  for (const line of lines) output.line(line);
}

type Steps<Result> = Generator<Reached | undefined, Result, void>;

function historyOf({ recording: { architecture, reader }, range }: ComparedSide): Steps<ControlHistory> {
  return controlHistorySteps(architecture, reader, range);
}

function* compareExits(a: ComparedSide, b: ComparedSide): Steps<ExitComparison> {
  const compared = yield* diffExitsSteps(exitSide(a), exitSide(b));
  return { diff: compared, first: carriedDifference(a, b) ?? (yield* firstDifference(compared, a, b)), sides: [a, b] };
}

interface StateOperands {
  readonly a: Operand;
  readonly b: Operand;
  readonly stands: readonly (Stand | undefined)[];
  readonly isStateAsked: boolean;
}

/** At the positions given; else where the exits first differ; at the ends where nothing else can be compared. */
async function compareStates(
  { a, b, stands, isStateAsked }: StateOperands,
  { first, diff: { a: exitsA, b: exitsB } }: ExitComparison,
): Promise<StateComparison | undefined> {
  const [standA, standB] = stands;
  const statesOf = async (one: Machine, other: Machine): Promise<StateDiff> => a.act.run(diffStateSteps(one, other));
  const isOneSided = first !== undefined && (first.a === undefined || first.b === undefined);
  const isNothingElse = first === undefined && exitsA.length === 0 && exitsB.length === 0;
  const isOfEnds = isNothingElse || (isStateAsked && (first === undefined || isOneSided));
  if (standA !== undefined || standB !== undefined || isOfEnds)
    return {
      diff: await statesOf((standA ?? (await standAt(a))).machine, (standB ?? (await standAt(b))).machine),
      at: namedMoments(a, b),
    };
  if (first?.a === undefined || first.b === undefined) return undefined;
  // Exits that were answered differently differ in what the answer did.
  const units = first.isAnswerOnly ? { unitsAfter: 0 } : {};
  const machineAt = async ({ recording, act }: Operand, exitNumber: number): Promise<Machine> => {
    const replayer = createReplayer(recording);
    await act.seek(replayer, { exitNumber, ...units });
    nameByGuest(recording.symbols, replayer.machine);
    return replayer.machine;
  };
  const text = ({ number }: RecordedExit): string => formatPosition({ at: "exit", number, ...units });
  return {
    diff: await statesOf(await machineAt(a, first.a.number), await machineAt(b, first.b.number)),
    at: { a: text(first.a), b: text(first.b) },
  };
}

async function standAt({ recording, position = { at: "end" }, act }: Operand): Promise<Stand> {
  try {
    const replayer: Replayer = createReplayer(recording);
    const place = findPlace(formatPosition(position), recording.reader, "full");
    checkReached(await act.seek(replayer, place.goal), place, replayer, recording.path);
    nameByGuest(recording.symbols, replayer.machine);
    return { machine: replayer.machine, seq: replayer.nextSeq - 1 };
  } catch (error) {
    // Both recordings are open: the error is of this one.
    throw inContext(error, recording);
  }
}

function exitsJson({
  diff: { hunks, equal, isTruncated, comparedBy, a, b },
  first,
}: ExitComparison): Record<string, unknown> {
  return {
    equal,
    comparedBy,
    isTruncated,
    hunks: hunks.map(({ atA, countA, atB, countB }) => ({
      a: { exit: a.at(atA)?.number, count: countA },
      b: { exit: b.at(atB)?.number, count: countB },
    })),
    first: first === undefined ? undefined : { a: first.a?.number, b: first.b?.number },
  };
}

function statLines(
  { onlyA, onlyB, before }: ReturnType<typeof diffControl>,
  { diff: { hunks, equal } }: ExitComparison,
  state: StateComparison | undefined,
): string[] {
  const sum = (of: (hunk: (typeof hunks)[number]) => number): number =>
    hunks.reduce((total, hunk) => total + of(hunk), 0);
  return [
    `control    ${onlyA.length} removed, ${onlyB.length} added${before.length === 0 ? "" : `, ${before.length} set otherwise before`}`,
    `exits      ${equal} equal, ${sum(({ countA }) => countA)} removed, ${sum(({ countB }) => countB)} added in ${counted(hunks.length, "place")}`,
    ...(state === undefined ? [] : stateStatLines(state)),
  ];
}
