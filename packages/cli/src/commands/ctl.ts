/** `hvjournal ctl`: tells a running VM what to do. */
import { formatGuestTime } from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { type ControlClient, connectVm } from "../vm/control-client.js";
import type { VmStatus } from "../vm/control-protocol.js";
import { type Arguments, type Command, type CommandContext, listOption, stringOption, textOption } from "./command.js";

/** Commands of the VMM's surface, each with one argument. */
const CONTROL_WORDS: ReadonlySet<string> = new Set(["cap", "one-reg", "msr-filter", "smccc-filter", "irq"]);

export const ctl: Command = {
  usage: "ctl <vm> <action> [argument..]",
  summary: "tell a running VM what to do",
  options: (yargs) =>
    yargs
      .usage(
        "usage: $0 ctl VM [--at POSITION] pause\n       $0 ctl VM resume | snapshot | quit\n       $0 ctl VM cap NAME[=ARG,...] | one-reg NAME=VALUE | smccc-filter BASE+COUNT=ACTION",
      )
      .positional("vm", { type: "string", describe: "name, or path of its control socket" })
      .positional("action", { type: "string", describe: "what to do" })
      .positional("argument", { type: "string", array: true })
      .option("at", textOption("POSITION at which to pause: exit:, icount:, time:, console: or hypercall:")),
  run: runCtl,
};

async function runCtl(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const vm = stringOption(args, "vm") ?? "";
  const action = stringOption(args, "action") ?? "";
  const words = listOption(args, "argument");
  checkWords(action, words, stringOption(args, "at"));
  const client = await connectVm(context.environment, vm);
  try {
    await carryOut(client, { vm, action, words, at: stringOption(args, "at") }, context);
    return ExitStatus.done;
  } finally {
    client.close();
  }
}

function checkWords(action: string, words: readonly string[], at: string | undefined): void {
  if (at !== undefined && action !== "pause") throw new UsageError(`--at ${at} goes with pause, not with ${action}`);
  if (CONTROL_WORDS.has(action)) {
    if (words.length !== 1) throw new UsageError(`ctl ${action} takes one argument, ${words.length} are given`);
  } else if (!["pause", "resume", "snapshot", "quit"].includes(action))
    throw new UsageError(
      `ctl has no ${action}: pause, resume, snapshot, quit, ${[...CONTROL_WORDS].join(", ")}`,
      "hvjournal ctl --help",
    );
  else if (words.length > 0) throw new UsageError(`ctl ${action} takes no argument: ${words.join(" ")}`);
}

interface Wish {
  readonly vm: string;
  readonly action: string;
  readonly words: readonly string[];
  readonly at: string | undefined;
}

async function carryOut(
  client: ControlClient,
  { vm, action, words, at }: Wish,
  { output }: CommandContext,
): Promise<void> {
  if (CONTROL_WORDS.has(action)) {
    const { lines } = await client.request("control", { word: action, text: words[0] ?? "" });
    for (const line of Array.isArray(lines) ? lines : [])
      output.line(output.json ? jsonLine({ event: line }) : String(line));
    return;
  }
  const answer = await client.request(action, at === undefined ? {} : { at }, ({ waitsFor, since }) => {
    if (typeof waitsFor === "string")
      output.note(`note: ${vm} pauses at ${waitsFor}, looked for from ${String(since)} on`);
  });
  if (action === "quit") {
    // Its recording is closed when it has closed the connection.
    await client.closed;
    return;
  }
  const status = answer as VmStatus;
  if (output.json) output.line(jsonLine(answer));
  else
    output.line(`${status.name} ${toldState(action, answer)} at ${status.at} time:${formatGuestTime(status.timeNs)}`);
}

function toldState(
  action: string,
  { state, snapshot }: { readonly state?: unknown; readonly snapshot?: unknown },
): string {
  return action === "snapshot" ? `snapshot:${String(snapshot)}` : String(state);
}
