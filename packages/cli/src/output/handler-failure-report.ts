/** A handler that fails, in a run again, at a call that the recording has an answer to: a difference, as another answer is. */
import { comparedExitKey, ExitWord, ForwardedExits, frameU64, type Machine } from "@hvjournal/core";
import { HandlerError } from "@hvjournal/vmm";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { type ChangeText, changedLines } from "./change-text.js";
import { ExitText, type ToldAnswer } from "./exit-text.js";
import { carriedExit, type RecordedExit } from "./recorded-call.js";
import { momentText } from "./record-report.js";
import { showCommand } from "./show-command.js";

export interface FailedRun {
  readonly recording: OpenRecording;
  /** Stands at the call. */
  readonly machine: Machine;
  readonly changes: readonly ChangeText[];
  /** The recorded exit of the call, where the run was compared up to it; undefined: it is looked for. */
  readonly recorded?: RecordedExit | undefined;
  /** What `--json` says of the comparison. */
  readonly json: Readonly<Record<string, unknown>>;
}

/** What a run again has failed with: an error of its handler is a difference, unless the recording has no answer there either. */
export function handlerFailure(error: unknown, run: FailedRun): unknown {
  // Whoever withdraws a question wants no answer.
  if (!(error instanceof HandlerError) || error.code === "handler-withdrawn") return error;
  const { recording, machine } = run;
  const recorded = run.recorded ?? recordedCall(recording, machine);
  const answer = recorded && new ExitText(recording).toldAnswer(recorded);
  if (recorded === undefined || answer === undefined || answer.state === "pending") return error;
  return report(error, { ...run, recorded, answer });
}

/** The exit of the same number, else the first by which the same was asked. */
function recordedCall(recording: OpenRecording, machine: Machine): RecordedExit | undefined {
  const carried = carriedExit(recording);
  if (carried?.number === machine.exitNumber) return carried;
  const exits = new ForwardedExits(recording.reader);
  const key = comparedExitKey(machine, exits.model);
  let first: RecordedExit | undefined;
  for (let exit = exits.next(); exit !== undefined; exit = exits.next()) {
    if (exits.key(exit, machine.exitModel.name) !== key) continue;
    if (exit.number === machine.exitNumber) return exit;
    first ??= exit;
  }
  return first;
}

interface Failure extends FailedRun {
  readonly recorded: RecordedExit;
  readonly answer: ToldAnswer;
}

function report(error: HandlerError, failure: Failure): CliError {
  const { recording, machine, changes, recorded, answer, json } = failure;
  const { exitNumber: exit, icount, guestTimeNs: timeNs } = machine;
  const position = `exit:${recorded.number}`;
  const vcpu = recorded.frame[ExitWord.vcpu] ?? 0;
  const pc = recording.symbols.addressText(frameU64(recorded.frame, ExitWord.pcLow));
  return new CliError(
    `no answer at ${position} (vcpu${vcpu}, icount:${recorded.icount}, pc ${pc}), where one is recorded`,
    {
      code: "differs",
      status: ExitStatus.no,
      position,
      details: [
        `  recorded   answer ${answer.text}  ${position} icount:${recorded.icount}`,
        `  now        ${error.message}  ${momentText(machine)}`,
        ...changedLines(changes),
      ],
      next: showCommand(recording.path, position),
      fields: {
        ...json,
        cause: error.code,
        recorded: { exit: recorded.number, icount: recorded.icount, what: `answer ${answer.text}` },
        now: { exit, icount, timeNs, what: error.message },
        changes,
      },
    },
  );
}
