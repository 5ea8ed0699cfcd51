/** Near control transfers: Intel SDM volume 1, 6.3.3; volume 2, JMP, CALL, RET. RIP is an offset in CS. */
import { elementOf, type Stage, type Value } from "@hvjournal/engine";
import { raiseException, Vector } from "./exceptions.js";
import { Mode } from "./fields.js";
import { nextInstruction, segmentationOf } from "./segment-access.js";
import { Segment, segmentBase, segmentLimit } from "./state.js";
import { isNotCanonical } from "./translation.js";

/** `mode` and `size` (of the operand) are form fields. */
export interface BranchForm {
  readonly mode: number;
  readonly size: number;
}

/** RIP at a distance from the next instruction, in the operand's size. */
export function relativeTarget(stage: Stage, form: BranchForm, distance: Value<32>): Value<64> {
  return cutTarget(stage, form, stage.add(nextInstruction(stage), stage.signExtend64(distance)));
}

/** RIP has the operand's size. */
export function cutTarget(stage: Stage, { size }: BranchForm, target: Value<64>): Value<64> {
  return size === 3 ? target : stage.zeroExtendFrom(8 << size, target);
}

/**
 * Refuses a target that CS does not have: #GP(0). Before the first write. One that is near by can only be wrong where CS has
 * a limit, or in 64-bit mode at the ends of the canonical addresses: `fetchFault` tells.
 */
export function checkTarget(stage: Stage, form: BranchForm, target: Value<64>): void {
  if (form.mode === Mode.long) {
    stage.if(isNotCanonical(stage, target), () => raiseException(stage, Vector.generalProtection));
    return;
  }
  if (segmentationOf(stage) === "flat") return;
  const limit = stage.read(elementOf(segmentLimit, Segment.cs));
  const beyond = stage.compare("gt_u", stage.truncate32(target), limit);
  stage.if(beyond, () => raiseException(stage, Vector.generalProtection));
}

/** Retires and goes on at a target that has been checked. */
export function branch(stage: Stage, target: Value<64>): void {
  if (segmentationOf(stage) === "flat") return stage.jump(target);
  const base = stage.read(elementOf(segmentBase, Segment.cs));
  stage.jump(stage.zeroExtendFrom(32, stage.add(target, base)));
}
