/** `hvjournal diff`: two recordings, or two moments, compared. */
import {
  controlHistory,
  diffControl,
  diffExits,
  diffState,
  type Machine,
  parseFileAtPosition,
  type Position,
  formatPosition,
  resolveRange,
  type Replayer,
  seek,
  type SeqRange,
  type StateDiff,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import {
  type ComparedSide,
  controlLines,
  type ExitComparison,
  exitLines,
  firstDifference,
  stateLine,
  stateLines,
} from "../output/diff-text.js";
import { counted } from "../output/value-text.js";
import { wordsOption } from "../recording-path.js";
import { nameByGuest } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { checkReached, createReplayer, findPlace, type OpenRecording, withRecording } from "../vm/open-recording.js";
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
    const [a, b, ...more] = listOption(args, "words").map(parseFileAtPosition);
    if (a === undefined || b === undefined || more.length > 0) throw new UsageError("diff A[@POSITION] B[@POSITION]");
    const symbols = symbolsFromFiles(args);
    return withRecording(a.file, context, symbols, (recordingA) =>
      withRecording(b.file, context, symbolsFromFiles(args), (recordingB) =>
        runDiff(
          { recording: recordingA, position: a.position },
          { recording: recordingB, position: b.position },
          args,
          context,
        ),
      ),
    );
  },
};

interface Operand {
  readonly recording: OpenRecording;
  readonly position: Position | undefined;
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

function sideOf({ recording, position }: Operand): ComparedSide {
  const range = resolveRange({ from: undefined, to: position }, recording.reader);
  return { recording, range };
}

function runDiff(a: Operand, b: Operand, args: Arguments, { output }: CommandContext): ExitCode {
  if (a.recording.architecture.name !== b.recording.architecture.name)
    throw new UsageError(
      `${a.recording.path} is of ${a.recording.architecture.name}, ${b.recording.path} of ${b.recording.architecture.name}`,
    );
  const parts = partsOf(args);
  const [sideA, sideB] = [sideOf(a), sideOf(b)];
  // Two moments are compared by themselves: what the guest did before is read only where it was asked for.
  if (parts.state && !parts.control && !parts.exits && (a.position ?? b.position) !== undefined)
    return tellState(diffState(standAt(a), standAt(b)), a.recording, args, output);
  const control = diffControl(historyOf(sideA), historyOf(sideB));
  const exits = { ...compareExits(sideA, sideB), sides: [sideA, sideB] as const };
  const state = parts.state ? compareStates(a, b, exits) : undefined;
  const isControlEqual = control.patches.length === 0 && control.onlyA.length === 0 && control.onlyB.length === 0;
  const isEqual =
    (!parts.control || isControlEqual) &&
    (!parts.exits || exits.first === undefined) &&
    (state === undefined || (state.diff.registers.length === 0 && state.diff.pages.length === 0));
  const status = isEqual ? ExitStatus.done : ExitStatus.no;
  if (output.json) {
    output.line(jsonLine({ equal: isEqual, control, exits: exitsJson(exits), state: state?.diff }));
    return status;
  }
  output.startPager();
  const equalExits = exits.first?.equal ?? exits.diff.equal;
  if (isEqual)
    print(
      [`equal: ${counted(equalExits, "exit")}, ${counted(sideControlCount(sideA), "decision")} of the VMM`],
      output,
    );
  else if (flag(args, "stat")) print(statLines(control, exits, state?.diff), output);
  else {
    if (parts.control) print(controlLines(control, a.recording, output), output);
    if (parts.exits) print(exitLines(exits, { all: flag(args, "exits"), output }), output);
    if (state !== undefined)
      print(
        flag(args, "state") ? stateLines(state.diff, a.recording.symbols, flag(args, "all")) : [stateLine(state.diff)],
        output,
      );
  }
  return status;
}

function tellState(state: StateDiff, { symbols }: OpenRecording, args: Arguments, output: Output): ExitCode {
  const isEqual = state.registers.length === 0 && state.pages.length === 0;
  if (output.json) output.line(jsonLine({ equal: isEqual, state }));
  else {
    output.startPager();
    print(flag(args, "stat") ? [stateStatLine(state)] : stateLines(state, symbols, flag(args, "all")), output);
  }
  return isEqual ? ExitStatus.done : ExitStatus.no;
}

function print(lines: readonly string[], output: Output): void {
  for (const line of lines) output.line(line);
}

function historyOf({ recording, range }: ComparedSide): ReturnType<typeof controlHistory> {
  return controlHistory(recording.architecture, recording.reader, range.last);
}

function sideControlCount(side: ComparedSide): number {
  return historyOf(side).events.length;
}

function compareExits(a: ComparedSide, b: ComparedSide): Pick<ExitComparison, "diff" | "first"> {
  const reader = ({ recording, range }: ComparedSide): { reader: OpenRecording["reader"]; range: SeqRange } => ({
    reader: recording.reader,
    range,
  });
  const result = diffExits(reader(a), reader(b));
  return { diff: result, first: firstDifference(result, a, b) };
}

/** At the positions given, else where the exits first differ, else nowhere. */
function compareStates(a: Operand, b: Operand, { first }: ExitComparison): { readonly diff: StateDiff } | undefined {
  if (a.position !== undefined || b.position !== undefined) return { diff: diffState(standAt(a), standAt(b)) };
  if (first?.a === undefined || first.b === undefined) return undefined;
  // Exits that were answered differently differ in what the answer did.
  const units = first.isAnswerOnly ? { unitsAfter: 0 } : {};
  const [machineA, machineB] = [a, b].map(({ recording }, index) => {
    const replayer = createReplayer(recording);
    seek(replayer, { exitNumber: (index === 0 ? first.a : first.b)?.number ?? 0, ...units });
    nameByGuest(recording.symbols, replayer.machine);
    return replayer.machine;
  });
  return machineA === undefined || machineB === undefined ? undefined : { diff: diffState(machineA, machineB) };
}

function standAt({ recording, position = { at: "end" } }: Operand): Machine {
  const replayer: Replayer = createReplayer(recording);
  const place = findPlace(formatPosition(position), recording.reader);
  checkReached(seek(replayer, place.goal), place, replayer, recording.path);
  nameByGuest(recording.symbols, replayer.machine);
  return replayer.machine;
}

function exitsJson({ diff: { hunks, equal, isTruncated, a, b }, first }: ExitComparison): Record<string, unknown> {
  return {
    equal,
    isTruncated,
    hunks: hunks.map(({ atA, countA, atB, countB }) => ({
      a: { exit: a.at(atA)?.number, count: countA },
      b: { exit: b.at(atB)?.number, count: countB },
    })),
    first: first === undefined ? undefined : { a: first.a?.number, b: first.b?.number },
  };
}

function statLines(
  { onlyA, onlyB }: ReturnType<typeof diffControl>,
  { diff: { hunks, equal } }: ExitComparison,
  state: StateDiff | undefined,
): string[] {
  const sum = (of: (hunk: (typeof hunks)[number]) => number): number =>
    hunks.reduce((total, hunk) => total + of(hunk), 0);
  return [
    `control    ${onlyA.length} removed, ${onlyB.length} added`,
    `exits      ${equal} equal, ${sum(({ countA }) => countA)} removed, ${sum(({ countB }) => countB)} added in ${counted(hunks.length, "place")}`,
    ...(state === undefined ? [] : [stateStatLine(state)]),
  ];
}

function stateStatLine({ registers, pages }: StateDiff): string {
  return `state      ${counted(registers.length, "register")}, ${counted(pages.length, "page")}`;
}
