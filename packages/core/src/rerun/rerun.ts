/** Runs a recorder with what came from outside in a recording, until the guest stops, all is known, or time is up. */
import type { ControlCommand, Refusal } from "../ports/control.js";
import type { GuestStop } from "../ports/vmm-half.js";
import type { Recorder } from "../record/recorder.js";
import type { AnchoredInputs } from "./anchored-inputs.js";

/** Where nearly all of them are exits, they take a tenth of a second. */
const SLICE_UNITS = 200_000;

export interface RerunOptions {
  readonly recorder: Recorder;
  /** The same that the recorder was made with. */
  readonly inputs: AnchoredInputs;
  /** Guest time at which the run ends at the latest. */
  readonly untilNs: number;
  /** Asked at each exit, before it is answered: true ends the run there. */
  readonly atExit?: () => boolean;
  /** Between two slices. */
  readonly betweenSlices?: () => void | Promise<void>;
}

export interface RefusedCommand {
  readonly command: ControlCommand;
  readonly refusal: Refusal;
}

export interface RerunResult {
  /** `decided`: `atExit` said so. */
  readonly why: "stopped" | "decided" | "time";
  /** How the guest stopped. */
  readonly stop: GuestStop | undefined;
  /** Commands of the operator that the rules refuse in this run. */
  readonly refused: readonly RefusedCommand[];
}

export async function rerun({ recorder, inputs, untilNs, atExit, betweenSlices }: RerunOptions): Promise<RerunResult> {
  const { machine } = recorder;
  const refused: RefusedCommand[] = [];
  let isDecided = false;
  const goal = {
    guestTimeNs: untilNs,
    atExit: () => (isDecided ||= atExit?.() === true),
    requested: () => inputs.hasDueCommand(machine.guestTimeNs),
  };
  for (;;) {
    const result = await recorder.step({ units: SLICE_UNITS, goal });
    if (result.why === "stopped") return { why: "stopped", stop: result.stop, refused };
    if (isDecided) return { why: "decided", stop: undefined, refused };
    if (machine.guestTimeNs >= untilNs) return { why: "time", stop: undefined, refused };
    for (const command of inputs.takeDueCommands(machine.guestTimeNs)) {
      const refusal = recorder.control(command);
      if (refusal !== undefined) refused.push({ command, refusal });
    }
    await betweenSlices?.();
  }
}
