/** `bisect --when`: the first moment at which an expression holds. */
import {
  type BisectMoment,
  bisectWhenSteps,
  type BisectWhenResult,
  type BisectWriter,
  formatPosition,
  type Goal,
  type ParsedExpression,
  parsePosition,
  type Replayer,
  resolveRange,
  seek,
  startSeq,
  symbolsAsPc,
  shellCommand,
} from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { type Arguments, type CommandContext, flag, listOption, stringOption } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { BisectReport, loadAt, type LoadedValue, neverMapped, transitionLines } from "../output/bisect-report.js";
import { jsonLine } from "../output/console-output.js";
import { showCommand } from "../output/show-command.js";
import { hex, hostTimeText } from "../output/value-text.js";
import { callersOf } from "../symbols/callers.js";
import { nameByLastSnapshot } from "../symbols/guest-symbols.js";
import type { Symbols } from "../symbols/symbols.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import { createReplayer, findPlace, type OpenRecording, positionMissing } from "../vm/open-recording.js";

function goodGoal(args: Arguments, { reader }: OpenRecording): Goal {
  const text = stringOption(args, "good");
  return text === undefined ? { seq: startSeq(reader) } : findPlace(text, reader).goal;
}

function lastSeq(args: Arguments, { reader, architecture }: OpenRecording): number {
  const [from, to] = ["good", "bad"].map((option) => {
    const text = stringOption(args, option);
    return text === undefined ? undefined : parsePosition(text);
  });
  return resolveRange({ from, to }, reader, architecture).last;
}

export async function runWhen(
  recording: OpenRecording,
  expression: ParsedExpression,
  args: Arguments,
  context: CommandContext,
): Promise<ExitCode> {
  const { path, reader } = recording;
  return withLongAct({ act: `bisecting ${path}`, total: reader.end.icount, output: context.output }, (act) =>
    searchWhen(recording, expression, args, { ...context, act }),
  );
}

async function searchWhen(
  recording: OpenRecording,
  expression: ParsedExpression,
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  nameByLastSnapshot(recording);
  const replayer = createReplayer(recording);
  const { path, symbols } = recording;
  const withAll = flag(args, "all");
  const search = bisectWhenSteps({
    replayer,
    expression,
    symbols,
    good: goodGoal(args, recording),
    lastSeq: lastSeq(args, recording),
    // What may change with every instruction is looked at no longer than somebody wants to know.
    all: withAll || !expression.changesWithUnits,
  });
  const result = await act.run(search);
  const { first, goodExit, scannedExits, isWatched } = result;
  if (first === undefined) {
    for (const address of neverMapped(expression, replayer.machine, recording, result.places))
      output.note(
        `note: ${hex(address)} was not mapped at any moment at which it was asked for, so its value is unknown`,
      );
    for (const name of symbolsAsPc(expression.tree, replayer.machine.kernel.pcName))
      if (symbols.find(name)?.isData === true)
        output.note(
          `note: ${name} is data, and no instruction: no pc is ever there. Who writes to it: --when 'changed(&${name}, LENGTH)'`,
        );
    throw neverHeld(expression, args, recording);
  }
  const scanned = `exit:${goodExit + 1}..${goodExit + scannedExits}`;
  output.note(`scanned ${scannedExits === 0 ? "no exit" : scanned} (${hostTimeText(act.elapsedMs)})`);
  const caller = callerOf(replayer, result, symbols);
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
  if (!output.json)
    output.note(`next: ${showCommand(path, formatPosition(first.position), listOption(args, "symbols"))}`);
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
function callerOf(replayer: Replayer, { first, writer }: BisectWhenResult, symbols: Symbols): bigint | undefined {
  if (first === undefined || writer?.by !== "instruction") return undefined;
  seek(replayer, { icount: first.icount - 1 });
  return callersOf(replayer.machine, writer.vcpu, symbols, 1)[0]?.address;
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
