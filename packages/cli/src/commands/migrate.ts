/** `hvjournal migrate`: moves a VM to a fresh instance. */
import { shellCommand } from "@hvjournal/core";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Argv } from "yargs";
import { CliError, UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { type MigrationAddress, parseAddress } from "../migration/addresses.js";
import { answerError, answerThere } from "../migration/answer-there.js";
import {
  checkRecording,
  explainRecording,
  migrateRecording,
  prepareRecording,
  type RecordedMove,
  type RecordedSource,
} from "../migration/continue-recording.js";
import {
  explanationJson,
  type MigrationOptions,
  migrationOptions,
  optionsJson,
  reportJson,
} from "../migration/migration-options.js";
import { interruptedMove, moveError, type MoveSource } from "../migration/move-error.js";
import { blocks, type Explanation, explanationOf, type Report, reportOf } from "../migration/migration-report.js";
import { HANDLER_OPTION, HANDLER_TIMEOUT_OPTION, handlerWords } from "../handlers/handler-option.js";
import { forceReclaim } from "../migration/force-reclaim.js";
import { resolveMove } from "../migration/resolve-move.js";
import { unlessLeft } from "../migration/unless-left.js";
import { jsonLine } from "../output/console-output.js";
import { explanationLines, progressText, reportLines } from "../output/migration-text.js";
import { StoppingSignals } from "../host/stopping-signals.js";
import { asCliError } from "../report-error.js";
import { type ControlClient, findVm, runningVms } from "../vm/control-client.js";
import type { JsonObject } from "../vm/control-protocol.js";
import { type DetachedInstance, spawnDetached } from "../vm/detached.js";
import { checkHostName, hostOption } from "../vm/host-option.js";
import { checkVmName, freshName, nameOfRecording, receiveSocketPath } from "../vm/vm-directory.js";
import { attachTo } from "./attach.js";
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

/** How long a destination that is given up is waited for: one that may own the VM goes on. In milliseconds. */
const GIVEN_UP_MS = 5000;

export const migrate: Command = {
  usage: "migrate <src> [dst]",
  summary: "move a VM to a fresh instance",
  options: (yargs: Argv) =>
    yargs
      .positional("src", { type: "string", describe: "a running VM, or a recording at its end" })
      .positional("dst", {
        type: "string",
        describe: "a new name or file, or unix:PATH, tcp:HOST:PORT, exec:COMMAND, ssh:HOST[/NAME]",
      })
      .option("explain", flagOption("only say what the two ends differ in"))
      .option("downtime-limit", textOption("milliseconds that the guest may stand still (300)"))
      .option("max-time", textOption("stop the guest after this time, whatever the downtime"))
      .option("timeout", textOption("give up after this time"))
      .option("bandwidth", textOption("bytes a second, for pages: 100M"))
      .option("throttle", {
        type: "boolean",
        default: true,
        describe: "slow the source down where the destination can't follow",
      })
      .option("drive", textOption("ID=PATH: where a drive's image is at the destination; repeatable"))
      .option("host", textOption("simulated host of the new instance (one like the source's)"))
      .option("host-vendor", textOption("intel or amd: the CPUs of the new instance's simulated host"))
      .option("handler", {
        ...HANDLER_OPTION,
        describe: "as of record, at the destination: answers calls from there on",
      })
      .option("handler-timeout", HANDLER_TIMEOUT_OPTION)
      .option("attach", flagOption("attach to the VM where it has gone"))
      .option("resolve", flagOption("decide a move that is in doubt, from the recordings SRC and DST"))
      .option("force-reclaim", flagOption("the destination is lost: SRC owns its VM again"))
      .option("lose", textOption("with --force-reclaim: event:N, up to which DST has gone on, is given up")),
  run: runMigrate,
};

async function runMigrate(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const src = stringOption(args, "src") ?? "";
  const dst = stringOption(args, "dst");
  const lose = stringOption(args, "lose");
  if (flag(args, "force-reclaim")) return forceReclaim({ src, dst, lose, drives: listOption(args, "drive") }, context);
  if (lose !== undefined) throw new UsageError(`--lose ${lose} goes with --force-reclaim`);
  if (dst === undefined)
    throw new UsageError("migrate needs a destination", shellCommand("hvjournal", "migrate", src, freshName(src)));
  if (flag(args, "resolve")) return resolveMove(src, dst, listOption(args, "drive"), context);
  const options = migrationOptions(args);
  const source = await findSource(src, context);
  const signals = new StoppingSignals();
  try {
    if (source.is === "recording") await prepare(recordedSource(source, args), args, context);
    await checkElsewhere(source, dst, context);
    return await moveTo(dst, { source, options, left: signals.left }, args, context);
  } catch (error) {
    throw signals.name === undefined ? error : interruptedMove(error);
  } finally {
    signals.close();
    if (source.is === "vm") source.client.close();
  }
}

/** Throws CliError that says who owns the VM. */
async function moveTo(dst: string, wish: Wish, args: Arguments, context: CommandContext): Promise<ExitCode> {
  const { source, left } = wish;
  let destination: Destination | undefined;
  try {
    destination = await openDestination(dst, left, args, context);
    return await move({ ...wish, destination }, args, context);
  } catch (error) {
    await destination?.giveUp();
    const told = asCliError(error);
    // What became of it is in its recording, once that is closed.
    if (source.is === "vm" && told.code === "vm-ended") await source.client.closed;
    throw moveError(told, { source, dst, host: hostOption(args) });
  }
}

function recordedSource({ path }: MoveSource, args: Arguments): RecordedSource {
  return { path, drives: listOption(args, "drive") };
}

/** `--explain` changes nothing, and refuses what a move would. */
async function prepare(source: RecordedSource, args: Arguments, { output }: CommandContext): Promise<void> {
  if (flag(args, "explain")) return checkRecording(source);
  await prepareRecording(source, (text) => output.note(`note: ${text}`));
}

type Source = MoveSource & ({ readonly is: "vm"; readonly client: ControlClient } | { readonly is: "recording" });

/** A VM that runs under this name, that records into this file, or the file itself. */
async function findSource(src: string, { environment }: CommandContext): Promise<Source> {
  const isFile = existsSync(src) && statSync(src).isFile();
  if (!isFile) {
    const client = await findVm(environment, src);
    if (client !== undefined) return { is: "vm", name: src, path: (await client.status()).recording, client };
  }
  const path = isFile || src.endsWith(".hvj") ? src : `${src}.hvj`;
  if (!existsSync(path))
    throw new CliError(`no VM named ${src} runs, and there is no recording ${path}`, {
      code: "no-vm",
      next: "hvjournal ps",
    });
  const running = (await runningVms(environment)).find(({ recording }) => recording === resolve(path));
  const client = running === undefined ? undefined : await findVm(environment, running.name);
  if (running !== undefined && client !== undefined) return { is: "vm", name: running.name, path, client };
  return { is: "recording", name: nameOfRecording(path), path };
}

/** A fresh instance needs a name and a file of its own. Throws CliError: nothing is touched. */
async function checkElsewhere(source: Source, dst: string, { environment }: CommandContext): Promise<void> {
  if (parseAddress(dst) !== undefined) return;
  const path = dst.endsWith(".hvj") ? dst : `${dst}.hvj`;
  const name = checkVmName(nameOfRecording(path));
  const next = shellCommand("hvjournal", "migrate", source.name, freshName(path));
  const isItself = resolve(path) === resolve(source.path) || (source.is === "vm" && name === source.name);
  if (isItself)
    throw new CliError(`can't migrate ${source.name} to ${dst}: it is there already`, {
      ...{ code: "same", status: ExitStatus.no, next },
    });
  const running = await findVm(environment, name);
  running?.close();
  if (running !== undefined)
    throw new CliError(`can't migrate ${source.name} to ${dst}: a VM named ${name} runs already`, {
      ...{ code: "name-taken", status: ExitStatus.no, next },
    });
}

interface Destination {
  readonly address: string;
  readonly parsed: MigrationAddress;
  /** The VM runs there. */
  release(): void;
  /** And waits until its name is free again: the same command may come next. */
  giveUp(): Promise<void>;
}

async function openDestination(
  dst: string,
  left: AbortSignal,
  args: Arguments,
  { environment }: CommandContext,
): Promise<Destination> {
  const parsed = parseAddress(dst);
  const drives = listOption(args, "drive");
  const host = checkHostName(hostOption(args));
  const handlers = handlerWords(args);
  if (parsed !== undefined) {
    if (host !== undefined)
      throw new UsageError(
        `--host goes with a new instance here; at ${dst} its receive is told: receive --host ${host}`,
      );
    if (drives.length > 0)
      throw new UsageError(`--drive goes with a new instance here; at ${dst} its receive is told: receive --drive`);
    if (handlers.length > 0)
      throw new UsageError(`--handler goes with a new instance here; at ${dst} its receive is told: receive --handler`);
    return { address: dst, parsed, release: () => undefined, giveUp: () => Promise.resolve() };
  }
  const path = dst.endsWith(".hvj") ? dst : `${dst}.hvj`;
  const name = checkVmName(nameOfRecording(path));
  const socket = receiveSocketPath(environment, name);
  const argv = ["receive", "--name", name, "-o", path, "--listen", `unix:${socket}`, ...handlers];
  for (const drive of drives) argv.push("--drive", drive);
  if (host !== undefined) argv.push("--host", host);
  const instance: DetachedInstance = await unlessLeft(left, spawnDetached(argv, { environment, name }), (late) =>
    late.release(),
  );
  return {
    address: `unix:${socket}`,
    parsed: { by: "unix", path: socket },
    release: () => instance.release(),
    async giveUp() {
      // It ends by itself when the channel closes; one that nobody has reached does not.
      instance.release();
      await instance.ended(GIVEN_UP_MS);
    },
  };
}

interface Wish {
  readonly source: Source;
  readonly options: MigrationOptions;
  /** Aborts where the user wants no move any more. */
  readonly left: AbortSignal;
}

interface Move extends Wish {
  readonly destination: Destination;
}

async function move(wish: Move, args: Arguments, context: CommandContext): Promise<ExitCode> {
  const { source, destination, left } = wish;
  const { output } = context;
  if (flag(args, "explain")) {
    const explanation = await unlessLeft(left, explain(wish, args));
    await destination.giveUp();
    if (output.json) output.line(jsonLine(explanation));
    else for (const line of explanationLines(explanation)) output.line(line);
    return blocks(explanation) ? ExitStatus.no : ExitStatus.done;
  }
  const report = await carryOut(wish, args, context);
  destination.release();
  if (left.aborted) output.note(`note: ${String(left.reason)} too late: the VM has moved`);
  const there = await answerThere(report, context.environment);
  if (there.is === "failed" && output.json) throw answerError(there, source.name, report);
  if (output.json) output.line(jsonLine(report));
  else for (const line of reportLines(report, source.name, there)) output.line(line);
  if (there.is === "failed") throw answerError(there, source.name, report);
  if (flag(args, "attach")) return attachTo(report.destination.name, context);
  return ExitStatus.done;
}

function onProgress({ output }: CommandContext): (event: JsonObject) => void {
  return ({ progress, behindMs }) => {
    if (typeof progress === "string") output.progress(progressText(progress, behindMs));
  };
}

async function carryOut(
  { source, destination, options, left }: Move,
  args: Arguments,
  context: CommandContext,
): Promise<Report> {
  const tell = onProgress(context);
  if (source.is === "vm") {
    const { client } = source;
    const moving = client.request("migrate", { to: destination.address, ...optionsJson(options) }, tell);
    // Whether it came in time is for the source to say: it answers what became of the move.
    const cancel = (): void => void client.request("cancel-move", { why: String(left.reason) }).catch(() => undefined);
    left.addEventListener("abort", cancel);
    if (left.aborted) cancel();
    return reportOf(await moving);
  }
  const recordedMove: RecordedMove = {
    ...{ address: destination.parsed, options, left },
    onProgress: (progress) => tell({ progress: progress.step }),
  };
  return reportOf(reportJson(await migrateRecording(recordedSource(source, args), recordedMove)));
}

async function explain({ source, destination, options, left }: Move, args: Arguments): Promise<Explanation> {
  if (source.is === "vm")
    return explanationOf(await source.client.request("explain", { to: destination.address, ...optionsJson(options) }));
  const recordedMove: RecordedMove = {
    ...{ address: destination.parsed, options, left },
    onProgress: () => undefined,
  };
  return explanationOf(explanationJson(await explainRecording(recordedSource(source, args), recordedMove)));
}
