/** Runs a recorded guest again with something changed, and records that run. */
import {
  AnchoredInputs,
  ControlRefusedError,
  DEFAULT_CADENCE,
  type OutsideActs,
  Recorder,
  type RefusedCommand,
  rerun,
  type RerunResult,
  type ScheduledAct,
  type WaitingAct,
  shellCommand,
} from "@hvjournal/core";
import { discardRecording, INDEX_EXITS_MAX } from "@hvjournal/journal";
import { CliError, UsageError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { nodeDigester } from "../host/node-digester.js";
import type { Output } from "../output/console-output.js";
import { counted, quotedBytes } from "../output/value-text.js";
import { withLongAct } from "./long-act.js";
import { type MachinePlan, machineOf } from "./machine-plan.js";
import { createRecordingFile } from "./new-recording.js";
import type { OpenRecording } from "./open-recording.js";

/** A run may take as long again as the recorded one did, and a little. */
const TIME_FACTOR = 2;
const TIME_MORE_NS = 1_000_000_000;

/** Guest time up to which a run goes where nothing else is asked for. */
export function defaultTimeNs({ endNs }: OutsideActs): number {
  return endNs * TIME_FACTOR + TIME_MORE_NS;
}

/** Throws UsageError for a recording that begins in the midst of a run: what it was made from can't change any more. */
export function checkBeginsAtStart({ path, reader }: OpenRecording, argv: readonly string[]): void {
  const { parent } = reader.header;
  if (parent === undefined) return;
  throw new UsageError(
    `${path} begins at exit:${parent.exitNumber}, where it grew from ${parent.path}: a machine can be changed only from its start on`,
    shellCommand("hvjournal", ...ofParent(argv, path, parent.path)),
  );
}

/** The same command line of the recording that another one grew from. */
function ofParent([command = "verify", ...words]: readonly string[], path: string, parent: string): string[] {
  const isNamed = words.includes(path);
  return [command, ...(isNamed ? words.map((word) => (word === path ? parent : word)) : [parent, ...words])];
}

/** Looks at a run while it goes on. */
export interface RunJudge {
  /** At each exit, before it is answered. True: the run need not go on. */
  atExit(): boolean;
  noteOutput?(port: number, bytes: Uint8Array): void;
}

export interface RerunRequest {
  readonly recording: OpenRecording;
  readonly plan: MachinePlan;
  /** How its handlers are watched. */
  readonly watch?: Arguments;
  /** What comes from outside. */
  readonly lanes: readonly (readonly ScheduledAct[])[];
  /** Where the run is recorded; nothing is there yet. */
  readonly path: string;
  /** With the tables for sqlite3, and a snapshot of its end. */
  readonly isKept: boolean;
  readonly untilNs: number;
  /** Who ends the run when it has seen enough, for the recording. */
  readonly by: string;
  readonly judge: (recorder: Recorder) => RunJudge;
  readonly output: Output;
  readonly act: string;
  /** See `LongActOptions`. */
  readonly hostTimeoutMs?: number | undefined;
}

export interface Rerun extends RerunResult {
  readonly recorder: Recorder;
  readonly inputs: AnchoredInputs;
}

/**
 * Throws ControlRefusedError where the rules refuse the machine's configuration, then without a file left behind, and what
 * `machineOf` throws.
 */
export async function rerunRecording(request: RerunRequest): Promise<Rerun> {
  const { recording, plan, path, lanes, isKept, untilNs, by, output, act, hostTimeoutMs } = request;
  const { architecture, description, vmm, commands, drives } = machineOf(plan, recording.path, request.watch);
  const inputs = new AnchoredInputs(...lanes);
  const writer = createRecordingFile(path, { architecture, description });
  let isFinished = false;
  try {
    const cadence = { ...DEFAULT_CADENCE, atEnd: isKept };
    const recorder = Recorder.create({ architecture, digester: nodeDigester, writer, vmm, cadence, inputs }, commands);
    const judge = request.judge(recorder);
    recorder.onOutput((port, bytes) => judge.noteOutput?.(port, bytes));
    const result = await withLongAct({ act, total: recording.reader.end.icount, output, hostTimeoutMs }, (longAct) =>
      longAct.asking(recorder.live, () =>
        rerun({
          ...{ recorder, inputs, untilNs },
          atExit: () => judge.atExit(),
          betweenSlices: () => (longAct.isTurnDue ? longAct.turn(recorder.machine) : undefined),
        }),
      ),
    );
    recorder.finish({
      index: isKept && recorder.machine.exitNumber <= INDEX_EXITS_MAX,
      by: result.why === "time" ? "--timeout" : by,
    });
    isFinished = true;
    return { ...result, recorder, inputs };
  } finally {
    if (!isFinished) {
      writer.close();
      discardRecording(path);
    }
    for (const drive of drives) drive.close();
  }
}

/** What the rules say of a machine as a whole. */
export function refusedMachine({ refusal: { call, errno, reason, next } }: ControlRefusedError): CliError {
  return new CliError(`${call}: ${errno}: ${reason}`, {
    code: errno,
    status: ExitStatus.usage,
    ...(next === undefined ? {} : { next }),
  });
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function actText({ act: { act } }: WaitingAct): string {
  return act.what === "input" ? `input ${quotedBytes(act.input.bytes)}` : `the operator's ${act.what}`;
}

function waitingText(waiting: WaitingAct): string {
  const { line } = waiting.act.anchor;
  if (line === undefined) return `${actText(waiting)} waits for its time`;
  const times = line.occurrence === 1 ? "" : ` for the ${line.occurrence}th time`;
  const place = `the ${line.isWhole ? "line" : "text"} ${quotedBytes(bytesOf(line.text))}${times}`;
  const near =
    waiting.nearest === undefined ? "nothing was written" : `nearest is ${quotedBytes(bytesOf(waiting.nearest))}`;
  return `${actText(waiting)} (number ${waiting.number}) waits for ${place}; ${near}`;
}

/** Notes about what was not as in the recording: acts that never came up, commands that the rules refused. */
export function rerunNotes({ inputs, refused }: Pick<Rerun, "inputs" | "refused">): string[] {
  const { count, waiting } = inputs.left;
  const left =
    count === 0
      ? []
      : [
          `${count} of ${counted(inputs.count, "act")} from outside never came up: ${waiting.map(waitingText).join("; ")}`,
        ];
  return [...left, ...refused.map(refusedText)];
}

export function refusedText({ command, refusal: { call, errno, reason } }: RefusedCommand): string {
  return `the operator's ${command.name} was refused in this run: ${call}: ${errno}: ${reason}`;
}

export function rerunJson({ why, stop, inputs, refused, recorder }: Rerun): Record<string, unknown> {
  const { exitNumber, icount, guestTimeNs } = recorder.machine;
  const waiting = inputs.left.waiting.map((each) => ({
    number: each.number,
    event: each.act.seq,
    line: each.act.anchor.line?.text,
    occurrence: each.act.anchor.line?.occurrence,
    nearest: each.nearest,
  }));
  return {
    run: { exit: exitNumber, icount, timeNs: guestTimeNs, ended: { why, stop } },
    inputs: { count: inputs.count, left: inputs.left.count, waiting },
    ...(refused.length === 0 ? {} : { refused }),
  };
}
