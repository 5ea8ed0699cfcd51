/** `hvjournal bisect`: find the moment at which something became so. */
import { spawnSync } from "node:child_process";
import {
  BisectEndError,
  type BisectMoment,
  type BisectCommandResult,
  bisectCommand,
  BisectSkippedError,
  BisectStoppedError,
  bisectWhen,
  formatPosition,
  type BisectWhenResult,
  type BisectWriter,
  type Goal,
  type Machine,
  type ParsedExpression,
  parseExpression,
  parsePosition,
  type Replayer,
  resolveRange,
  seek,
  startSeq,
  verdictOfStatus,
  type Verdict,
  shellCommand,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import {
  BisectReport,
  loadAt,
  type LoadedValue,
  momentLine,
  neverMapped,
  transitionLines,
} from "../output/bisect-report.js";
import { ExitText } from "../output/exit-text.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { Progress } from "../output/progress.js";
import { instructionText, positionText, Standing, standingVcpu } from "../output/standing.js";
import { hex, hostTimeText } from "../output/value-text.js";
import { defaultRecording, wordsOption } from "../recording-path.js";
import { nameByGuest, nameByLastSnapshot } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { hexAddress, type Symbols } from "../symbols/symbols.js";
import { createReplayer, findPlace, type OpenRecording, positionMissing, withRecording } from "../vm/open-recording.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flag,
  flagOption,
  listOption,
  stringOption,
  textOption,
} from "./command.js";

export const bisect: Command = {
  usage: "bisect [words..]",
  summary: "find the moment at which something became so",
  options: (yargs) =>
    symbolOptions(wordsOption(yargs))
      .usage("usage: $0 bisect [RECORDING] --when EXPR\n       $0 bisect [RECORDING] --run COMMAND [ARG ...]")
      .option(
        "when",
        textOption(
          "EXPR: the first moment at which it holds; one that reads registers is asked behind every instruction, or with `$pc == X &&` at X",
        ),
      )
      .option("run", flagOption("the rest of the line is a command: 0 good, 125 skip, 1 to 127 bad, 128 and more stop"))
      .option("good", textOption("POSITION at which it is good (start)"))
      .option("bad", textOption("POSITION at which it is bad (end)"))
      .option("all", flagOption("with --when: every change, not only the first")),
  run: (args, context) => {
    const words = listOption(args, "words");
    if (words.length > 1)
      throw new CliError("this build bisects one recording; which of two differences did it, another may tell", {
        code: "not-in-this-build",
        status: ExitStatus.untestable,
        next: shellCommand("hvjournal", "diff", ...words),
      });
    const path = words[0] ?? defaultRecording(args, context);
    const when = stringOption(args, "when");
    const { runCommand: command } = context;
    if ((when === undefined) === (command === undefined))
      throw new UsageError("bisect takes either --when EXPR or --run COMMAND", "hvjournal bisect --help");
    return withRecording(path, context, symbolsFromFiles(args), (recording) =>
      when === undefined
        ? runCommandSearch(recording, command ?? [], args, context)
        : Promise.resolve(runWhen(recording, parseExpression(when), args, context)),
    ).catch((error: unknown) => {
      const where = when ?? "";
      const isLater = stringOption(args, "good") !== undefined;
      throw bisectFailure(
        error,
        when === undefined
          ? undefined
          : shellCommand("hvjournal", "bisect", path, "--when", isLater ? where : `!(${where})`),
      );
    });
  },
};

function bisectFailure(error: unknown, next: string | undefined): unknown {
  if (error instanceof BisectEndError)
    return new CliError(error.message, {
      code: "bisect-end",
      ...(error.end === "good" && next !== undefined ? { next } : {}),
      cause: error,
    });
  if (error instanceof BisectSkippedError)
    return new CliError(error.message, {
      code: "bisect-skipped",
      status: ExitStatus.untestable,
      next: `hvjournal bisect --good POSITION --bad POSITION --run ...`,
      cause: error,
    });
  if (error instanceof BisectStoppedError) return new CliError(error.message, { code: "bisect-stopped", cause: error });
  return error;
}

function goodGoal(args: Arguments, { reader }: OpenRecording): Goal {
  const text = stringOption(args, "good");
  return text === undefined ? { seq: startSeq(reader) } : findPlace(text, reader).goal;
}

function lastSeq(args: Arguments, { reader }: OpenRecording): number {
  const [from, to] = ["good", "bad"].map((option) => {
    const text = stringOption(args, option);
    return text === undefined ? undefined : parsePosition(text);
  });
  return resolveRange({ from, to }, reader).last;
}

