/**
 * The context word: what decoding depends on beside the bytes.
 *
 * | bit | meaning |
 * |---|---|
 * | 0 | compatibility mode (CS.L clear) with flat 32-bit segments; clear: 64-bit mode |
 * | 1 | an interrupt shadow or RF holds for one instruction: each ends them when it retires (`one-shot.ts`) |
 *
 * Privilege is not in it: code is the same at every CPL, and fetches are told apart by their TLB sets.
 */
import { elementOf, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { writeRflags } from "./flags.js";
import { Flag, STATUS_FLAGS } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { contextWord, cpl, interruptShadow, rflags, Segment, segmentAttributes } from "./state.js";

export const Context = { long: 0, compatibility: 1, oneShot: 2 } as const;

const csAttributes = elementOf(segmentAttributes, Segment.cs);

/** Computes the context word again; called wherever CS, the interrupt shadow or RF have changed. */
export function contextChanged(stage: Stage): void {
  const compatible = stage.isZero(stage.and(stage.read(csAttributes), stage.constant32(SegmentAttribute.L)));
  const resume = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.RF));
  const oneShot = stage.isZero(stage.isZero(stage.or(stage.read(interruptShadow), resume)));
  stage.write(contextWord, stage.or(compatible, stage.shiftLeft(oneShot, 1)));
}

/** Sets CPL and what depends on it. */
export function setPrivilegeLevel(stage: Stage, level: Value<32>): void {
  stage.write(cpl, level);
  operations.setPrivilege(stage, stage.compare("ne", level, stage.constant32(3)));
}

/**
 * For the host, after it has written state itself: `engine.callRoutine(refreshDerived)` brings all that is derived from
 * saved fields up to date.
 */
export const refreshDerived: Routine & { readonly result: undefined } = {
  name: "refreshDerived",
  parameters: [],
  result: undefined,
  body(stage) {
    writeRflags(stage, stage.truncate32(stage.read(rflags)), stage.constant32(STATUS_FLAGS));
    setPrivilegeLevel(stage, stage.read(cpl));
    operations.translationChanged(stage);
    contextChanged(stage);
  },
};
