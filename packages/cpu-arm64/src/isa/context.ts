/**
 * The context word: what decoding depends on beside the bytes.
 *
 * | value | instructions that hold |
 * |---|---|
 * | 0, 1 | at EL0, EL1: all |
 * | 2, 3 | at EL0, EL1 with CPACR_EL1.FPEN trapping there: SIMD and FP ones raise EC 0x07 |
 * | 4 | PSTATE.IL is set: each raises EC 0x0e |
 * | +8 | software step is active: each clears PSTATE.SS when it retires |
 * | +16 | SP is misaligned and SCTLR_EL1.SA or SA0 checks it: each load or store with that base raises EC 0x26 |
 * | +32 | SCTLR_EL1.A is set: each load and store must be aligned |
 *
 * 0 and 1 are what stock kernels run in.
 */
import type { Routine, Stage, Value } from "@hvjournal/engine";
import {
  contextWord,
  daif,
  exceptionLevel,
  illegalState,
  softwareStep,
  sp,
  STACK_ALIGNMENT,
  stepPending,
} from "./state.js";
import { cpacrEl1, Mdscr, mdscrEl1, oslsrEl1, OSLSR_OSLK, Sctlr, sctlrEl1 } from "./system-registers.js";

export const Context = {
  el0: 0,
  el1: 1,
  floatTrapped: 2,
  illegal: 4,
  stepped: 8,
  stackMisaligned: 16,
  alignmentChecked: 32,
} as const;

/** CPACR_EL1.FPEN: 0b01 traps EL0 only, 0b11 nothing, the others both. */
const FPEN_SHIFT = 20;

const PSTATE_D_SHIFT = 9;

/**
 * Whether debug exceptions can be taken at a level with a PSTATE.D (Arm ARM D2, enabling debug exceptions): at EL0 always, at EL1 with
 * MDSCR_EL1.KDE while unmasked; nowhere under the OS lock.
 */
export function debugExceptionsEnabled(stage: Stage, level: Value<32>, masks: Value<32>): Value<32> {
  const kernel = stage.extractBits(stage.truncate32(stage.read(mdscrEl1)), Mdscr.KDE, 1);
  const unmasked = stage.isZero(stage.extractBits(masks, PSTATE_D_SHIFT, 1));
  const enabled = stage.select(level, stage.and(kernel, unmasked), stage.constant32(1));
  const locked = stage.extractBits(stage.truncate32(stage.read(oslsrEl1)), OSLSR_OSLK, 1);
  return stage.and(enabled, stage.isZero(locked));
}

/** MDSCR_EL1.SS. */
export function stepControl(stage: Stage): Value<32> {
  return stage.extractBits(stage.truncate32(stage.read(mdscrEl1)), Mdscr.SS, 1);
}

/**
 * Computes the context word again, and whether a step is pending (Arm ARM D2, software step); called wherever EL, PSTATE.IL,
 * SS or SP, the alignment of the stack pointer, CPACR_EL1, SCTLR_EL1, MDSCR_EL1 or the OS lock have changed.
 */
export function contextChanged(stage: Stage): void {
  const level = stage.read(exceptionLevel);
  const fpen = stage.extractBits(stage.truncate32(stage.read(cpacrEl1)), FPEN_SHIFT, 2);
  const allowedAtEl1 = stage.and(fpen, stage.constant32(1));
  const allowedAtEl0 = stage.compare("eq", fpen, stage.constant32(3));
  const trapped = stage.isZero(stage.select(level, allowedAtEl1, allowedAtEl0));
  const legal = stage.or(level, stage.shiftLeft(trapped, 1));
  const stepping = stage.and(stepControl(stage), debugExceptionsEnabled(stage, level, stage.read(daif)));
  const notPending = stage.read(softwareStep);
  const stepped = stage.shiftLeft(stage.and(stepping, notPending), 3);
  const checks = stage.or(alignmentChecks(stage, level), stepped);
  const word = stage.select(stage.read(illegalState), stage.constant32(Context.illegal), stage.or(legal, checks));
  stage.write(contextWord, word);
  stage.write(stepPending, stage.and(stepping, stage.isZero(notPending)));
}

function alignmentChecks(stage: Stage, level: Value<32>): Value<32> {
  const control = stage.truncate32(stage.read(sctlrEl1));
  const atEl1 = stage.extractBits(control, Sctlr.SA, 1);
  const atEl0 = stage.extractBits(control, Sctlr.SA0, 1);
  const isChecked = stage.select(level, atEl1, atEl0);
  const low = stage.and(stage.truncate32(stage.read(sp)), stage.constant32(STACK_ALIGNMENT - 1));
  const misaligned = stage.and(isChecked, stage.compare("ne", low, stage.constant32(0)));
  const all = stage.extractBits(control, Sctlr.A, 1);
  return stage.or(stage.shiftLeft(misaligned, 4), stage.shiftLeft(all, 5));
}

/** PSTATE.D has changed: only software step looks at it. */
export function debugMaskChanged(stage: Stage): void {
  stage.if(stepControl(stage), () => {
    contextChanged(stage);
  });
}

/** For the host, after it has written one of these fields itself: `engine.callRoutine(refreshContext)`. */
export const refreshContext: Routine & { readonly result: undefined } = {
  name: "refreshContext",
  parameters: [],
  result: undefined,
  body: (stage) => {
    contextChanged(stage);
  },
};
