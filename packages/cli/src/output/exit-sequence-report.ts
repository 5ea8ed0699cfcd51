/** Where the exits of a run first differ from those recorded, in the form of a divergence report. */
import {
  checkMachine,
  type ExitSequenceComparison,
  type ExitSequenceDifference,
  ExitWord,
  frameU64,
  type RecordedExit,
  type Recorder,
  shellCommand,
} from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { type ChangeText, changedLines } from "./change-text.js";
import { showCommand } from "./show-command.js";
import { counted } from "./value-text.js";

export interface DifferingRun {
  readonly recording: OpenRecording;
  readonly recorder: Recorder;
  readonly comparison: ExitSequenceComparison;
  readonly difference: ExitSequenceDifference;
  /** How the run ended: "guest powered off (PSCI SYSTEM_OFF)". */
  readonly ending: string;
  /** How the recorded one did. */
  readonly recordedEnding: string;
  readonly changes: readonly ChangeText[];
  readonly notes: readonly string[];
  /** What `--json` says of the run. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The new recording, where it is kept. */
  readonly keptPath: string | undefined;
}

export function exitSequenceReport(run: DifferingRun): CliError {
  const { recording, recorder, comparison, difference, keptPath } = run;
  const { recorded, now } = difference;
  const { machine } = recorder;
  const place = recorded ?? now;
  const position = place === undefined ? "end" : `exit:${place.number}`;
  const where =
    place === undefined
      ? ""
      : ` (vcpu${place.frame[ExitWord.vcpu] ?? 0}, icount:${place.icount}, pc ${pcText(place, recording)})`;
  const describe = (
    exit: Omit<RecordedExit, "seq">,
    model: Parameters<typeof recording.architecture.describeExit>[0],
  ): string => `${recording.architecture.describeExit(model, exit.frame)}  exit:${exit.number} icount:${exit.icount}`;
  const model = checkMachine(recording.description, recording.architecture);
  const details = [
    `  recorded   ${recorded === undefined ? `nothing more: ${run.recordedEnding}` : describe(recorded, model)}`,
    `  now        ${now === undefined ? `nothing more: ${run.ending}` : describe(now, machine.exitModel)}`,
    `  before it  ${counted(comparison.equal, "exit")} that reach the VMM half, equal`,
    ...changedLines(run.changes),
    ...run.notes.map((note) => `  note       ${note}`),
  ];
  return new CliError(`exits that reach the VMM half differ at ${position}${where}`, {
    code: "differs",
    status: ExitStatus.no,
    position,
    details,
    next:
      keptPath === undefined
        ? showCommand(recording.path, position)
        : shellCommand("hvjournal", "diff", recording.path, keptPath),
    fields: {
      equal: false,
      exits: comparison.equal,
      recorded: recorded && { exit: recorded.number, icount: recorded.icount, what: describe(recorded, model) },
      now: now && { exit: now.number, icount: now.icount, what: describe(now, machine.exitModel) },
      changes: run.changes,
      notes: run.notes,
      ...run.json,
    },
  });
}

function pcText({ frame }: Pick<RecordedExit, "frame">, { symbols }: OpenRecording): string {
  return symbols.addressText(frameU64(frame, ExitWord.pcLow));
}
