/** `hvjournal info`: what a recording is of, where it came from, how it ended. */
import {
  type Architecture,
  checkMachine,
  formatGuestTime,
  type Hosts,
  hostsOf,
  hostText,
  MachineDescriptionError,
  parseMachine,
  shellCommand,
} from "@hvjournal/core";
import { JournalError, openRecording, type RecordingReader } from "@hvjournal/journal";
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { knownArchitectures } from "../architectures.js";
import { ExitStatus } from "../exit-status.js";
import { boardRows } from "../output/board-text.js";
import { recordedPolicies } from "../output/policy-text.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { counted } from "../output/value-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { type OpenCall, openCall, openCallText } from "../output/open-call.js";
import { endingLine, readEnding, readFailedCall, type RunningAs } from "../output/ending-text.js";
import { runningVms } from "../vm/control-client.js";
import { type RecordedTrouble, recordedTrouble } from "../vm/recorded-trouble.js";
import { showCommand } from "../output/show-command.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import { freshName } from "../vm/vm-directory.js";
import type { Command, CommandContext } from "./command.js";

export const info: Command = {
  usage: "info [recording]",
  summary: "header, machine, lineage, counts, how it ended",
  options: (yargs) => recordingOption(yargs.positional("recording", { type: "string" })),
  async run(args, context) {
    const path = recordingPath(args, context);
    const reader = openRecording(path);
    try {
      const { running, trouble } = await withLongAct(
        { act: `reading ${path}`, total: reader.end.icount, output: context.output },
        async (act) => ({
          running: await act.wait((left) => recorderOf(path, reader, context, left)),
          trouble: await troubleOf(reader, act),
        }),
      );
      const policies = recordedPolicies(reader);
      const hosts = recordedHosts(reader);
      const waiting = running === undefined ? brokenOffCall(reader) : undefined;
      for (const note of reader.notes) context.output.note(`note: ${note.text}`);
      if (context.output.json)
        context.output.line(
          jsonLine({
            path,
            header: reader.header,
            end: reader.end,
            snapshots: reader.snapshots().length,
            ownership: reader.ownership(),
            ended: readEnding(reader),
            failedCall: readFailedCall(reader),
            ...(hosts !== undefined && { host: hosts.last }),
            ...(waiting !== undefined && { openCall: waiting }),
            ...(policies.length > 0 && { policies }),
            ...(trouble.length > 0 && { trouble }),
            running: running && { name: running.name, processId: running.processId },
          }),
        );
      else print({ path, reader, running, trouble, policies, hosts, waiting }, context.output);
    } finally {
      reader.close();
    }
    return ExitStatus.done;
  },
};

/** The VM that still records into it. */
async function recorderOf(
  path: string,
  { end }: RecordingReader,
  { environment }: CommandContext,
  left: AbortSignal,
): Promise<RunningAs | undefined> {
  if (end.state !== "open") return undefined;
  return (await runningVms(environment, left)).find(({ recording }) => recording === resolve(path));
}

async function troubleOf(reader: RecordingReader, act: LongAct): Promise<readonly RecordedTrouble[]> {
  try {
    return await act.run(recordedTrouble(reader));
  } catch (error) {
    // What is damaged is for fsck to tell.
    if (error instanceof JournalError) return [];
    throw error;
  }
}

/** undefined: the machine is one of another build's. */
function knownArchitecture({ header }: RecordingReader): Architecture | undefined {
  const architecture = knownArchitectures().find(({ name }) => name === header.architecture);
  try {
    if (architecture !== undefined) checkMachine(parseMachine(header.machine), architecture);
    return architecture;
  } catch (error) {
    if (error instanceof MachineDescriptionError) return undefined;
    throw error;
  }
}

