/** `hvjournal record`: run a VM and record it. */
import { existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { randomBytes } from "node:crypto";
import type { Argv } from "yargs";
import {
  formatGuestTime,
  type GuestStop,
  HOT_EVENT_KINDS,
  coreKinds,
  parseGuestTime,
  parseInputScript,
  Recorder,
  ControlRefusedError,
  type ScriptEntry,
  machinePayload,
  DEFAULT_CADENCE,
  type Cadence,
} from "@hvjournal/core";
import { createRecording, FORMAT_VERSION, INDEX_EXITS_MAX, type RecordingWriter } from "@hvjournal/journal";
import { CliError, UsageError } from "../cli-error.js";
import { ExitStatus, type ExitCode } from "../exit-status.js";
import { nodeDigester } from "../host/node-digester.js";
import { reason } from "../host/drive-file.js";
import { DEFAULT_RECORDING } from "../recording-path.js";
import { parseCount } from "../sizes.js";
import { liveGoals } from "../vm/live-goals.js";
import { LiveSession, type SessionEnd } from "../vm/live-session.js";
import { newMachine, type NewMachine } from "../vm/machine-options.js";
import { attachTerminal } from "../vm/terminal.js";
import { productVersion } from "../version.js";
import { type Arguments, type Command, type CommandContext, flag, stringOption } from "./command.js";

export function machineOptions(yargs: Argv): Argv {
  const text = { type: "string", requiresArg: true, nargs: 1 } as const;
  return yargs
    .option("arch", { ...text, describe: "arm64 or amd64; default: what the kernel image says" })
    .option("machine", { ...text, alias: "M", describe: "board: virt" })
    .option("cpu", { ...text, describe: "CPU model" })
    .option("smp", { ...text, describe: "vCPUs (1)" })
    .option("memory", { ...text, alias: "m", describe: "RAM (256M)" })
    .option("kernel-option", { ...text, describe: "kernel image" })
    .option("initrd", { ...text, describe: "initial RAM disk" })
    .option("append", { ...text, describe: "kernel command line" })
    .option("drive", { ...text, describe: "file=PATH[,readonly=on][,id=ID]; repeatable; the file is never written" })
    .option("exit-model", { ...text, describe: "which guest actions leave guest mode (kvm-arm64)" })
    .option("cap", { ...text, describe: "KVM capability to enable: NAME[=ARG,...]; repeatable" })
    .option("smccc-filter", { ...text, describe: "BASE+COUNT=handle|deny|forward; repeatable" })
    .option("firmware-reg", { ...text, describe: "firmware pseudo-register: NAME=VALUE; repeatable" })
    .option("seed", {
      ...text,
      describe: "entropy for the guest and the vCPU schedule; default random, printed and recorded",
    })
    .option("rtc", { ...text, describe: "base=now|DATE: guest wall clock at start" });
}

export const record: Command = {
  usage: "record [kernel]",
  summary: "run a VM and record it",
  options(yargs) {
    const text = { type: "string", requiresArg: true, nargs: 1 } as const;
    return machineOptions(
      yargs.positional("kernel", { type: "string", describe: "kernel image: arm64 Image, ELF, or flat binary" }),
    )
      .option("output", { ...text, alias: "o", describe: "recording (vm.hvj; an older one becomes vm.hvj.old)" })
      .option("force", { type: "boolean", describe: "overwrite the file that -o names" })
      .option("name", { ...text, describe: "name of the VM (default: the recording's)" })
      .option("detach", { type: "boolean", describe: "go on in the background" })
      .option("headless", {
        type: "boolean",
        describe: "no terminal: console text to stdout, nothing is read, idle time is skipped",
      })
      .option("input", {
        ...text,
        describe: 'typed input: lines `at console /RE/ send "text"`, `at time 1.5s send "text"`',
      })
      .option("until", { ...text, describe: "POSITION or EXPR: stop there, exit status 0" })
      .option("fail-on", { ...text, describe: "POSITION or EXPR: stop there, exit status 1" })
      .option("timeout", { ...text, describe: "guest time: equal on every host" })
      .option("host-timeout", { ...text, describe: "wall clock" })
      .option("exit-status", { type: "boolean", describe: "exit with the guest's own status" })
      .option("snapshot-every", {
        ...text,
        describe: "units between full snapshots (1G); 0: only at start, pauses and end",
      })
      .option("index", { type: "boolean", default: true, describe: "write tables for the stock sqlite3 at the end" });
  },
  run: runRecord,
};

async function runRecord(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const path = outputPath(args);
  const script = inputScript(args);
  const goalTexts = { until: stringOption(args, "until"), failOn: stringOption(args, "fail-on") };
  const machine = newMachine(args);
  const writer = openOutput(path, args, machine);
  const recorder = createRecorder(machine, writer, args, script, path);
  announce(machine, path, context);
  const session = new LiveSession({ recorder, goals: liveGoals(goalTexts, recorder), ...timeouts(args) });
  const terminal = attachTerminal(session, {
    headless: flag(args, "headless"),
    output: context.output,
    scripted: script.length > 0,
  });
  const end = await session.run().finally(() => terminal.detach());
  return finish(end, { recorder, path, args, context });
}

function outputPath(args: Arguments): string {
  return stringOption(args, "output") ?? DEFAULT_RECORDING;
}

function inputScript(args: Arguments): readonly ScriptEntry[] {
  const path = stringOption(args, "input");
  if (path === undefined) return [];
  try {
    return parseInputScript(readFileSync(path, "utf8"));
  } catch (cause) {
    if (cause instanceof Error && "code" in cause)
      throw new CliError(`can't read input ${path}: ${reason(cause)}`, { cause });
    throw cause;
  }
}

function openOutput(path: string, args: Arguments, machine: NewMachine): RecordingWriter {
  const named = stringOption(args, "output") !== undefined;
  if (existsSync(path)) {
    if (!named) renameSync(path, `${path}.old`);
    else if (flag(args, "force")) rmSync(path);
    else
      throw new CliError(`can't record to ${path}: the file exists`, {
        code: "exists",
        next: `hvjournal record --force -o ${path} ...`,
      });
  }
  const kinds = [...coreKinds(), ...HOT_EVENT_KINDS, ...machine.architecture.control.kinds];
  return createRecording(
    path,
    {
      id: randomBytes(16).toString("hex"),
      formatVersion: FORMAT_VERSION,
      createdBy: `hvjournal ${productVersion()}`,
      architecture: machine.architecture.name,
      architectureRevision: machine.architecture.revision,
      machine: machinePayload(machine.description),
      quirks: [],
      parent: undefined,
    },
    { kinds },
  );
}

function createRecorder(
  machine: NewMachine,
  writer: RecordingWriter,
  args: Arguments,
  script: readonly ScriptEntry[],
  path: string,
): Recorder {
  const { architecture, vmm, commands } = machine;
  const interactive = !flag(args, "headless");
  try {
    return Recorder.create(
      { architecture, digester: nodeDigester, writer, vmm, cadence: cadence(args), script, interactive },
      commands,
    );
  } catch (error) {
    writer.close();
    rmSync(path, { force: true });
    if (error instanceof ControlRefusedError) {
      const { call, errno, reason: why, next } = error.refusal;
      throw new CliError(`${call}: ${errno}: ${why}`, {
        code: errno,
        status: ExitStatus.usage,
        ...(next === undefined ? {} : { next }),
      });
    }
    throw error;
  }
}

function cadence(args: Arguments): Cadence {
  const text = stringOption(args, "snapshot-every");
  if (text === undefined) return DEFAULT_CADENCE;
  const { digestEvery } = DEFAULT_CADENCE;
  if (text === "0")
    return { digestEvery, seekPointEvery: digestEvery * 2 ** 25, fullSnapshotEvery: digestEvery * 2 ** 25 };
  const every = Math.ceil(parseCount("--snapshot-every", text) / digestEvery) * digestEvery;
  const seekPointEvery = Math.min(every, DEFAULT_CADENCE.seekPointEvery);
  return { digestEvery, seekPointEvery, fullSnapshotEvery: Math.ceil(every / seekPointEvery) * seekPointEvery };
}

function timeouts(args: Arguments): { guestTimeoutNs?: number; hostTimeoutMs?: number } {
  const time = (option: string): number | undefined => {
    const text = stringOption(args, option);
    if (text === undefined) return undefined;
    const ns = parseGuestTime(text);
    if (ns === undefined) throw new UsageError(`--${option} ${text}: expected a time such as 60s or 500ms`);
    return ns;
  };
  const guest = time("timeout");
  const host = time("host-timeout");
  return {
    ...(guest === undefined ? {} : { guestTimeoutNs: guest }),
    ...(host === undefined ? {} : { hostTimeoutMs: host / 1e6 }),
  };
}

function announce({ description }: NewMachine, path: string, { output }: CommandContext): void {
  const { architecture, board, cpuModel, exitModel, memoryBytes, seed, boardOptions } = description;
  const { rtcBaseNs } = boardOptions;
  const rtc = new Date(Number((typeof rtcBaseNs === "bigint" ? rtcBaseNs : 0n) / 1_000_000n))
    .toISOString()
    .replace(".000Z", "Z");
  const stop = process.stdin.isTTY === true ? "; C-a x stops" : "";
  output.note(
    `recording ${path}: ${architecture} ${board}, cpu ${cpuModel}, exits ${exitModel.name}, ${memoryBytes / 2 ** 20}M, seed ${seed}, rtc ${rtc}${stop}`,
  );
}

interface Finished {
  readonly recorder: Recorder;
  readonly path: string;
  readonly args: Arguments;
  readonly context: CommandContext;
}

function finish(end: SessionEnd, { recorder, path, args, context }: Finished): ExitCode {
  const { machine } = recorder;
  const events = recorder.nextSeq;
  recorder.finish({ index: args["index"] !== false && machine.exitNumber <= INDEX_EXITS_MAX, by: endedBy(end) });
  const at = `exit:${machine.exitNumber} icount:${machine.icount} time:${formatGuestTime(machine.guestTimeNs)}`;
  context.output.note(`${endText(end)} at ${at}`);
  context.output.note(`${path}: ${events} events in ${(statSync(path).size / 2 ** 20).toFixed(1)} MiB`);
  if (recorder.scriptLeft.length > 0)
    context.output.note(
      `${recorder.scriptLeft.length} lines of ${stringOption(args, "input") ?? "the input"} never came up`,
    );
  return exitCodeOf(end, args);
}

function endedBy(end: SessionEnd): string {
  return end.why === "goal" ? `--${end.goal.name} ${end.goal.text}` : end.why;
}

function endText(end: SessionEnd): string {
  switch (end.why) {
    case "stopped":
      return stopText(end.stop);
    case "goal":
      return `${end.goal.name === "until" ? "reached" : "failed:"} ${end.goal.text}`;
    case "timeout":
      return end.of === "guest" ? "ran out of --timeout" : "ran out of --host-timeout";
    case "interrupted":
      return "stopped";
    case "moved":
      return "moved";
    default:
      return end satisfies never;
  }
}

export function stopText(stop: GuestStop): string {
  return stop.what === "stuck" || stop.what === "waiting"
    ? `guest can't go on: ${stop.by}`
    : `guest ${stop.what} (${stop.by})`;
}

function exitCodeOf(end: SessionEnd, args: Arguments): ExitCode {
  switch (end.why) {
    case "stopped":
      if (flag(args, "exit-status") && end.stop.status !== undefined) return end.stop.status;
      return end.stop.what === "powered off" || end.stop.what === "reset" ? ExitStatus.done : ExitStatus.no;
    case "goal":
      return end.goal.name === "until" ? ExitStatus.done : ExitStatus.no;
    case "timeout":
      return ExitStatus.timeout;
    case "interrupted":
      return ExitStatus.done;
    case "moved":
      return ExitStatus.done;
    default:
      return end satisfies never;
  }
}