function runWhen(
  recording: OpenRecording,
  expression: ParsedExpression,
  args: Arguments,
  { output }: CommandContext,
): ExitCode {
  nameByLastSnapshot(recording);
  const replayer = createReplayer(recording);
  const { path, reader, symbols } = recording;
  const progress = new Progress(output, `bisecting ${path}:`, reader.end.icount);
  const withAll = flag(args, "all");
  const result = bisectWhen({
    replayer,
    expression,
    symbols,
    good: goodGoal(args, recording),
    lastSeq: lastSeq(args, recording),
    // What may change with every instruction is looked at no longer than somebody wants to know.
    all: withAll || !expression.changesWithUnits,
    onProgress: (icount) => progress.at(icount),
  });
  const { first, scannedExits, isWatched } = result;
  if (first === undefined) {
    for (const address of neverMapped(expression, replayer.machine, recording, result.places))
      output.note(
        `note: ${hex(address)} was not mapped at any moment at which it was asked for, so its value is unknown`,
      );
    throw neverHeld(expression, args, recording);
  }
  output.note(`scanned exit:1..${scannedExits} (${hostTimeText(progress.elapsedMs)})`);
  const caller = callerOf(replayer, result);
  const value = valueChange(recording, replayer, expression, result);
  goToFirst(replayer, result);
  const report = new BisectReport(recording);
  if (output.json) output.line(jsonLine({ ...whenJson(result, withAll), value, caller: callerJson(caller, symbols) }));
  else
    for (const line of [
      ...report.lines(result, replayer.machine, { value, caller }),
      ...transitionLines(result, withAll, expression.isMomentary),
    ])
      output.line(line);
  if (!isWatched)
    output.note(
      "note: not all that it reads could be watched: a change that came and went between two events may be missing",
    );
  return ExitStatus.done;
}

/** Where only a part was looked at, nothing is said of the rest. */
function neverHeld({ source }: ParsedExpression, args: Arguments, { path, reader }: OpenRecording): CliError {
  const [good, bad] = [stringOption(args, "good"), stringOption(args, "bad")];
  if (good === undefined && bad === undefined) return positionMissing(path, reader, `'${source}'`);
  return new CliError(`'${source}' holds nowhere between ${good ?? "start"} and ${bad ?? "end"} of ${path}`, {
    code: "not-found",
    status: ExitStatus.no,
    next: shellCommand("hvjournal", "bisect", path, "--when", source),
  });
}

function momentJson({ position, ...moment }: BisectMoment): Record<string, unknown> {
  return { position: formatPosition(position), ...moment };
}

function whenJson(result: BisectWhenResult, withAll: boolean): Record<string, unknown> {
  const { first, transitions } = result;
  return {
    ...result,
    first: first === undefined ? undefined : momentJson(first),
    places: undefined,
    transitions: withAll
      ? transitions.map(({ moment, ...transition }) => ({ ...transition, ...momentJson(moment) }))
      : transitions.length,
  };
}

function goToFirst(replayer: Replayer, { first, writer }: BisectWhenResult): void {
  if (first === undefined) return;
  const { icount, guestTimeNs, seq } = first;
  const goals: { readonly [By in BisectWriter["by"]]: Goal } = {
    instruction: { icount },
    answer: { exitNumber: first.exitNumber, unitsAfter: 0 },
    time: { guestTimeNs },
    exit: { seq },
    event: { seq },
  };
  seek(replayer, goals[writer?.by ?? "event"]);
}

/**
 * Where the function that the instruction is in was called. Asked in front of the instruction: behind a call the guest is
 * in the function called.
 */
function callerOf(replayer: Replayer, { first, writer }: BisectWhenResult): bigint | undefined {
  if (first === undefined || writer?.by !== "instruction") return undefined;
  seek(replayer, { icount: first.icount - 1 });
  return replayer.machine.kernel.backtrace(writer.vcpu, 1)[0];
}

function callerJson(address: bigint | undefined, symbols: Symbols): Record<string, unknown> | undefined {
  return address === undefined ? undefined : { address, name: symbols.callerName(address) };
}

/** What the expression reads, one step before and at the first moment. */
function valueChange(
  recording: OpenRecording,
  replayer: Replayer,
  expression: ParsedExpression,
  result: BisectWhenResult,
): LoadedValue | undefined {
  const { first, writer, places } = result;
  if (first === undefined || writer === undefined || writer.by === "exit") return undefined;
  const change = result.transitions[0]?.change;
  if (change !== undefined) return change;
  seek(replayer, writer.by === "instruction" ? { icount: first.icount - 1 } : { seq: first.seq - 1 });
  const before = loadAt(expression, replayer.machine, recording, places);
  goToFirst(replayer, result);
  const after = loadAt(expression, replayer.machine, recording, places);
  return after === undefined ? undefined : { address: after.address, before: before?.value, after: after.value };
}

