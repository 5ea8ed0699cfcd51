/** `hvjournal receive`: waits for a VM that moves here, and runs it. */
import { MigrationRefusedError, shellWord } from "@hvjournal/core";
import { existsSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { CliError, UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { connectAddress, listenAt, type Listener } from "../migration/addresses.js";
import { HANDLER_OPTION, HANDLER_TIMEOUT_OPTION, handlerWords, loadHandlers } from "../handlers/handler-option.js";
import { continueInstance } from "../migration/continue-recording.js";
import { IncomingVm, type ReceiveOptions } from "../migration/receive-vm.js";
import type { Output } from "../output/console-output.js";
import { ControlServer } from "../vm/control-server.js";
import { isDetached, onStarterGone, reportingToStarter, sayReady, spawnDetached } from "../vm/detached.js";
import { finishInstance } from "../vm/finish-instance.js";
import type { Instance } from "../vm/instance.js";
import { checkHostName, hostOption } from "../vm/host-option.js";
import { runInstance } from "../vm/run-instance.js";
import { attachTerminal } from "../vm/terminal.js";
import { checkVmName, nameOfRecording, receiveSocketPath } from "../vm/vm-directory.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flagOption,
  listOption,
  stringOption,
  textOption,
} from "./command.js";

const DEFAULT_NAME = "dst";

export const receive: Command = {
  usage: "receive",
  summary: "wait for a VM that moves here",
  options: (yargs) =>
    yargs
      .option("name", textOption("name of the VM (default: the recording's)"))
      .option("output", { ...textOption(`recording (NAME.hvj; without a name ${DEFAULT_NAME}.hvj)`), alias: "o" })
      .option("listen", textOption("unix:PATH, tcp:HOST:PORT, or - for standard input and output"))
      .option("drive", textOption("ID=PATH: where a drive's image is; repeatable"))
      .option("host", textOption("simulated host here (one like the source's)"))
      .option("host-vendor", textOption("intel or amd: the CPUs of the simulated host here"))
      .option("handler", HANDLER_OPTION)
      .option("handler-timeout", HANDLER_TIMEOUT_OPTION)
      .option("index", { type: "boolean", default: true, describe: "write tables for the stock sqlite3 at the end" })
      .option("continue", flagOption("no VM comes: the one that the recording owns goes on in it")),
  run: (args, context) => reportingToStarter(context.environment, () => runReceive(args, context)),
};

function receiveOptions(args: Arguments): ReceiveOptions {
  const output = stringOption(args, "output");
  const given = stringOption(args, "name");
  const name = checkVmName(given ?? (output === undefined ? DEFAULT_NAME : nameOfRecording(output)));
  const path = output ?? `${name}.hvj`;
  const { handler, "handler-timeout": timeout, json } = args;
  const handlers = { handler, "handler-timeout": timeout, json, output: path };
  // What is wrong with them is said before anybody sends a VM.
  loadHandlers(listOption(args, "handler"), handlers);
  return {
    name,
    path,
    drives: listOption(args, "drive"),
    handlers,
    index: args["index"] !== false,
    host: checkHostName(hostOption(args)),
  };
}

async function runReceive(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const options = receiveOptions(args);
  const listen = stringOption(args, "listen");
  if (args["continue"] === true) {
    if (listen !== undefined) throw new UsageError(`--listen ${listen} does not go with --continue`);
    return runContinued(options, context);
  }
  if (listen === "-") return relay(options, args, context);
  const control = await ControlServer.listen(context.environment, options.name, options.path);
  let instance: Instance | undefined;
  try {
    instance = await receiveOne(options, { listen, control }, context);
    return instance === undefined ? ExitStatus.done : await runHere(instance, control, context);
  } finally {
    const what = instance === undefined ? `no VM came to ${options.name}` : `${options.name} has broken off`;
    await control.close({ text: what });
  }
}

async function receiveOne(
  options: ReceiveOptions,
  { listen, control }: { readonly listen: string | undefined; readonly control: ControlServer },
  { environment, output }: CommandContext,
): Promise<Instance | undefined> {
  const listener = await listenAt(listen ?? `unix:${receiveSocketPath(environment, options.name)}`);
  if (isDetached(environment)) giveUpWithStarter(listener);
  else
    output.note(
      `waiting for a VM at ${listener.address}; it comes by: hvjournal migrate VM ${shellWord(listener.address)}`,
    );
  sayReady({ name: options.name, address: listener.address });
  let incoming: IncomingVm | undefined;
  let isOver = false;
  control.quitReceiving = () => {
    isOver = incoming?.sendAway("ctl quit") ?? true;
    if (isOver) listener.close();
    return isOver;
  };
  try {
    for (;;) {
      const connection = await listener.accept();
      if (connection === undefined) return undefined;
      incoming = new IncomingVm(connection, options);
      const instance = await receiveUnlessRefused(incoming, output, () => isOver);
      incoming = undefined;
      // One that was started for a move ends with it.
      if (instance !== undefined || isDetached(environment)) return instance;
    }
  } finally {
    listener.close();
  }
}

/** undefined: the source only asked, or may come again once the reason for which it was refused is gone; or it was sent away. */
async function receiveUnlessRefused(
  incoming: IncomingVm,
  output: Output,
  isSentAway: () => boolean,
): Promise<Instance | undefined> {
  try {
    const instance = await incoming.receive();
    if (instance === undefined) output.note("note: somebody asked what would block a move (--explain); still waiting");
    return instance;
  } catch (error) {
    if (isSentAway()) return undefined;
    if (!(error instanceof MigrationRefusedError)) throw error;
    output.note(`note: refused a VM: ${error.message}; still waiting`);
    return undefined;
  }
}

/** Nobody will come any more. */
function giveUpWithStarter(listener: Listener): void {
  onStarterGone(() => listener.close());
}

async function runContinued(options: ReceiveOptions, context: CommandContext): Promise<ExitCode> {
  if (!existsSync(options.path))
    throw new CliError(`can't go on with ${options.path}: no such file`, { code: "no-file" });
  const control = await ControlServer.listen(context.environment, options.name, options.path);
  let instance: Instance | undefined;
  try {
    instance = await continueInstance(options);
    sayReady({ name: options.name });
    return await runHere(instance, control, context);
  } finally {
    const what = instance === undefined ? `${options.name} did not go on` : `${options.name} has broken off`;
    await control.close({ text: what });
  }
}

async function runHere(instance: Instance, control: ControlServer, context: CommandContext): Promise<ExitCode> {
  const { session, path } = instance;
  const { architecture, board } = session.recorder.machine.description;
  const paused = session.paused ? "; it is paused, as it was" : "";
  context.output.note(`received ${instance.name}: ${architecture} ${board}, recording ${path}${paused}`);
  if (session.paused) context.output.note(`next: hvjournal ctl ${instance.name} resume`);
  const isInteractive = session.recorder.isInteractive && !isDetached(context.environment);
  session.onPausedBy.add((reason) => {
    context.output.note(`note: ${instance.name} is paused: ${reason}`);
    context.output.note(`next: hvjournal ctl ${instance.name} resume`);
  });
  const terminal = attachTerminal(session, { headless: !isInteractive, output: context.output, scripted: false });
  const run = await runInstance(instance, control).finally(() => terminal.detach());
  return finishInstance(instance, { ...run, drained: () => terminal.drained() }, context);
}

/** Standard input and output carry the VM here; it runs in a process of its own, and outlives this one. */
async function relay(options: ReceiveOptions, args: Arguments, { environment }: CommandContext): Promise<ExitCode> {
  const path = receiveSocketPath(environment, options.name);
  const drives = listOption(args, "drive").flatMap((drive) => ["--drive", drive]);
  const argv = [
    ...["receive", "--name", options.name, "-o", options.path, "--listen", `unix:${path}`],
    ...drives,
    ...handlerWords(args),
  ];
  if (options.host !== undefined) argv.push("--host", options.host);
  const instance = await spawnDetached(argv, { environment, name: options.name });
  const { stream } = await connectAddress({ by: "unix", path });
  await Promise.allSettled([pipeline(process.stdin, stream), pipeline(stream, process.stdout)]);
  // Not before: an instance whose starter is gone no longer waits, and might not have seen the connection yet.
  instance.release();
  return ExitStatus.done;
}
