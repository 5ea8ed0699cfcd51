/** `hvjournal record`: run a VM and record it. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Argv } from "yargs";
import {
  type Cadence,
  ControlRefusedError,
  DEFAULT_CADENCE,
  type Machine,
  type MachineDescription,
  parseGuestTime,
  parseInputScript,
  Recorder,
  type RecorderOptions,
  type ScriptEntry,
  shellCommand,
} from "@hvjournal/core";
import {
  discardRecording,
  INDEX_EXITS_MAX,
  openRecording,
  recordingSizes,
  type RecordingWriter,
} from "@hvjournal/journal";
import type { HandlerError } from "@hvjournal/vmm";
import { CliError, UsageError } from "../cli-error.js";
import type { ErrorCode } from "../error-codes.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { HANDLER_TIMEOUT_OPTION } from "../handlers/handler-option.js";
import { recordedHandlers } from "../handlers/recorded-handlers.js";
import { unaskedHandlers } from "../handlers/unasked-handlers.js";
import { reason } from "../host/drive-file.js";
import { nodeDigester } from "../host/node-digester.js";
import { againCommand } from "../output/again-command.js";
import { rtcText } from "../output/board-text.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { endText, fileText, heldFromStartText, LastLine, strandedText } from "../output/record-report.js";
import { showCommand } from "../output/show-command.js";
import { DEFAULT_RECORDING } from "../recording-path.js";
import { undefinedText } from "../output/undefined-text.js";
import { unansweredText } from "../output/unanswered-text.js";
import { counted } from "../output/value-text.js";
import { parseCount } from "../sizes.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { openBranch } from "../vm/branch.js";
import { runningVms } from "../vm/control-client.js";
import { listenForControl, type OwnControl } from "../vm/control-name.js";
import type { Farewell } from "../vm/control-server.js";
import { isDetached, reportingToStarter, sayReady, spawnDetached } from "../vm/detached.js";
import { farewellOf } from "../vm/finish-instance.js";
import { type Instance, type InstanceTerms, recordedDrivePaths } from "../vm/instance.js";
import { runInstance } from "../vm/run-instance.js";
import { checkVmName, nameOfRecording } from "../vm/vm-directory.js";
import { checkGoals, goalNotes, liveGoals } from "../vm/live-goals.js";
import { KernelTrouble, spinningText, type Trouble, troubleText } from "../vm/kernel-trouble.js";
import { LiveSession, type SessionEnd } from "../vm/live-session.js";
import {
  endedBy,
  exitCodeOf,
  failedExit,
  guestStatusOf,
  isHurried,
  missedGoal,
  type RunTerms,
  unindexedText,
} from "../vm/session-result.js";
import { MACHINE_OPTIONS, newMachine } from "../vm/machine-options.js";
import { clearOutput, createRecordingFile, type OutputFile } from "../vm/new-recording.js";
import { refusedStops } from "../vm/refused-stop.js";
import { locatingOptions } from "../vm/locate-option.js";
import { recordRequest } from "../vm/record-request.js";
import { refusedMachine } from "../vm/rerun-recording.js";
import { attachTerminal } from "../vm/terminal.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flag,
  flagOption,
  stringOption,
  textOption,
} from "./command.js";

export function machineOptions(yargs: Argv): Argv {
  return yargs
    .options(MACHINE_OPTIONS)
    .option("drive", textOption("file=PATH[,readonly=on][,id=ID]; repeatable; the file is never written"));
}

export const record: Command = {
  usage: "record [image]",
  summary: "run a VM and record it",
  options: (yargs) =>
    symbolOptions(
      machineOptions(
        yargs.positional("image", {
          type: "string",
          describe: "kernel: arm64 Image; amd64 bzImage, vmlinux (PVH), Multiboot; ELF; with --flat plain code",
        }),
      ),
    )
      .usage("usage: $0 record [KERNEL] [OPTIONS]\n       $0 record --from FILE[@POSITION] [OPTIONS]")
      .option("config", {
        ...textOption(
          "machine file: options as keys of YAML; those given here override it (no arguments at all: vm.yaml)",
        ),
        alias: "c",
      })
      .option("from", textOption("go live from a moment of a recording: FILE[@POSITION]"))
      .option("output", { ...textOption("recording (vm.hvj; an older one becomes vm.hvj.old)"), alias: "o" })
      .option("force", flagOption("overwrite the recording that -o names"))
      .option("name", textOption("name of the VM (default: the recording's)"))
      .option("detach", flagOption("run in the background; see hvjournal ps, attach, ctl"))
      .option("paused", flagOption("do not run yet: ctl sets it up, and ctl NAME resume lets it run"))
      .option("headless", flagOption("no terminal: console text to stdout, nothing is read, idle time is skipped"))
      .option("input", textOption('typed input: lines `at console /RE/ send "text"`, `at time 1.5s send "text"`'))
      .option("until", textOption("POSITION or EXPR: stop there, exit status 0; 1 where the guest ends before it"))
      .option(
        "fail-on",
        textOption("POSITION or EXPR: stop there, exit status 1; console:/RE/: at the end of that line and 10ms later"),
      )
      .option("timeout", textOption("guest time: equal on every host"))
      .option("host-timeout", textOption("wall clock"))
      .option("handler-timeout", HANDLER_TIMEOUT_OPTION)
      .option(
        "exit-status",
        flagOption(
          "exit with the guest's own status, where it gives one; hvjournal help statuses tells it from the command's",
        ),
      )
      .option("snapshot-every", textOption("units between full snapshots (1G); 0: only at the start and at pauses"))
      .option("index", {
        type: "boolean",
        defaultDescription: "true",
        describe: "write tables for the stock sqlite3 at the end",
      }),
  run: (args, context) => reportingToStarter(context.environment, () => runRequest(args, context)),
};

async function runRequest(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const request = await recordRequest(args, context.argv);
  return locatingOptions(request, () => runRecord(request.args, { ...context, argv: request.argv }));
}

async function runRecord(args: Arguments, context: CommandContext): Promise<ExitCode> {
  if (flag(args, "detach") && !isDetached(context.environment)) return detachRecord(args, context);
  const path = outputPath(args);
  await checkUnused(path, context);
  const control = await listenForControl(stringOption(args, "name"), path, context);
  try {
    return await recordVm(args, context, control);
  } finally {
    await control?.server.close({ text: `${path} has broken off` });
  }
}

function outputPath(args: Arguments): string {
  return stringOption(args, "output") ?? DEFAULT_RECORDING;
}

/** A recording that a VM still writes is not to be moved out of the way. */
async function checkUnused(path: string, { environment }: CommandContext): Promise<void> {
  if (!existsSync(path)) return;
  const user = (await runningVms(environment)).find(({ recording }) => recording === resolve(path));
  if (user === undefined) return;
  throw new CliError(`can't record to ${path}: ${user.name} records into it (pid ${user.processId})`, {
    code: "exists",
    next: `hvjournal attach ${user.name}`,
  });
}

