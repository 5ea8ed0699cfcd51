/** Switching tasks by hardware: Intel SDM volume 3, chapter 8. */
import type { Stage, Value } from "@hvjournal/engine";
import { ExitCode, NotSimulated } from "./exit-code.js";

/** Leaves guest mode: the vCPU can't go on. */
export function taskSwitchNotSimulated(stage: Stage, selector: Value<32>): void {
  stage.exitBefore(ExitCode.notSimulated, stage.constant64(NotSimulated.taskSwitch), stage.zeroExtend64(selector));
}
