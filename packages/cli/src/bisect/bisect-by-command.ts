/** `bisect --run`: where a command of the user's first says bad. */
import { spawnSync } from "node:child_process";
import {
  type BisectCommandResult,
  bisectCommand,
  formatPosition,
  type Goal,
  type Machine,
  type Replayer,
  seek,
  verdictOfStatus,
  type Verdict,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, type CommandContext, listOption, stringOption } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { momentLine } from "../output/bisect-report.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { ExitText } from "../output/exit-text.js";
import { showCommand } from "../output/show-command.js";
import { instructionText, positionText, Standing, standingVcpu } from "../output/standing.js";
import { nameByGuest } from "../symbols/guest-symbols.js";
import { hexAddress } from "../symbols/symbols.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import { createReplayer, findPlace, type OpenRecording } from "../vm/open-recording.js";

export async function runCommandSearch(
  recording: OpenRecording,
  command: readonly string[],
  args: Arguments,
  context: CommandContext,
): Promise<ExitCode> {
  if (command.length === 0) throw new UsageError("--run needs a command");
  const { path } = recording;
  return withLongAct({ act: `bisecting ${path}`, total: 0, output: context.output }, (act) =>
    searchByCommand(recording, command, args, { ...context, act }),
  );
}

async function searchByCommand(
  recording: OpenRecording,
  command: readonly string[],
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  const { path } = recording;
  const replayer = createReplayer(recording);
  const exitAt = (option: "good" | "bad"): number | undefined => {
    const text = stringOption(args, option);
    if (text === undefined) return undefined;
    seek(replayer, findPlace(text, recording.reader).goal);
    return replayer.machine.exitNumber;
  };
  const test = async (): Promise<Verdict> => {
    const position = positionText(replayer.machine);
    const verdict = verdictOf(command, path, position);
    output.note(`${position}  ${verdict}`);
    await act.turn(replayer.machine);
    return verdict;
  };
  const goodExit = exitAt("good") ?? recording.reader.header.parent?.exitNumber ?? 0;
  const badExit = exitAt("bad") ?? recording.reader.end.exitNumber;
  const result = await bisectCommand({ replayer, goodExit, badExit, test });
  return reportBoundary(recording, replayer, result, { args, output });
}

/** Its standard output goes to stderr: stdout is for the answer. */
export function verdictOf(command: readonly string[], path: string, position: string): Verdict {
  const [name = "", ...words] = command;
  const { status, signal, error } = spawnSync(name, words, {
    stdio: ["ignore", 2, 2],
    env: { ...process.env, HVJ_RECORDING: path, HVJ_POSITION: position },
  });
  if (error !== undefined) throw new CliError(`can't run ${name}: ${error.message}`, { code: "spawn" });
  if (status === null) throw new CliError(`${name} was ended by ${signal ?? "a signal"}`, { code: "bisect-stopped" });
  return verdictOfStatus(status);
}

function reportBoundary(
  recording: OpenRecording,
  replayer: Replayer,
  { exits, units }: BisectCommandResult,
  { args, output }: { readonly args: Arguments; readonly output: Output },
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
  output.note(`next: ${showCommand(recording.path, formatPosition(position), listOption(args, "symbols"))}`);
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