async function recordVm(args: Arguments, context: CommandContext, control: OwnControl | undefined): Promise<ExitCode> {
  const script = inputScript(args);
  const limits = timeouts(args);
  const symbols = symbolsFromFiles(args);
  const texts = { until: stringOption(args, "until"), failOn: stringOption(args, "fail-on") };
  checkGoals(texts);
  const host = { digester: nodeDigester, cadence: cadence(args), script, interactive: !flag(args, "headless") };
  const file: OutputFile = {
    path: outputPath(args),
    isNamed: stringOption(args, "output") !== undefined,
    force: flag(args, "force"),
    argv: context.argv,
  };
  const { recorder, writer, description } = await startRecording(args, file, host);
  const seen = watchConsole(recorder);
  try {
    const goals = liveGoals(texts, recorder, symbols);
    for (const note of goalNotes(texts)) context.output.note(note);
    announce({ machine: recorder.machine, path: file.path, args }, context);
    const name = control?.name ?? nameOfRecording(file.path);
    const onStranded = (): void =>
      noteStranded(recorder.machine, { name, isReachable: control !== undefined }, context);
    const refused = refusedStops(recorder.machine);
    const onExit = (): void => {
      const text = refused();
      if (text !== undefined) noteBesideConsole(context, `note: ${text}`);
    };
    const onHandlerError = (error: HandlerError): "end" | "pause" => {
      if (flag(args, "headless")) return "end";
      notePausedHandler(error, name, context);
      return "pause";
    };
    const session = new LiveSession({ recorder, goals, onExit, onStranded, onHandlerError, ...limits });
    const terminal = attachTerminal(session, {
      headless: flag(args, "headless") || isDetached(context.environment),
      output: context.output,
      scripted: script.length > 0,
    });
    const instance: Instance = {
      name,
      path: file.path,
      session,
      journal: writer,
      drivePaths: recordedDrivePaths(description),
      terms: termsOf(args, limits.guestTimeoutNs),
      index: args["index"] !== false,
    };
    if (flag(args, "paused")) {
      session.pauseNow();
      context.output.note(`paused before it runs; next: ${resumeCommand(name)}`);
    }
    sayReady({ name: instance.name, recording: file.path });
    const run = await runInstance(instance, control?.server).finally(() => terminal.detach());
    if (run.end.why !== "moved")
      recorder.finish({
        index: wantsIndex(args, recorder.machine.exitNumber) && !isHurried(run.end),
        by: endedBy(run.end),
        failedAt: failedExit(run.end),
      });
    await run.close(farewellOf(run.end, instance, runTerms(args)));
    // Nothing depends on the console's reader any more, however slow it is.
    await terminal.drained();
    return tellEnd(run.end, { recorder, path: file.path, args, context, seen, instance });
  } catch (error) {
    // What has been committed stays a prefix of the run; a run that never began leaves nothing.
    writer.close();
    if (recorder.machine.icount === 0) discardRecording(file.path);
    throw error;
  }
}

