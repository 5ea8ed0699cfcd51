/** `hvjournal attach`: the console of a running VM. */
import { shellCommand } from "@hvjournal/core";
import { ExitStatus, type ExitCode } from "../exit-status.js";
import { stdoutConsole } from "../output/live-console.js";
import { type ControlClient, connectVm } from "../vm/control-client.js";
import type { JsonObject } from "../vm/control-protocol.js";
import type { Command, CommandContext } from "./command.js";
import { stringOption } from "./command.js";

const ESCAPE = 1;
const HELP = ["C-a d  detach", "C-a x  stop the VM and close its recording", "C-a h  this help", "C-a a  send C-a"];

export const attach: Command = {
  usage: "attach <vm>",
  summary: "the console of a running VM",
  options: (yargs) => yargs.positional("vm", { type: "string", describe: "name, or path of its control socket" }),
  run: (args, context) => attachTo(stringOption(args, "vm") ?? "", context),
};

/** Comes back when the VM ends (with its exit status), goes elsewhere, or the user detaches. */
export async function attachTo(vm: string, context: CommandContext): Promise<ExitCode> {
  const { output, environment } = context;
  const client = await connectVm(environment, vm);
  let detach = (): void => undefined;
  const detached = new Promise<undefined>((resolve) => {
    detach = () => resolve(undefined);
  });
  const console = stdoutConsole((reason) => output.note(`note: the console goes nowhere any more: ${reason}`));
  const onOutput = ({ attached, output: bytes, leftOut, paused }: JsonObject): void | Promise<void> => {
    if (attached === true)
      output.note(`attached to ${vm}${process.stdin.isTTY ? "; C-a d detaches, C-a h helps" : ""}`);
    if (typeof leftOut === "number")
      output.note(`note: ${leftOut} bytes left out, they came too fast; hvjournal log --console has them`);
    if (typeof paused === "string") {
      output.note(`note: ${vm} is paused: ${paused}`);
      output.note(`next: ${shellCommand("hvjournal", "ctl", vm, "resume")}`);
    }
    if (typeof bytes === "string") console.write(Buffer.from(bytes, "base64"));
    return console.behind();
  };
  const ended = client.request("attach", {}, onOutput);
  // The answer to a request that is never awaited may be that the VM has ended.
  ended.catch(() => undefined);
  const keyboard = attachKeyboard(client, context, detach);
  try {
    const farewell = await Promise.race([ended, detached]);
    if (farewell === undefined) return ExitStatus.done;
    await Promise.race([console.drained(), detached]);
    sayFarewell(farewell, context);
    const { status } = farewell;
    return typeof status === "number" ? status : ExitStatus.done;
  } finally {
    keyboard.release();
    client.close();
  }
}

function sayFarewell({ text, next }: JsonObject, { output }: CommandContext): void {
  if (typeof text === "string") output.note(text);
  if (typeof next === "string") output.note(`next: ${next}`);
}

function attachKeyboard(client: ControlClient, { output }: CommandContext, detach: () => void): { release(): void } {
  const { stdin } = process;
  let isEscaped = false;
  const send = (bytes: Uint8Array): void => {
    if (bytes.length === 0) return;
    client.request("input", { bytes: Buffer.from(bytes).toString("base64") }).catch(() => undefined);
  };
  const obey = (letter: string): void => {
    if (letter === "d") detach();
    else if (letter === "x") client.request("quit").catch(() => undefined);
    else for (const line of HELP) output.note(`${line}\r`);
  };
  const onData = (bytes: Buffer): void => {
    if (!stdin.isTTY) return send(bytes);
    const typed: number[] = [];
    for (const byte of bytes) {
      if (isEscaped && byte !== 0x61) obey(String.fromCharCode(byte));
      else if (isEscaped || byte !== ESCAPE) typed.push(isEscaped ? ESCAPE : byte);
      isEscaped = !isEscaped && byte === ESCAPE;
    }
    send(Uint8Array.from(typed));
  };
  process.once("SIGINT", detach);
  process.once("SIGTERM", detach);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on("data", onData);
  return {
    release() {
      process.off("SIGINT", detach);
      process.off("SIGTERM", detach);
      stdin.off("data", onData);
      if (stdin.isTTY) stdin.setRawMode(false);
      stdin.pause();
    },
  };
}