async function runCommandSearch(
  recording: OpenRecording,
  command: readonly string[],
  args: Arguments,
  { output }: CommandContext,
): Promise<ExitCode> {
  if (command.length === 0) throw new UsageError("--run needs a command");
  const { path } = recording;
  const replayer = createReplayer(recording);
  const exitAt = (option: "good" | "bad"): number | undefined => {
    const text = stringOption(args, option);
    if (text === undefined) return undefined;
    seek(replayer, findPlace(text, recording.reader).goal);
    return replayer.machine.exitNumber;
  };
  const test = (): Promise<Verdict> => {
    const position = positionText(replayer.machine);
    const verdict = verdictOf(command, path, position);
    output.note(`${position}  ${verdict}`);
    return Promise.resolve(verdict);
  };
  const goodExit = exitAt("good") ?? recording.reader.header.parent?.exitNumber ?? 0;
  const badExit = exitAt("bad") ?? recording.reader.end.exitNumber;
  const result = await bisectCommand({ replayer, goodExit, badExit, test });
  return reportBoundary(recording, replayer, result, output);
}

/** Its standard output goes to stderr: stdout is for the answer. */
function verdictOf(command: readonly string[], path: string, position: string): Verdict {
  const [name = "", ...words] = command;
  const { status, signal, error } = spawnSync(name, words, {
    stdio: ["ignore", 2, 2],
    env: { ...process.env, HVJ_RECORDING: path, HVJ_POSITION: position },
  });
  if (error !== undefined) throw new CliError(`can't run ${name}: ${error.message}`, { code: "run" });
  if (status === null) throw new CliError(`${name} was ended by ${signal ?? "a signal"}`, { code: "run" });
  return verdictOfStatus(status);
}

function reportBoundary(
  recording: OpenRecording,
  replayer: Replayer,
  { exits, units }: BisectCommandResult,
  output: Output,
): ExitCode {
  const probes = exits.probes + (units?.probes ?? 0);
  const skipped = exits.skipped.length > 0 ? exits.skipped : (units?.skipped ?? []);
  if (skipped.length > 0) {
    const bounds =
      exits.skipped.length > 0
        ? `exit:${exits.good}..exit:${exits.bad}`
        : `exit:${exits.good}+${units?.good ?? 0}..exit:${exits.bad}`;
    if (output.json) output.line(jsonLine({ exits, units, skipped }));
    else
      output.line(`first bad is one of ${bounds}: ${skipped.length} in between could not be tested (${probes} tests)`);
    // As git bisect: where only skipped ones are left, which it was can't be told.
    return ExitStatus.untestable;
  }
  const isExit = units === undefined || isLastUnit(replayer, exits, units.bad);
  seek(replayer, isExit ? { exitNumber: exits.bad } : behindGood(exits.good, units.bad));
  nameByGuest(recording.symbols, replayer.machine);
  const { machine } = replayer;
  if (output.json) {
    output.line(jsonLine({ ...new Standing(recording).json(replayer), exits, units }));
    return ExitStatus.done;
  }
  const { exitNumber, icount, guestTimeNs } = machine;
  const position = isExit
    ? ({ at: "exit", number: exitNumber } as const)
    : ({ at: "exit", number: exits.good, unitsAfter: units.bad } as const);
  output.line(`first bad: ${momentLine({ position, seq: replayer.nextSeq - 1, exitNumber, icount, guestTimeNs })}`);
  output.line(`  ${isExit ? exitLine(recording, machine) : codeLine(recording, machine)}`);
  output.line(`  good one step before (${probes} tests)`);
  return ExitStatus.done;
}

function exitLine(recording: OpenRecording, { kernel }: Machine): string {
  const exits = new ExitText(recording);
  return `${exits.title(kernel.exit)} ${exits.fate(kernel.exit)}`;
}

/** The instruction that comes next. */
function codeLine({ symbols }: OpenRecording, machine: Machine): string {
  const vcpu = standingVcpu(machine);
  const pc = machine.kernel.readRegister(vcpu, "pc");
  return [hexAddress(pc), symbols.name(pc), instructionText(machine, symbols, vcpu, false)]
    .filter((part) => part !== undefined)
    .join("  ");
}

function behindGood(good: number, units: number): Goal {
  return good === 0 ? { icount: units } : { exitNumber: good, unitsAfter: units };
}

/** The last unit of the stretch is the bad exit itself. */
function isLastUnit(
  replayer: Replayer,
  exits: { readonly good: number; readonly bad: number },
  units: number,
): boolean {
  seek(replayer, { exitNumber: exits.bad });
  const { icount } = replayer.machine;
  seek(replayer, behindGood(exits.good, units));
  return replayer.machine.icount >= icount;
}