/** It may be meant: the VM can still be looked at, moved, and ended. */
function noteStranded(
  machine: Machine,
  { name, isReachable }: { readonly name: string; readonly isReachable: boolean },
  context: CommandContext,
): void {
  noteBesideConsole(
    context,
    `note: ${strandedText(machine)}`,
    isReachable ? `next: hvjournal ctl ${name} quit` : "next: press C-a x, or send SIGINT",
  );
}

/** The call waits, and is asked again when the VM goes on. */
function notePausedHandler({ code, message }: HandlerError, name: string, context: CommandContext): void {
  noteBesideConsole(context, `error: ${code}: ${message}`, "note: the VM is paused", `next: ${resumeCommand(name)}`);
}

/** On a terminal the guest's cursor may stand within a line, and nothing there begins a new one. */
function noteBesideConsole({ output }: CommandContext, ...lines: readonly string[]): void {
  const [begin, end] = process.stdin.isTTY ? ["\r\n", "\r"] : ["", ""];
  lines.forEach((line, index) => output.note(`${index === 0 ? begin : ""}${line}${end}`));
}

function resumeCommand(name: string): string {
  return shellCommand("hvjournal", "ctl", name, "resume");
}

/** The same command line in a process of its own. */
async function detachRecord(args: Arguments, { environment, argv: words, output }: CommandContext): Promise<ExitCode> {
  const path = outputPath(args);
  const name = checkVmName(stringOption(args, "name") ?? nameOfRecording(path));
  const argv = words.filter((word) => !/^--detach(=|$)/.test(word));
  const instance = await spawnDetached([...argv, ...(args["name"] === undefined ? ["--name", name] : [])], {
    environment,
    name,
  });
  instance.release();
  if (output.json) output.line(jsonLine({ name, processId: instance.processId, recording: path }));
  else {
    const isPaused = flag(args, "paused");
    const state = isPaused ? "is paused before it runs" : "runs in the background";
    output.line(`${name} ${state} (pid ${instance.processId}), recording ${path}`);
  }
  output.note(`next: ${flag(args, "paused") ? resumeCommand(name) : `hvjournal attach ${name}`}`);
  return ExitStatus.done;
}

