/** What all x87 instructions share: availability, pending errors, the register stack, the status word. Intel SDM volume 1, chapter 8. */
import { engineFields, extendedFloat, FloatControl, FloatFlag, type Stage, type Value } from "@hvjournal/engine";
import { raiseException, Vector } from "./exceptions.js";
import { ExitCode, NotSimulated } from "./exit-code.js";
import { FPR_BYTES } from "./operands.js";
import { Cr0 } from "./registers.js";
import { currentInstruction } from "./segment-access.js";
import { cr0, fcw, fdp, fip, fop, fpr, fpuTags, fsw } from "./state.js";

/** Bits of the status word. The first six are exceptions, and their masks stand at the same places of the control word. */
export const FloatStatus = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  C3: 1 << 14,
  B: 1 << 15,
} as const;

export const FLOAT_EXCEPTIONS = 0x3f;
const TOP_SHIFT = 11;
export const TOP_MASK: number = 7 << TOP_SHIFT;
/** Control word: precision in bits 9 and 8, rounding in 11 and 10. */
export const PRECISION_CONTROL_SHIFT = 8;
export const ROUNDING_CONTROL_SHIFT = 10;

/** Bits of the control word that can be written, infinity control (no effect) among them; and the one that is always 1. */
const CONTROL_BITS = 0x1f3f;
const CONTROL_FIXED = 0x40;

/** Default NaN. */
const INDEFINITE_SIGNIFICAND = 0xc000_0000_0000_0000n;
const INDEFINITE_SIGN_EXPONENT = 0xffffn;

/** A number of the 80-bit format: sign and exponent in the low 16 bits of `high`. */
export interface ExtendedValue {
  readonly low: Value<64>;
  readonly high: Value<64>;
}

export function indefinite(stage: Stage): ExtendedValue {
  return { low: stage.constant64(INDEFINITE_SIGNIFICAND), high: stage.constant64(INDEFINITE_SIGN_EXPONENT) };
}

/** #NM, while CR0.EM or CR0.TS is set. */
export function requireFloatUnit(stage: Stage): void {
  const unavailable = stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(Cr0.EM | Cr0.TS));
  stage.if(unavailable, () => raiseException(stage, Vector.deviceNotAvailable));
}

/** The same, then #MF for an unmasked exception of an earlier instruction: what waiting instructions begin with. */
export function waitForFloatUnit(stage: Stage): void {
  requireFloatUnit(stage);
  raisePendingFloatError(stage);
}

/** #MF for an unmasked exception of an earlier x87 instruction. */
export function raisePendingFloatError(stage: Stage): void {
  stage.if(stage.and(stage.read(fsw), stage.constant32(FloatStatus.ES)), () => {
    const reportsInside = stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(Cr0.NE));
    stage.if(
      reportsInside,
      () => raiseException(stage, Vector.floatError),
      () => stage.exitBefore(ExitCode.notSimulated, stage.constant64(NotSimulated.floatErrorPin), stage.constant64(0)),
    );
  });
}

/** The number of the register ST(`index`). */
export function stackRegister(stage: Stage, index: Value<32>): Value<32> {
  const top = stage.extractBits(stage.read(fsw), TOP_SHIFT, 3);
  return stage.and(stage.add(top, index), stage.constant32(7));
}

function offsetOf(stage: Stage, register: Value<32>): Value<32> {
  return stage.shiftLeft(register, Math.log2(FPR_BYTES));
}

export function readFloat(stage: Stage, register: Value<32>): ExtendedValue {
  const offset = offsetOf(stage, register);
  return { low: stage.readAt(64, offset, fpr.offset), high: stage.readAt(64, offset, fpr.offset + 8) };
}

export function writeFloat(stage: Stage, register: Value<32>, value: ExtendedValue): void {
  const offset = offsetOf(stage, register);
  stage.writeAt(offset, value.low, fpr.offset);
  stage.writeAt(offset, value.high, fpr.offset + 8);
}

function tagOf(stage: Stage, register: Value<32>): Value<32> {
  return stage.binary("shl", stage.constant32(1), register);
}

export function isEmpty(stage: Stage, register: Value<32>): Value<32> {
  return stage.isZero(stage.and(stage.read(fpuTags), tagOf(stage, register)));
}

export function setFull(stage: Stage, register: Value<32>): void {
  stage.write(fpuTags, stage.or(stage.read(fpuTags), tagOf(stage, register)));
}

export function setEmpty(stage: Stage, register: Value<32>): void {
  stage.write(fpuTags, stage.and(stage.read(fpuTags), stage.not(tagOf(stage, register))));
}

/** The register becomes empty and TOP counts up. */
export function pop(stage: Stage, register: Value<32>): void {
  setEmpty(stage, register);
  moveTop(stage, 1);
}

export function moveTop(stage: Stage, by: 1 | -1): void {
  const status = stage.read(fsw);
  const moved = stage.and(stage.add(status, stage.constant32(by << TOP_SHIFT)), stage.constant32(TOP_MASK));
  stage.write(fsw, stage.or(stage.and(status, stage.constant32(~TOP_MASK)), moved));
}

