/** When an event comes before the next instruction. Intel SDM volume 3, 6.8, 6.9. */
import type { Stage, Value } from "@hvjournal/engine";
import { Flag } from "./registers.js";
import {
  exceptionPending,
  interruptPending as interruptRequested,
  interruptShadow,
  nmiBlocked,
  nmiPending,
  portComplete,
  rflags,
} from "./state.js";

/** Truth: a non-maskable interrupt would be taken now. It waits for the end of an interrupt shadow, as others do. */
export function nmiIsOpen(stage: Stage): Value<32> {
  const closed = stage.or(stage.or(stage.read(interruptShadow), stage.read(portComplete)), stage.read(nmiBlocked));
  return stage.and(stage.read(nmiPending), stage.isZero(closed));
}

/** See `CpuDefinition.interruptPending`: an exception that has been raised, or an interrupt that IF and the shadow let in. */
export function interruptPending(stage: Stage): Value<32> {
  const enabled = stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.IF), 1);
  // An instruction whose port access is done has begun: the boundary before it is over.
  const closed = stage.or(stage.read(interruptShadow), stage.read(portComplete));
  const requested = stage.isZero(stage.isZero(stage.read(interruptRequested)));
  const taken = stage.and(requested, stage.and(enabled, stage.isZero(closed)));
  return stage.or(stage.or(stage.read(exceptionPending), nmiIsOpen(stage)), taken);
}