function termsOf(args: Arguments, guestTimeoutNs: number | undefined): InstanceTerms {
  const [until, failOn] = [stringOption(args, "until"), stringOption(args, "fail-on")];
  const handlerTimeout = stringOption(args, "handler-timeout");
  return {
    ...(until === undefined ? {} : { until }),
    ...(failOn === undefined ? {} : { failOn }),
    ...(guestTimeoutNs === undefined ? {} : { guestTimeoutNs }),
    ...(handlerTimeout === undefined ? {} : { handlerTimeout }),
  };
}

interface Started {
  readonly recorder: Recorder;
  readonly writer: RecordingWriter;
  readonly description: MachineDescription;
}

type HostOptions = Pick<RecorderOptions, "digester" | "cadence" | "script" | "interactive">;

async function startRecording(args: Arguments, file: OutputFile, host: HostOptions): Promise<Started> {
  const from = stringOption(args, "from");
  if (from !== undefined) return startBranch(from, args, file, host);
  const { architecture, description, vmm, commands } = newMachine(args);
  clearOutput(file);
  const writer = createRecordingFile(file.path, { architecture, description });
  const recorder = orRemove(writer, () => Recorder.create({ architecture, writer, vmm, ...host }, commands));
  return { recorder, writer, description };
}

async function startBranch(from: string, args: Arguments, file: OutputFile, host: HostOptions): Promise<Started> {
  const fixed = ["image", ...Object.keys(MACHINE_OPTIONS)].filter((name) => name !== "handler");
  const given = fixed.find((name) => args[name] !== undefined);
  if (given !== undefined)
    throw new UsageError(`--from ${from} goes on with the recorded machine: --${given} can't change it`);
  const branch = await openBranch(from, args);
  try {
    const { architecture, description, parent, vmm, snapshot } = branch;
    clearOutput(file);
    const writer = createRecordingFile(file.path, { architecture, description, parent });
    const recorder = orRemove(writer, () => {
      branch.storeBase(writer);
      return Recorder.resume({ architecture, writer, vmm, ...host }, snapshot);
    });
    return { recorder, writer, description };
  } finally {
    branch.close();
  }
}

/** A machine that can't be made leaves no file behind. */
function orRemove(writer: RecordingWriter, create: () => Recorder): Recorder {
  try {
    return create();
  } catch (error) {
    writer.close();
    discardRecording(writer.path);
    if (!(error instanceof ControlRefusedError)) throw error;
    throw refusedMachine(error);
  }
}

function inputScript(args: Arguments): readonly ScriptEntry[] {
  const path = stringOption(args, "input");
  if (path === undefined) return [];
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new CliError(`can't read input ${path}: ${reason(cause)}`, { code: "no-file", cause });
  }
  return parseInputScript(text);
}

