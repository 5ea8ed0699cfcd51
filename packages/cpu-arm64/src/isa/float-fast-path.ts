/**
 * Floating point of one element, bit for bit as FPCR asks, with FPSR's exceptions.
 *
 * The host's arithmetic rounds to nearest, flushes nothing and reports nothing. Its result is taken only where
 * FPCR asks for just that, the result is a number whose only possible exception is "inexact", and either
 * FPSR.IXC is set already or the result is exact. FPCR.DN does not matter, because a NaN never comes from the
 * host. All else is the software floats' (`FloatOperation`).
 */
import {
  engineFields,
  FloatControl,
  FloatFlag,
  FRACTION_BITS_SHIFT,
  type Routine,
  softFloat,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { compareAt, constant, isZeroAt } from "./general-registers.js";
import { fpcr, fpsr } from "./state.js";

export type FloatBits = 32 | 64;
export type FloatValue = Value<FloatBits>;

/** FPCR.{FZ, RMode}: all that changes a result that is a number. */
const FPCR_FZ = 1 << 24;
const FPCR_RMODE = 3 << 22;
/** FPSR's bits of `FloatFlag`: IDC, IXC, UFC, OFC, DZC, IOC. */
const FPSR_EXCEPTIONS = 0x9f;

export const FRACTION_BITS = { 32: 23, 64: 52 } as const;
const EXPONENT_MAX = { 32: 255, 64: 2047 } as const;
export const BIAS = { 32: 127, 64: 1023 } as const;

const routines = new Map<string, Routine>();

/** The routine of a name; made once, because the engine links routines by identity. */
export function routineOf(
  name: string,
  parameters: readonly FloatBits[],
  result: FloatBits,
  body: Routine["body"],
): Routine {
  const known = routines.get(name);
  if (known !== undefined) return known;
  const made: Routine = { name, parameters, result, body };
  routines.set(name, made);
  return made;
}

export function callFloatRoutine(stage: Stage, routine: Routine, ...parameters: readonly FloatValue[]): FloatValue {
  return routine.result === 64
    ? stage.call(routine as Routine & { readonly result: 64 }, ...parameters)
    : stage.call(routine as Routine & { readonly result: 32 }, ...parameters);
}

/** FPCR as a control word of the software floats, with a rounding of the instruction's own if it has one. */
function floatControl(stage: Stage, rounding: number | undefined): Value<32> {
  const control = stage.read(fpcr);
  const moved = (shift: number, mask: number): Value<32> =>
    stage.and(stage.shiftRight(control, shift), stage.constant32(mask));
  const options = stage.or(
    stage.or(moved(22, FloatControl.defaultNaN), moved(20, FloatControl.flushInputs)),
    stage.or(moved(19, FloatControl.flushOutputs), moved(19, FloatControl.alternativeHalf)),
  );
  return stage.or(options, rounding === undefined ? moved(22, 3) : stage.constant32(rounding));
}

export function raiseExceptions(stage: Stage, flags: Value<32>): void {
  stage.write(fpsr, stage.or(stage.read(fpsr), flags));
}

function wide(stage: Stage, value: FloatValue, bits: FloatBits): Value<64> {
  return bits === 64 ? (value as Value<64>) : stage.zeroExtend64(value as Value<32>);
}

export interface SoftOperation {
  /** Unique among all operations that differ in any of the following. */
  readonly name: string;
  readonly code: number;
  /** Widths of the operands, in order a, b, c. */
  readonly operands: readonly FloatBits[];
  readonly result: FloatBits;
  /** A `Rounding`; default: FPCR.RMode. */
  readonly rounding?: number;
}

/** Runs an operation in the software floats; `fractionBits` joins the code where it is only known at run time. */
export function softly(
  stage: Stage,
  operation: SoftOperation,
  operands: readonly FloatValue[],
  fractionBits?: Value<32>,
): FloatValue {
  const fields = [engineFields.floatA, engineFields.floatB, engineFields.floatC];
  operation.operands.forEach((bits, index) => {
    const field = fields[index];
    const value = operands[index];
    if (field !== undefined && value !== undefined) stage.write(field, wide(stage, value, bits));
  });
  stage.write(engineFields.floatControl, floatControl(stage, operation.rounding));
  stage.write(engineFields.floatFlags, stage.constant32(0));
  const code = stage.constant32(operation.code);
  stage.callHost(
    softFloat,
    fractionBits === undefined ? code : stage.or(code, stage.shiftLeft(fractionBits, FRACTION_BITS_SHIFT)),
  );
  raiseExceptions(stage, stage.and(stage.read(engineFields.floatFlags), stage.constant32(FPSR_EXCEPTIONS)));
  const result = stage.read(engineFields.floatResult);
  return operation.result === 64 ? result : stage.truncate32(result);
}

/** The routine that leaves an operation to the software floats. */
function softRoutine(operation: SoftOperation): Routine {
  return routineOf(`soft:${operation.name}`, operation.operands, operation.result, (stage, parameters) => {
    stage.return(softly(stage, operation, parameters));
  });
}

export function callSoftFloat(stage: Stage, operation: SoftOperation, ...operands: readonly FloatValue[]): FloatValue {
  return callFloatRoutine(stage, softRoutine(operation), ...operands);
}

// Conditions of the fast path

/** Round to nearest, nothing flushed. */
export function plainArithmetic(stage: Stage): Value<32> {
  return stage.isZero(stage.and(stage.read(fpcr), stage.constant32(FPCR_FZ | FPCR_RMODE)));
}

/** Nothing flushed: enough where the instruction fixes the rounding or does not round. */
export function keepsSubnormals(stage: Stage): Value<32> {
  return stage.isZero(stage.and(stage.read(fpcr), stage.constant32(FPCR_FZ)));
}

/** Plain arithmetic, and "inexact" is reported already. */
export function hostArithmeticHolds(stage: Stage): Value<32> {
  const inexact = stage.constant32(FloatFlag.inexact);
  const missing = stage.xor(stage.and(stage.read(fpsr), inexact), inexact);
  return stage.isZero(stage.or(stage.and(stage.read(fpcr), stage.constant32(FPCR_FZ | FPCR_RMODE)), missing));
}

function withoutSign(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  return stage.binary("shl", value, constant(stage, bits, 1));
}

function exponentShifted(bits: FloatBits, exponent: number): bigint {
  return BigInt(exponent) << BigInt(FRACTION_BITS[bits] + 1);
}

export function isFiniteFloat(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return compareAt(
    stage,
    bits,
    "lt_u",
    withoutSign(stage, bits, value),
    constant(stage, bits, exponentShifted(bits, EXPONENT_MAX[bits])),
  );
}

/** The exponent field is `low` to `high`. */
export function exponentWithin(stage: Stage, bits: FloatBits, value: FloatValue, low: number, high: number): Value<32> {
  const above = stage.sub(withoutSign(stage, bits, value), constant(stage, bits, exponentShifted(bits, low)));
  return compareAt(stage, bits, "lt_u", above, constant(stage, bits, exponentShifted(bits, high - low + 1)));
}

/** A number that can't have come from below the smallest normal number, where Arm reports underflow before rounding. */
export function isSafelyNormal(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return exponentWithin(stage, bits, value, 2, EXPONENT_MAX[bits] - 1);
}

export function isFloatZero(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return isZeroAt(stage, bits, withoutSign(stage, bits, value));
}

export function floatCompareAt(
  stage: Stage,
  bits: FloatBits,
  op: Parameters<Stage["floatCompare"]>[0],
  left: FloatValue,
  right: FloatValue,
): Value<32> {
  return bits === 64
    ? stage.floatCompare(op, left as Value<64>, right as Value<64>)
    : stage.floatCompare(op, left as Value<32>, right as Value<32>);
}

export function isUnordered(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  return stage.or(floatCompareAt(stage, bits, "ne", left, left), floatCompareAt(stage, bits, "ne", right, right));
}

/** Zero bits at the end of the significand (of a number taken as normal). */
function trailingZeros(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const count = stage.unary("ctz", stage.or(value, constant(stage, bits, 1n << BigInt(FRACTION_BITS[bits]))));
  return bits === 64 ? stage.truncate32(count as Value<64>) : (count as Value<32>);
}

/** Both significands together are short enough, or one is a power of two: the product is exact if it is normal. */
export function productIsExact(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  const fraction = stage.constant32(FRACTION_BITS[bits]);
  const zerosLeft = trailingZeros(stage, bits, left);
  const zerosRight = trailingZeros(stage, bits, right);
  const short = stage.compare("gt_u", stage.add(zerosLeft, zerosRight), fraction);
  return stage.or(short, stage.or(stage.compare("eq", zerosLeft, fraction), stage.compare("eq", zerosRight, fraction)));
}

export interface ExactSum {
  readonly sum: FloatValue;
  /** `left + right - sum`, exactly (Knuth's TwoSum). */
  readonly error: FloatValue;
}

export function twoSum(stage: Stage, left: FloatValue, right: FloatValue): ExactSum {
  const sum = stage.floatBinary("add", left, right);
  const rightPart = stage.floatBinary("sub", sum, left);
  const leftPart = stage.floatBinary("sub", sum, rightPart);
  const error = stage.floatBinary(
    "add",
    stage.floatBinary("sub", left, leftPart),
    stage.floatBinary("sub", right, rightPart),
  );
  return { sum, error };
}

export function negated(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  return stage.xor(value, constant(stage, bits, 1n << BigInt(bits - 1)));
}

// Elements of vectors

/** An operation on elements as a routine: vector instructions call it once for every element. */
export function elementRoutine(
  name: string,
  parameters: readonly FloatBits[],
  result: FloatBits,
  operation: (stage: Stage, ...elements: readonly FloatValue[]) => FloatValue,
): (stage: Stage, ...elements: readonly FloatValue[]) => FloatValue {
  const routine = routineOf(`element:${name}`, parameters, result, (stage, elements) => {
    stage.return(operation(stage, ...elements) as Value<32> | Value<64>);
  });
  return (stage, ...elements) => callFloatRoutine(stage, routine, ...elements);
}
