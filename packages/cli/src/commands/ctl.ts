/** `hvjournal ctl`: tells a running VM what to do. */
import { formatGuestTime, nearestWord, parseGuestTime } from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { CliError, UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { type ControlClient, connectVm } from "../vm/control-client.js";
import type { VmStatus } from "../vm/control-protocol.js";
import { withLongAct } from "../vm/long-act.js";
import { wentAwayError } from "../vm/gone-vm.js";
import { type Arguments, type Command, type CommandContext, listOption, stringOption, textOption } from "./command.js";

/** Commands of the VMM's surface, each with one argument; which of them a VM knows is for its architecture to say. */
const CONTROL_WORDS: ReadonlySet<string> = new Set([
  "cap",
  "policy",
  "eventfd",
  "ioeventfd",
  "one-reg",
  "firmware-reg",
  "smccc-filter",
  "pvtime-ipa",
  "msr-filter",
  "cpuid",
  "hv",
  "hv-eventfd",
  "xen",
]);
const VM_ACTIONS: readonly string[] = ["pause", "resume", "snapshot", "quit"];
const ACTIONS: readonly string[] = [...VM_ACTIONS, ...CONTROL_WORDS];

const HELP = `Actions:
  pause                           stand still now; with --at, at a moment to come
  resume                          go on
  snapshot                        take a full snapshot
  quit                            end the VM and close its recording
  cap NAME[=ARG,...]              KVM_ENABLE_CAP: ARM_SYSTEM_SUSPEND; X86_USER_SPACE_MSR=7
  policy NAME=VALUE               what upstream KVM does not have: hvjournal help policies
  eventfd new                     an eventfd, by the number that the event tells
  ioeventfd mmio|pio:ADDR[+BYTES][=DATA],fd=N[,deassign]
                                  KVM_IOEVENTFD: such a write signals an eventfd instead of leaving to the VMM
of an arm64 VM:
  one-reg NAME=VALUE              KVM_SET_ONE_REG, a firmware register: PSCI_VERSION=0x10000; also by the name firmware-reg
  smccc-filter BASE+COUNT=ACTION  handle, deny or forward, before the VM runs: record --paused
  pvtime-ipa VCPU=ADDRESS         KVM_ARM_VCPU_PVTIME_IPA: where the guest finds the vCPU's stolen time
of an amd64 VM:
  msr-filter BASE+COUNT=ACCESS    KVM_X86_SET_MSR_FILTER: rw, r, w or -, before or behind the start: the next access follows it
  cpuid LEAF[.SUBLEAF]:REG=VALUE  KVM_SET_CPUID2, before the VM runs: record --paused
  hv FEATURE[,...]                Hyper-V's enlightenments in its CPUID, before the VM runs
  hv-eventfd CONNECTION,fd=N      KVM_HYPERV_EVENTFD: so does HvCallSignalEvent; CONNECTION,deassign
  xen MSR|off                     KVM_XEN_HVM_CONFIG: the page of Xen's calls by this MSR, and they leave to the VMM

What the VM refuses changes nothing and is no event. A forwarded call is answered by the VM's handlers (record --handler),
else by the board as its interface answers one that nobody knows: by SMCCC x0 = -1, NOT_SUPPORTED. A VM that is paused because its handler failed asks it again on resume.`;

export const ctl: Command = {
  usage: "ctl <vm> <action> [argument..]",
  summary: "tell a running VM what to do",
  options: (yargs) =>
    yargs
      .usage("usage: $0 ctl VM ACTION [ARGUMENT]\n       $0 ctl VM pause [--at POSITION [--timeout TIME]]")
      .positional("vm", { type: "string", describe: "name, or path of its control socket" })
      .positional("action", { type: "string", describe: "what to do" })
      .positional("argument", { type: "string", array: true })
      .option("at", textOption("POSITION at which to pause: exit:, icount:, time:, console: or hypercall:"))
      .option("timeout", textOption("with --at: give up after this time of the wall clock, without a pause"))
      .epilogue(HELP),
  run: runCtl,
};

async function runCtl(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const vm = stringOption(args, "vm") ?? "";
  const action = stringOption(args, "action") ?? "";
  const words = listOption(args, "argument");
  const [at, timeoutMs] = [stringOption(args, "at"), timeoutOption(args)];
  checkWords(action, words, at);
  return withLongAct({ act: `ctl ${vm} ${action}`, total: 0, output: context.output }, (act) =>
    act.wait((left) => tell({ vm, action, words, at }, { timeoutMs, left }, context)),
  );
}

async function tell(wish: Wish, { timeoutMs, left }: Patience, context: CommandContext): Promise<ExitCode> {
  const { vm, at } = wish;
  const client = await connectVm(context.environment, vm);
  // The VM forgets the pause that nobody waits for.
  left.addEventListener("abort", () => client.close());
  if (left.aborted) client.close();
  try {
    return await withTimeout({ vm, at, timeoutMs, client }, () => carryOut(client, wish, context));
  } catch (error) {
    throw error instanceof CliError && error.code === "vm-ended"
      ? wentAwayError(context.environment, vm, error)
      : error;
  } finally {
    client.close();
  }
}

/** Milliseconds. */
function timeoutOption(args: Arguments): number | undefined {
  const text = stringOption(args, "timeout");
  if (text === undefined) return undefined;
  if (stringOption(args, "at") === undefined)
    throw new UsageError(`--timeout ${text} goes with --at: everything else is done at once`);
  const ns = parseGuestTime(text);
  if (ns === undefined || ns === 0) throw new UsageError(`--timeout ${text}: expected a time such as 60s or 500ms`);
  return ns / 1e6;
}

interface Patience {
  readonly timeoutMs: number | undefined;
  /** Aborts when the user does not wait any more. */
  readonly left: AbortSignal;
}

interface Wait {
  readonly vm: string;
  readonly at: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly client: ControlClient;
}

async function withTimeout({ vm, at, timeoutMs, client }: Wait, act: () => Promise<ExitCode>): Promise<ExitCode> {
  if (timeoutMs === undefined) return act();
  let timer: NodeJS.Timeout | undefined;
  const ranOut = new Promise<"ran out">((resolve) => {
    timer = setTimeout(() => resolve("ran out"), timeoutMs);
  });
  try {
    const first = await Promise.race([act(), ranOut]);
    if (first !== "ran out") return first;
  } finally {
    clearTimeout(timer);
  }
  const status = await client.status();
  throw new CliError(
    `${vm} has not come to ${at ?? ""} within ${timeoutMs / 1000} s: it is ${status.state} at ${status.at}, and does not pause there any more`,
    { code: "timeout", status: ExitStatus.timeout, position: status.at, next: `hvjournal ctl ${vm} pause` },
  );
}

function checkWords(action: string, words: readonly string[], at: string | undefined): void {
  if (at !== undefined && action !== "pause") throw new UsageError(`--at ${at} goes with pause, not with ${action}`);
  if (CONTROL_WORDS.has(action)) {
    if (words.length !== 1) throw new UsageError(`ctl ${action} takes one argument, ${words.length} are given`);
  } else if (!VM_ACTIONS.includes(action)) throw unknownAction(action);
  else if (words.length > 0) throw new UsageError(`ctl ${action} takes no argument: ${words.join(" ")}`);
}

function unknownAction(action: string): UsageError {
  const near = nearestWord(action, ACTIONS);
  const advice = near === undefined ? `: ${ACTIONS.join(", ")}` : `; did you mean ${near}?`;
  return new UsageError(`ctl has no ${action}${advice}`, "hvjournal ctl --help");
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
): Promise<ExitCode> {
  if (CONTROL_WORDS.has(action)) {
    const { lines } = await client.request("control", { word: action, text: words[0] ?? "" });
    for (const line of Array.isArray(lines) ? lines : [])
      output.line(output.json ? jsonLine({ event: line }) : String(line));
    return ExitStatus.done;
  }
  const answer = await client.request(action, at === undefined ? {} : { at }, ({ waitsFor, since, state }) => {
    if (typeof waitsFor === "string")
      output.note(`note: ${vm} pauses at ${waitsFor}, looked for from ${String(since)} on${whilePaused(vm, state)}`);
  });
  const status = answer as VmStatus;
  if (action === "quit") await tellQuit(client, status, output);
  else if (output.json) output.line(jsonLine(answer));
  else
    output.line(`${status.name} ${toldState(action, answer)} at ${status.at} time:${formatGuestTime(status.timeNs)}`);
  return ExitStatus.done;
}

function whilePaused(vm: string, state: unknown): string {
  return state === "paused" ? `; it is paused now, and goes on by: hvjournal ctl ${vm} resume` : "";
}

/** The recording is closed when the VM has closed the connection: only then is it known where it ends. */
async function tellQuit(client: ControlClient, { name, state, recording }: VmStatus, output: Output): Promise<void> {
  await client.closed;
  if (state === "receiving") {
    if (output.json) output.line(jsonLine({ name, state: "ended" }));
    else output.line(`${name} waits for no VM any more`);
    return;
  }
  const reader = openRecording(recording);
  try {
    const { exitNumber, icount } = reader.end;
    const ended = { name, state: "ended", recording, exit: exitNumber, icount, at: `icount:${icount}` };
    if (output.json) output.line(jsonLine(ended));
    else output.line(`${name} ended at exit:${exitNumber} icount:${icount}, recorded in ${recording}`);
  } finally {
    reader.close();
  }
}

function toldState(
  action: string,
  { state, snapshot }: { readonly state?: unknown; readonly snapshot?: unknown },
): string {
  return action === "snapshot" ? `snapshot:${String(snapshot)}` : String(state);
}