/** Truth: one of these exceptions (bits of `FloatStatus`) is not masked. */
export function anyUnmasked(stage: Stage, exceptions: Value<32>): Value<32> {
  return stage.compare(
    "ne",
    stage.and(stage.and(exceptions, stage.not(stage.read(fcw))), stage.constant32(FLOAT_EXCEPTIONS)),
    stage.constant32(0),
  );
}

/** Adds exceptions (and SF, C1) to the status word; C1 is clear where they don't say so. ES and B follow. */
export function reportExceptions(stage: Stage, exceptions: Value<32>): void {
  const before = stage.and(stage.read(fsw), stage.constant32(~FloatStatus.C1));
  const status = stage.or(before, exceptions);
  const summary = stage.select(
    anyUnmasked(stage, status),
    stage.constant32(FloatStatus.ES | FloatStatus.B),
    stage.constant32(0),
  );
  stage.write(fsw, stage.or(status, summary));
}

/** FOP, FIP and FDP: 8.1.8. They are written by every instruction that is not for control, whether it reports exceptions or not. */
export function recordPointers(stage: Stage, opcode: Value<32>, dataAddress: Value<64> | undefined): void {
  stage.write(fop, opcode);
  stage.write(fip, currentInstruction(stage));
  if (dataAddress !== undefined) stage.write(fdp, dataAddress);
}

/** FCW and FSW as an image of memory has them: bit 6 of the control word is 1, ES and B follow from exceptions and masks. */
export function setControlAndStatus(stage: Stage, control: Value<32>, status: Value<32>): void {
  stage.write(fcw, stage.or(stage.and(control, stage.constant32(CONTROL_BITS)), stage.constant32(CONTROL_FIXED)));
  const unmasked = stage.and(stage.and(status, stage.not(control)), stage.constant32(FLOAT_EXCEPTIONS));
  const summary = FloatStatus.ES | FloatStatus.B;
  const kept = stage.and(status, stage.constant32(0xffff & ~summary));
  stage.write(fsw, stage.select(unmasked, stage.or(kept, stage.constant32(summary)), kept));
}

// Arithmetic

/**
 * Exceptions that come before an operation: with a handler for one, the destination keeps its value, nothing is popped, and
 * nothing of what would have followed is reported.
 */
export const BEFORE_OPERATION: number = FloatStatus.IE | FloatStatus.DE | FloatStatus.ZE;
const RANGE: number = FloatStatus.OE | FloatStatus.UE;
export const STACK_UNDERFLOW: number = FloatStatus.IE | FloatStatus.SF;
/** C1 tells an overflow of the stack from an underflow. */
export const STACK_OVERFLOW: number = STACK_UNDERFLOW | FloatStatus.C1;

/** The control of the software floats that the control word asks for. */
function floatControl(stage: Stage): Value<32> {
  const control = stage.read(fcw);
  const rounding = stage.extractBits(control, ROUNDING_CONTROL_SHIFT, 2);
  // Down and up have their numbers the other way round.
  const swapped = stage.or(stage.shiftLeft(stage.and(rounding, stage.constant32(1)), 1), stage.shiftRight(rounding, 1));
  const precision = stage.extractBits(control, PRECISION_CONTROL_SHIFT, 2);
  const unmasked = stage.not(control);
  const trap = (mask: number, option: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(unmasked, Math.log2(mask), 1), Math.log2(option));
  return [
    stage.constant32(FloatControl.tininessAfterRounding | FloatControl.defaultNaNNegative),
    stage.shiftLeft(precision, FloatControl.precisionShift),
    trap(FloatStatus.OE, FloatControl.overflowTrapped),
    trap(FloatStatus.UE, FloatControl.underflowTrapped),
  ].reduce((sum, part) => stage.or(sum, part), swapped);
}

/** Exceptions of the software floats as bits of the status word. */
function statusOf(stage: Stage, flags: Value<32>): Value<32> {
  const move = (flag: number, to: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(flags, Math.log2(flag), 1), Math.log2(to));
  return [
    move(FloatFlag.denormalOperand, FloatStatus.DE),
    move(FloatFlag.divideByZero, FloatStatus.ZE),
    move(FloatFlag.overflow, FloatStatus.OE),
    move(FloatFlag.underflow, FloatStatus.UE),
    move(FloatFlag.inexact, FloatStatus.PE),
    move(FloatFlag.roundedUp, FloatStatus.C1),
  ].reduce((sum, part) => stage.or(sum, part), move(FloatFlag.invalidOperation, FloatStatus.IE));
}

export interface Computed {
  readonly value: ExtendedValue;
  /** Of operations with two results: see `ExtendedOperation`. */
  readonly second: ExtendedValue;
  /** What the host function gave. */
  readonly returned: Value<32>;
  /** Exceptions, and C1 where rounding was upwards. */
  readonly status: Value<32>;
}