function cadence(args: Arguments): Cadence {
  const text = stringOption(args, "snapshot-every");
  if (text === undefined) return DEFAULT_CADENCE;
  const { digestEvery } = DEFAULT_CADENCE;
  const never = digestEvery * 2 ** 28;
  if (text === "0") return { digestEvery, seekPointEvery: never, fullSnapshotEvery: never, atEnd: false };
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

interface Announced {
  readonly machine: Machine;
  readonly path: string;
  readonly args: Arguments;
}

function announce({ machine, path, args }: Announced, { argv, output }: CommandContext): void {
  const { architecture, board, cpuModel, exitModel, memoryBytes, seed, boardOptions } = machine.description;
  const { rtcBaseNs } = boardOptions;
  const rtc = rtcText(typeof rtcBaseNs === "bigint" ? rtcBaseNs : 0n);
  const stop = process.stdin.isTTY ? "; C-a x stops" : "";
  output.note(
    `recording ${path}: ${architecture} ${board}, cpu ${cpuModel}, exits ${exitModel.name}, ${memoryBytes / 2 ** 20}M, seed ${seed}, rtc ${rtc}${stop}`,
  );
  // The machine of another recording has its seed and clock.
  const isNew = args["from"] === undefined;
  const again = isNew ? againCommand(argv, { seed: String(seed), rtc: `base=${rtc}` }, args) : undefined;
  if (again !== undefined) output.note(`to run it again: ${again}`);
  // A VM that is paused before it runs may still get a filter.
  const unasked = flag(args, "paused") ? undefined : unaskedHandlers(machine);
  if (unasked !== undefined) output.note(`note: ${unasked}`);
}

interface EndedVm {
  readonly recorder: Recorder;
  readonly path: string;
  readonly args: Arguments;
  readonly context: CommandContext;
  readonly seen: SeenConsole;
  readonly instance: Instance;
}

interface SeenConsole {
  readonly lastLine: LastLine;
  readonly trouble: KernelTrouble;
}

function watchConsole(recorder: Recorder): SeenConsole {
  const seen = { lastLine: new LastLine(), trouble: new KernelTrouble(recorder.machine) };
  recorder.onOutput((port, bytes) => {
    seen.lastLine.note(port, bytes);
    seen.trouble.note(port, bytes);
  });
  return seen;
}

/** What `--fail-on` stopped at is told as that. */
function untold({ seen }: KernelTrouble, end: SessionEnd): readonly Trouble[] {
  const told = end.why === "goal" ? end.goal.failure?.line : undefined;
  return seen.filter(({ line }) => told?.endsWith(line) !== true);
}

function tellEnd(end: SessionEnd, { recorder, path, args, context, seen, instance }: EndedVm): ExitCode {
  const { lastLine } = seen;
  const trouble = untold(seen.trouble, end);
  const { machine } = recorder;
  const spinning = end.why === "timeout" || end.why === "interrupted" ? spinningText(trouble, machine) : undefined;
  const troubleTexts = [...trouble.map(troubleText), ...(spinning === undefined ? [] : [spinning])];
  const { output } = context;
  const terms = runTerms(args);
  const status = exitCodeOf(end, terms);
  const missed = missedGoal(end, terms.until);
  const guestStatus = guestStatusOf(end, terms);
  const isUnindexed = isHurried(end) && wantsIndex(args, machine.exitNumber);
  const heldFromStart = end.why === "goal" && end.goal.heldFromStart?.() === true;
  const reader = openRecording(path);
  try {
    const { exitNumber, icount, guestTimeNs } = machine;
    const [events, snapshots] = [reader.end.firstSeq - 1 - (reader.header.parent?.seq ?? 0), reader.snapshots().length];
    const { events: eventBytes, snapshots: snapshotBytes } = recordingSizes(reader);
    if (output.json)
      output.line(
        jsonLine({
          recording: path,
          ended: endJson(end),
          ...(heldFromStart ? { heldFromStart } : {}),
          ...(missed === undefined ? {} : { error: "not-reached" satisfies ErrorCode, message: missed }),
          ...(end.why === "failed" ? { error: end.error.code, message: end.error.message } : {}),
          ...(guestStatus === undefined ? {} : { guestStatus }),
          ...(isUnindexed ? { indexed: false } : {}),
          ...(trouble.length > 0 && { trouble: trouble.map(({ moment, line }) => ({ ...moment, line })) }),
          ...(recorder.scriptLeft.length > 0 && { inputLeft: recorder.scriptLeft.length }),
          exit: exitNumber,
          icount,
          timeNs: guestTimeNs,
          events,
          eventBytes,
          snapshots,
          snapshotBytes,
          status,
        }),
      );
    if (end.why === "failed" && !output.json) output.error(endText(end, machine, lastLine.text), [], undefined);
    else if (end.why === "moved") noteFarewell(farewellOf(end, instance), output);
    else if (output.quiet && !output.json && missed === undefined && status !== ExitStatus.done)
      // What is quiet is quiet where all is well.
      output.error(endText(end, machine, lastLine.text), troubleTexts, undefined);
    else output.note(endText(end, machine, lastLine.text));
    if (guestStatus !== undefined) output.note(`note: exit status ${status} is the guest's own (--exit-status)`);
    for (const text of troubleTexts) output.note(`note: ${text}`);
    if (heldFromStart) output.note(`note: --${end.goal.name} ${heldFromStartText(end.goal.text)}`);
    output.note(fileText({ path, events, eventBytes, snapshots, snapshotBytes }));
    if (isUnindexed) output.note(unindexedText(path));
  } finally {
    reader.close();
  }
  if (recorder.scriptLeft.length > 0)
    output.note(
      `note: ${counted(recorder.scriptLeft.length, "line")} of ${stringOption(args, "input") ?? "the input"} never came up`,
    );
  const { kernel, description } = recorder.machine;
  const undefinedMet = undefinedText(kernel.unimplemented().keys(), description.cpuModel);
  if (undefinedMet !== undefined) output.note(`note: ${undefinedMet}`);
  const unanswered = unansweredText(recorder.live.vmm.unansweredCalls?.());
  if (unanswered !== undefined) output.note(`note: ${unanswered}`);
  tellNext(end, { recorder, path, output, trouble, missed, status });
  return status;
}

interface Told {
  readonly recorder: Recorder;
  readonly path: string;
  readonly output: Output;
  readonly trouble: readonly Trouble[];
  /** That `--until` was not reached. */
  readonly missed: string | undefined;
  readonly status: ExitCode;
}

/** What a user whose run has not ended well would do next. */
function tellNext(end: SessionEnd, { recorder, path, output, trouble, missed, status }: Told): void {
  const failed = failedExit(end);
  const cause = trouble.find(({ moment }) => failed === undefined || moment.exitNumber < failed);
  const next = showCommand(path, `exit:${cause?.moment.exitNumber ?? failed ?? recorder.machine.exitNumber}`);
  if (missed !== undefined && !output.json)
    output.error(
      missed,
      output.quiet ? trouble.map(troubleText) : [],
      cause === undefined ? shellCommand("hvjournal", "log", path, "--console") : next,
    );
  else if (end.why === "failed") {
    output.note("note: the call waits; once the handler is mended, the VM goes on from there");
    output.note(`next: ${shellCommand("hvjournal", "record", "--from", path, ...mendedHandlers(recorder.machine))}`);
  } else if (status === ExitStatus.no || cause !== undefined) output.note(`next: ${next}`);
}

function runTerms(args: Arguments): RunTerms {
  return { until: stringOption(args, "until"), exitStatus: flag(args, "exit-status") };
}

/** All of them again: those that are given take the place of the recorded ones. */
function mendedHandlers({ description }: Machine): string[] {
  return recordedHandlers(description).flatMap(({ name }) => ["--handler", name]);
}

function endJson(end: SessionEnd): unknown {
  if (end.why === "failed") return { why: end.why, handler: end.error.handler };
  if (end.why !== "goal" || end.goal.failure === undefined) return end;
  const { name, text, failure } = end.goal;
  return { why: end.why, goal: { name, text, ...failure.moment, line: failure.line } };
}

function noteFarewell({ text, next }: Farewell, output: Output): void {
  output.note(text);
  if (next !== undefined) output.note(`next: ${next}`);
}

function wantsIndex(args: Arguments, exits: number): boolean {
  return args["index"] !== false && exits <= INDEX_EXITS_MAX;
}
