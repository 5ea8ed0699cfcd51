/** `hvjournal show`: one moment in full. */
import {
  Evaluator,
  MachineEnvironment,
  type Machine,
  parseExpression,
  parsePosition,
  readVirtual,
  type Replayer,
  toHex,
  shellCommand,
} from "@hvjournal/core";
import { existsSync } from "node:fs";
import { displayOf } from "../architectures.js";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { configSummary, configLines } from "../output/config-text.js";
import { dumpLines } from "../output/memory-dump.js";
import { MomentText } from "../output/moment-text.js";
import { Standing, standingVcpu } from "../output/standing.js";
import { defaultRecording, wordsOption, recordingWords } from "../recording-path.js";
import { nameByGuest } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { parseStopCondition } from "../vm/stop-condition.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import {
  checkReached,
  createReplayer,
  findPlace,
  liesBeforeEnd,
  type OpenRecording,
  withRecording,
} from "../vm/open-recording.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  countOption,
  flag,
  flagOption,
  stringOption,
  textOption,
} from "./command.js";

const MEMORY_BYTES_MAX = 1 << 20;

export const show: Command = {
  usage: "show [words..]",
  summary: "one moment in full: show [RECORDING] POSITION",
  options: (yargs) =>
    symbolOptions(wordsOption(yargs))
      .usage("usage: $0 show [RECORDING] POSITION [OPTIONS]")
      .option("regs", flagOption("system and vector registers too"))
      .option("stack", flagOption("the chain of callers"))
      .option("disas", textOption("so many instructions"))
      .option("mem", textOption("ADDR,LENGTH: memory, by the guest's translation; both may be expressions"))
      .option("config", flagOption("the whole configuration")),
  run: (args, context) => {
    const { path, place } = recordingWords(args, context, "position");
    if (place === undefined && !existsSync(path)) refuseExpression(path, defaultRecording(args, context));
    if (place === undefined)
      throw new UsageError(
        "show takes a POSITION behind the recording",
        shellCommand("hvjournal", "show", path, "end"),
      );
    refuseExpression(place, path);
    return withRecording(
      path,
      context,
      symbolsFromFiles(args),
      (recording) =>
        withLongAct({ act: `replaying ${path}`, total: 0, output: context.output }, (act) =>
          runShow(recording, place, args, { ...context, act }),
        ),
      { salvage: liesBeforeEnd(parsePosition(place)) },
    );
  },
};

/** A moment is shown, not a condition: the first at which one holds is found by replay. Throws UsageError. */
function refuseExpression(text: string, path: string): void {
  if (!isCondition(text)) return;
  throw new UsageError(
    `show takes a POSITION, and '${text}' is an EXPR: replay finds the first exit at which it holds`,
    shellCommand("hvjournal", "replay", path, "--until", text),
  );
}

/** A single name could be a file's as well. */
function isCondition(text: string): boolean {
  if (!/[$=<>!*&|(]/.test(text)) return false;
  try {
    return parseStopCondition(text).form === "expression";
  } catch {
    // What is wrong with it as a position is said elsewhere.
    return false;
  }
}

async function runShow(
  recording: OpenRecording,
  text: string,
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  const replayer = createReplayer(recording);
  const place = findPlace(text, recording.reader);
  checkReached(await act.seek(replayer, place.goal), place, replayer, recording.path);
  nameByGuest(recording.symbols, replayer.machine);
  const memory = memoryOption(args, replayer.machine, recording);
  const disas = countOption(args, "disas");
  const moment = new MomentText(recording, replayer);
  if (output.json) {
    output.line(jsonLine(showJson(recording, replayer, moment, { args, memory, disas })));
    return ExitStatus.done;
  }
  output.startPager();
  const lines = [
    ...moment.head(),
    ...moment.registers(flag(args, "regs")),
    ...(flag(args, "stack") ? moment.stack() : []),
    ...(disas === undefined ? [] : moment.code(disas)),
    ...(memory === undefined ? [] : moment.section("memory", dumpLines(memory.address, memory.bytes))),
    ...moment.section(
      "config",
      flag(args, "config") ? configLines(replayer.machine) : [`${configSummary(replayer.machine)} (--config)`],
    ),
  ];
  for (const line of lines) output.line(line);
  return ExitStatus.done;
}

interface ShownMemory {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

function memoryOption(args: Arguments, machine: Machine, { symbols }: OpenRecording): ShownMemory | undefined {
  const text = stringOption(args, "mem");
  if (text === undefined) return undefined;
  const comma = text.lastIndexOf(",");
  if (comma < 0) throw new UsageError(`--mem ${text}: expected ADDR,LENGTH`);
  const environment = new MachineEnvironment(machine, symbols);
  const value = (source: string): bigint => {
    const found = new Evaluator(parseExpression(source)).evaluate(environment);
    if (found === undefined) throw new UsageError(`--mem ${text}: ${source} has no value here`);
    return found;
  };
  const [address, length] = [value(text.slice(0, comma)), value(text.slice(comma + 1))];
  if (length > BigInt(MEMORY_BYTES_MAX)) throw new UsageError(`--mem ${text}: at most ${MEMORY_BYTES_MAX} bytes`);
  const bytes = readVirtual(machine, standingVcpu(machine), address, Number(length));
  if (bytes === undefined)
    throw new UsageError(`--mem ${text}: 0x${address.toString(16)}+${length}: ${notMapped(machine)}`);
  return { address, bytes };
}

function notMapped(machine: Machine): string {
  const vcpu = standingVcpu(machine);
  const { mode } = displayOf(machine.architecture);
  const what = "not all of it is mapped to RAM here";
  if (!mode.text(machine.kernel.readRegister(vcpu, mode.register)).startsWith("EL0")) return what;
  return `${what}: vcpu${vcpu} is at EL0, where a kernel hides its own pages (KPTI); show a moment at EL1, or ask for them in an EXPR by physical address, phys(u64, ADDR)`;
}

interface Shown {
  readonly args: Arguments;
  readonly memory: ShownMemory | undefined;
  readonly disas: number | undefined;
}

function showJson(
  recording: OpenRecording,
  replayer: Replayer,
  moment: MomentText,
  { args, memory, disas }: Shown,
): Record<string, unknown> {
  const { machine } = replayer;
  const { compared: _, ...standing } = new Standing(recording).json(replayer);
  return {
    ...standing,
    ...(flag(args, "regs") ? { registers: moment.registerValues() } : {}),
    ...(flag(args, "stack") ? { stack: moment.callers() } : {}),
    ...(disas === undefined ? {} : { code: moment.instructions(disas) }),
    ...(memory === undefined ? {} : { memory: { address: memory.address, bytes: toHex(memory.bytes) } }),
    ...(flag(args, "config") ? { config: machine.plainControl() } : {}),
  };
}