/** Runs an `ExtendedOperation` (with an `ExtendedOperand`) in the software floats. */
export function compute(stage: Stage, code: number, a: ExtendedValue, b: ExtendedValue): Computed {
  const { floatA, floatB, floatC, floatHigh, floatControl: control, floatFlags, floatResult } = engineFields;
  const high = stage.or(stage.zeroExtendFrom(16, a.high), stage.shiftLeft(stage.zeroExtendFrom(16, b.high), 16));
  stage.write(floatA, a.low);
  stage.write(floatB, b.low);
  stage.write(floatHigh, high);
  stage.write(control, floatControl(stage));
  stage.write(floatFlags, stage.constant32(0));
  const returned = stage.callHost(extendedFloat, stage.constant32(code));
  const results = stage.read(floatHigh);
  return {
    value: { low: stage.read(floatResult), high: stage.extractBits(results, 32, 16) },
    second: { low: stage.read(floatC), high: stage.shiftRight(results, 48) },
    returned,
    status: statusOf(stage, stage.read(floatFlags)),
  };
}

export interface Outcome {
  /** Exceptions, and condition codes that belong to them. */
  readonly status: Value<32>;
  /** What is done unless an exception has a handler that comes before. */
  readonly commit: () => void;
  /** What is done in any case. */
  readonly always?: () => void;
  /** A denormal operand is loaded even where that exception has a handler. */
  readonly isLoad?: boolean;
  /** The destination is memory: overflow and underflow with a handler leave it alone too. */
  readonly toMemory?: boolean;
}

/**
 * An instruction behind its checks: with a fault of the register stack (`faults`: the bits to report, or 0) `repair` does
 * what its masked response is, else `operate` runs, its exceptions are reported, and its result is kept.
 */
export function perform(
  stage: Stage,
  faults: Value<32>,
  repair: () => void,
  operate: () => Outcome,
  /** What is done on a fault, be it masked or not. */
  onFault: () => void = () => undefined,
): void {
  stage.if(
    faults,
    () => {
      reportExceptions(stage, faults);
      onFault();
      stage.if(stage.isZero(anyUnmasked(stage, stage.constant32(FloatStatus.IE))), repair);
    },
    () => {
      const { status, commit, always = () => undefined, toMemory = false, isLoad = false } = operate();
      const unmasked = (exceptions: number): Value<32> =>
        anyUnmasked(stage, stage.and(status, stage.constant32(exceptions)));
      const before = unmasked(isLoad ? FloatStatus.IE : BEFORE_OPERATION);
      const blocked = toMemory ? stage.or(before, unmasked(RANGE)) : before;
      const unrounded = stage.select(
        before,
        stage.and(status, stage.constant32(BEFORE_OPERATION)),
        stage.and(status, stage.constant32(~(FloatStatus.PE | FloatStatus.C1))),
      );
      reportExceptions(stage, stage.select(blocked, unrounded, status));
      always();
      stage.if(stage.isZero(blocked), commit);
    },
  );
}

/** The bits to report where one of these registers is empty, else 0. */
export function underflowOf(stage: Stage, ...registers: readonly Value<32>[]): Value<32> {
  const empty = registers.map((register) => isEmpty(stage, register)).reduce((sum, one) => stage.or(sum, one));
  return stage.select(empty, stage.constant32(STACK_UNDERFLOW), stage.constant32(0));
}

/** The register that a push fills; `push` counts TOP down to it. */
export function pushRegister(stage: Stage): Value<32> {
  return stackRegister(stage, stage.constant32(-1));
}

/** The bits to report where a push finds its register full, else 0. */
export function overflowOf(stage: Stage): Value<32> {
  return stage.select(isEmpty(stage, pushRegister(stage)), stage.constant32(0), stage.constant32(STACK_OVERFLOW));
}

export function push(stage: Stage, value: ExtendedValue): void {
  moveTop(stage, -1);
  fill(stage, stackRegister(stage, stage.constant32(0)), value);
}

/** Writes a register, which is full then. */
export function fill(stage: Stage, register: Value<32>, value: ExtendedValue): void {
  writeFloat(stage, register, value);
  setFull(stage, register);
}

export function top(stage: Stage): Value<32> {
  return stackRegister(stage, stage.constant32(0));
}

/** Pops ST(0) `count` times. */
export function popTop(stage: Stage, count: number): void {
  for (let index = 0; index < count; index++) pop(stage, top(stage));
}

export const CONDITION_CODES: number = FloatStatus.C0 | FloatStatus.C1 | FloatStatus.C2 | FloatStatus.C3;

/** Writes C0, C2 and C3, or also C1. */
export function setConditions(
  stage: Stage,
  codes: Value<32>,
  written: number = FloatStatus.C0 | FloatStatus.C2 | FloatStatus.C3,
): void {
  stage.write(fsw, stage.or(stage.and(stage.read(fsw), stage.constant32(~written)), codes));
}

export function positiveZero(stage: Stage): ExtendedValue {
  return { low: stage.constant64(0), high: stage.constant64(0) };
}