/** undefined: another build knows them, or damage hides them, which is for fsck to tell. */
function recordedHosts(reader: RecordingReader): Hosts | undefined {
  const architecture = knownArchitecture(reader);
  try {
    return architecture && hostsOf(architecture, reader);
  } catch (error) {
    // A VM may have come to a host that this build has no row of.
    if (error instanceof JournalError || error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Of a recording that was not closed: the call that its handlers have not answered. */
function brokenOffCall(reader: RecordingReader): OpenCall | undefined {
  if (reader.end.state !== "open" || readFailedCall(reader) !== undefined) return undefined;
  const architecture = knownArchitecture(reader);
  return architecture && openCall({ architecture, reader, description: parseMachine(reader.header.machine) });
}

interface Read {
  readonly path: string;
  readonly reader: RecordingReader;
  readonly running: RunningAs | undefined;
  readonly trouble: readonly RecordedTrouble[];
  readonly policies: readonly string[];
  readonly hosts: Hosts | undefined;
  readonly waiting: OpenCall | undefined;
}

function print({ path, reader, running, trouble, policies, hosts, waiting }: Read, output: Output): void {
  const { header, end } = reader;
  const machine = parseMachine(header.machine);
  const row = (name: string, text: string): void => output.line(`${name.padEnd(12)}${text}`);
  row("recording", `${path}  ${(statSync(path).size / 2 ** 20).toFixed(1)} MiB  id ${header.id}`);
  row(
    "made by",
    `${header.createdBy}, format ${header.formatVersion}, cpu-${header.architecture} revision ${header.architectureRevision}`,
  );
  row(
    "machine",
    `${machine.architecture} ${machine.board}, cpu ${machine.cpuModel}, ${counted(machine.vcpuCount, "vCPU")}, ${machine.memoryBytes / 2 ** 20}M at 0x${machine.memoryBase.toString(16)}`,
  );
  row("exits", `${machine.exitModel.name} version ${machine.exitModel.version}`);
  const hasMoved = hosts !== undefined && hostText(hosts.first) !== hostText(hosts.last);
  const madeOn = hasMoved ? hosts.first : machine.host;
  if (madeOn !== undefined) row("made on", `host ${hostText(madeOn)}`);
  if (hasMoved) row("now on", `host ${hostText(hosts.last)}`);
  row("seed", String(machine.seed));
  for (const [name, text] of boardRows(machine.boardOptions)) row(name, text);
  for (const policy of policies) row("policy", policy);
  if (header.parent !== undefined)
    row(
      "parent",
      `${header.parent.path} at exit:${header.parent.exitNumber} icount:${header.parent.icount} (${header.parent.why}), chain ${header.parent.chain}`,
    );
  for (const owner of reader.ownership()) row("ownership", `epoch ${owner.epoch} ${owner.state} ${owner.owner}`);
  row("snapshots", String(reader.snapshots().length));
  const last = reader.snapshots().at(-1);
  // A recording that was not closed goes on behind its last snapshot, and only a replay tells the time there.
  const time = last?.icount === end.icount ? ` time:${formatGuestTime(last.guestTimeNs)}` : "";
  row("end", `exit:${end.exitNumber} event:${end.firstSeq - 1} icount:${end.icount}${time}`);
  row("ended", endingLine(reader, running));
  const failedCall = readFailedCall(reader);
  if (failedCall !== undefined) row("waits", failedCall);
  if (waiting !== undefined) row("waits", openCallText(waiting));
  for (const { line, exitNumber } of trouble) row("trouble", `the console has '${line}' at exit:${exitNumber}`);
  row("chain", end.chain);
  const [first] = trouble;
  if (first !== undefined) output.note(`next: ${showCommand(path, `exit:${first.exitNumber}`)}`);
  else if (waiting !== undefined) tellWaiting(path, waiting, output);
}

/** A VM is not to be lost with its process. */
function tellWaiting(path: string, { handlers }: OpenCall, output: Output): void {
  output.note("note: the VM goes on where it moves to, and the call is asked again there; record --from branches it");
  const words = handlers.flatMap((name) => ["--handler", name]);
  output.note(`next: ${shellCommand("hvjournal", "migrate", path, freshName(path), ...words)}`);
}
