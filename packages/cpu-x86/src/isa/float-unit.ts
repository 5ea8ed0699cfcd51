/** What all x87 instructions share: availability, pending errors, the register stack, the status word. Intel SDM volume 1, chapter 8. */
import type { Stage, Value } from "@hvjournal/engine";
import { raiseException, Vector } from "./exceptions.js";
import { ExitCode, NotSimulated } from "./exit-code.js";
import { FPR_BYTES } from "./operands.js";
import { Cr0 } from "./registers.js";
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
  C1: 1 << 9,
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

/** The register becomes empty and TOP counts up. */
export function pop(stage: Stage, register: Value<32>): void {
  stage.write(fpuTags, stage.and(stage.read(fpuTags), stage.not(tagOf(stage, register))));
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
  stage.write(fip, stage.pc());
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
