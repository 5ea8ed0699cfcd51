/**
 * Floating point of SSE, bit for bit as MXCSR asks, with its exceptions. Intel SDM volume 1, 10.2.3, 11.5; NaNs 4.8.3.5.
 *
 * The host's arithmetic rounds to nearest, flushes nothing and reports nothing. Its result is taken only where MXCSR asks
 * for just that, no operand is denormal, the result is a number whose only possible exception is "inexact", and that is
 * masked and reported already. All else is the software floats' (`FloatOperation`).
 */
import {
  engineFields,
  FloatControl,
  FloatFlag,
  FloatOperation,
  floatOperationCode,
  type Routine,
  softFloat,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { type ExceptionRoutine, noteException, Vector } from "./exceptions.js";
import { Cr4 } from "./registers.js";
import { cr4, mxcsr } from "./state.js";

export type FloatBits = 32 | 64;
export type FloatValue = Value<FloatBits>;

/** Bits of MXCSR. The first six are exceptions; their masks are the same `MASK_SHIFT` bits higher. */
export const Mxcsr = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  DAZ: 1 << 6,
  OM: 1 << 10,
  UM: 1 << 11,
  PM: 1 << 12,
  /** Two bits. */
  RC: 3 << 13,
  FTZ: 1 << 15,
} as const;
const MASK_SHIFT = 7;
const EXCEPTIONS = 0x3f;

/** Round to nearest, nothing flushed, underflow and inexact without handlers, and inexact reported. */
const HOST_MODE = Mxcsr.RC | Mxcsr.FTZ | Mxcsr.DAZ | Mxcsr.UM | Mxcsr.PM | Mxcsr.PE;
const HOST_MODE_VALUE = Mxcsr.UM | Mxcsr.PM | Mxcsr.PE;

export const FRACTION_BITS = { 32: 23, 64: 52 } as const;
export const EXPONENT_MAX = { 32: 255, 64: 2047 } as const;

export function constantOf(stage: Stage, bits: FloatBits, value: bigint): FloatValue {
  return bits === 64 ? stage.constant64(value) : stage.constant32(Number(BigInt.asIntN(32, value)));
}

export function compareAt(
  stage: Stage,
  bits: FloatBits,
  op: Parameters<Stage["compare"]>[0],
  left: FloatValue,
  right: FloatValue,
): Value<32> {
  return bits === 64
    ? stage.compare(op, left as Value<64>, right as Value<64>)
    : stage.compare(op, left as Value<32>, right as Value<32>);
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

// What the fast path asks

export function hostModeHolds(stage: Stage): Value<32> {
  const mode = stage.and(stage.read(mxcsr), stage.constant32(HOST_MODE));
  return stage.compare("eq", mode, stage.constant32(HOST_MODE_VALUE));
}

function withoutSign(stage: Stage, value: FloatValue): FloatValue {
  return stage.shiftLeft(value, 1);
}

function exponentShifted(bits: FloatBits, exponent: number): bigint {
  return BigInt(exponent) << BigInt(FRACTION_BITS[bits] + 1);
}

export function isFinite(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const limit = constantOf(stage, bits, exponentShifted(bits, EXPONENT_MAX[bits]));
  return compareAt(stage, bits, "lt_u", withoutSign(stage, value), limit);
}

/** Zero, normal, infinite or NaN. */
export function isNoDenormal(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const one = constantOf(stage, bits, 1n);
  const least = constantOf(stage, bits, exponentShifted(bits, 1) - 1n);
  return compareAt(stage, bits, "ge_u", stage.sub(withoutSign(stage, value), one), least);
}

/** A number that can't have come from below the smallest normal one. */
export function isSafelyNormal(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const above = stage.sub(withoutSign(stage, value), constantOf(stage, bits, exponentShifted(bits, 2)));
  const span = constantOf(stage, bits, exponentShifted(bits, EXPONENT_MAX[bits] - 2));
  return compareAt(stage, bits, "lt_u", above, span);
}

export function isUnordered(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  return stage.or(floatCompareAt(stage, bits, "ne", left, left), floatCompareAt(stage, bits, "ne", right, right));
}

// The software floats

/** MXCSR as a control word of the software floats; `rounding` (a `Rounding`) in place of its own. */
function floatControl(stage: Stage, rounding: number | undefined): Value<32> {
  const control = stage.read(mxcsr);
  const bit = (flag: number): Value<32> => stage.extractBits(control, Math.log2(flag), 1);
  const as = (truth: Value<32>, option: number): Value<32> => stage.shiftLeft(truth, Math.log2(option));
  const underflowMasked = bit(Mxcsr.UM);
  const fixed =
    FloatControl.tininessAfterRounding |
    FloatControl.firstNaNWins |
    FloatControl.defaultNaNNegative |
    FloatControl.integerIndefinite;
  const options = [
    as(bit(Mxcsr.DAZ), FloatControl.flushInputs),
    as(stage.and(bit(Mxcsr.FTZ), underflowMasked), FloatControl.flushOutputs),
    as(stage.xor(underflowMasked, stage.constant32(1)), FloatControl.underflowTrapped),
    as(stage.xor(bit(Mxcsr.OM), stage.constant32(1)), FloatControl.overflowTrapped),
    rounding === undefined ? ownRounding(stage, control) : stage.constant32(rounding),
  ];
  return options.reduce((sum, option) => stage.or(sum, option), stage.constant32(fixed));
}

/** MXCSR.RC: down and up have their numbers the other way round. */
function ownRounding(stage: Stage, control: Value<32>): Value<32> {
  const down = stage.extractBits(control, 13, 1);
  const up = stage.extractBits(control, 14, 1);
  return stage.or(stage.shiftLeft(down, 1), up);
}

const routines = new Map<string, Routine>();

/** The routine of a name; made once, because the engine links routines by identity. */
export function probingRoutine(
  name: string,
  parameters: readonly FloatBits[],
  result: FloatBits,
  body: Routine["body"],
): Routine {
  const known = routines.get(name);
  if (known !== undefined) return known;
  const made: Routine = { name, parameters, result, probing: true, body };
  routines.set(name, made);
  return made;
}

export function callFloatRoutine(stage: Stage, routine: Routine, ...parameters: readonly FloatValue[]): FloatValue {
  return routine.result === 64
    ? stage.call(routine as Routine & { readonly result: 64 }, ...parameters)
    : stage.call(routine as Routine & { readonly result: 32 }, ...parameters);
}

export interface SoftOperation {
  /** Unique among all operations that differ in any of the following. */
  readonly name: string;
  readonly code: number;
  readonly operands: readonly FloatBits[];
  readonly result: FloatBits;
  /** A `Rounding`; default: MXCSR.RC. */
  readonly rounding?: number;
}

/** Runs an operation in the software floats, which add their exceptions to `engineFields.floatFlags`. */
export function softly(stage: Stage, operation: SoftOperation, ...operands: readonly FloatValue[]): FloatValue {
  const routine = probingRoutine(
    `softFloat:${operation.name}`,
    operation.operands,
    operation.result,
    (inner, parameters) => {
      const fields = [engineFields.floatA, engineFields.floatB, engineFields.floatC];
      operation.operands.forEach((bits, index) => {
        const field = fields[index];
        const value = parameters[index];
        if (field === undefined || value === undefined) return;
        inner.write(field, bits === 64 ? (value as Value<64>) : inner.zeroExtend64(value as Value<32>));
      });
      inner.write(engineFields.floatControl, floatControl(inner, operation.rounding));
      inner.callHost(softFloat, inner.constant32(operation.code));
      const result = inner.read(engineFields.floatResult);
      inner.return(operation.result === 64 ? result : inner.truncate32(result));
    },
  );
  return callFloatRoutine(stage, routine, ...operands);
}

/** An operation on operands of one width that gives that width. */
export function arithmeticOperation(name: keyof typeof FloatOperation, bits: FloatBits): SoftOperation {
  const operands = name === "squareRoot" ? [bits] : [bits, bits];
  return { name: `${name}${bits}`, code: floatOperationCode(FloatOperation[name], bits), operands, result: bits };
}

// Exceptions

/** Bits of `FloatFlag` as MXCSR has them. */
function exceptionsOf(stage: Stage, flags: Value<32>): Value<32> {
  const invalid = stage.and(flags, stage.constant32(Mxcsr.IE));
  const denormal = stage.extractBits(flags, Math.log2(FloatFlag.denormalOperand), 1);
  const others = FloatFlag.divideByZero | FloatFlag.overflow | FloatFlag.underflow | FloatFlag.inexact;
  return stage.or(
    stage.or(invalid, stage.shiftLeft(denormal, 1)),
    stage.shiftLeft(stage.and(flags, stage.constant32(others)), 1),
  );
}

/** (exceptions): #XM, or #UD where the system does not know it. The exceptions are reported in MXCSR all the same. */
const simdFloatError: ExceptionRoutine = {
  name: "simdFloatError",
  parameters: [32],
  result: undefined,
  body(stage, [exceptions]) {
    stage.write(mxcsr, stage.or(stage.read(mxcsr), exceptions as Value<32>));
    const known = stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.OSXMMEXCPT));
    const vector = stage.select(known, stage.constant32(Vector.simdFloat), stage.constant32(Vector.invalidOpcode));
    stage.call(noteException, vector, stage.constant32(0));
  },
};

/** What comes before the operation proper: with a handler for one of these, nothing of what follows is reported. */
const BEFORE = Mxcsr.IE | Mxcsr.DE | Mxcsr.ZE;

/**
 * Raises if an exception of the software floats since `clearFloatFlags` has a handler; gives all of them, as MXCSR's bits.
 * `earlier`: what an operation before, which had no handler, has to report in any case.
 */
export function checkExceptions(stage: Stage, ignored = 0, earlier?: Value<32>): Value<32> {
  const all = exceptionsOf(stage, stage.read(engineFields.floatFlags));
  const exceptions = ignored === 0 ? all : stage.and(all, stage.constant32(~ignored));
  const masks = stage.shiftRight(stage.read(mxcsr), MASK_SHIFT);
  const unmasked = stage.and(stage.and(exceptions, stage.not(masks)), stage.constant32(EXCEPTIONS));
  stage.if(unmasked, () => {
    const early = stage.and(unmasked, stage.constant32(BEFORE));
    const reported = stage.select(early, stage.and(exceptions, stage.constant32(BEFORE)), exceptions);
    stage.raise(simdFloatError, earlier === undefined ? reported : stage.or(reported, earlier));
  });
  return earlier === undefined ? exceptions : stage.or(exceptions, earlier);
}

export function clearFloatFlags(stage: Stage): void {
  stage.write(engineFields.floatFlags, stage.constant32(0));
}

export function writeExceptions(stage: Stage, exceptions: Value<32>): void {
  stage.write(mxcsr, stage.or(stage.read(mxcsr), exceptions));
}

/**
 * Runs `compute`, which may use the software floats, and reports their exceptions (but for those `ignored`): raises, or
 * writes MXCSR. It comes before the first write of an instruction.
 */
export function reporting<Result>(stage: Stage, compute: () => Result, ignored = 0): Result {
  clearFloatFlags(stage);
  const result = compute();
  writeExceptions(stage, checkExceptions(stage, ignored));
  return result;
}

// Arithmetic of one element

export type Arithmetic = "add" | "subtract" | "multiply" | "divide";
export const HOST_NAME = { add: "add", subtract: "sub", multiply: "mul", divide: "div" } as const;

/** One element; raises or writes MXCSR where the host's arithmetic does not do. */
export function scalarArithmetic(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const result = stage.floatBinary(HOST_NAME[operation], left, right);
  const range =
    operation === "add" || operation === "subtract"
      ? isFinite(stage, bits, result)
      : stage.or(isSafelyNormal(stage, bits, result), isExactZero(stage, operation, bits, left, right, result));
  const operands = stage.and(isNoDenormal(stage, bits, left), isNoDenormal(stage, bits, right));
  return stage.choose(
    stage.and(hostModeHolds(stage), stage.and(range, operands)),
    () => result,
    () => reporting(stage, () => softly(stage, arithmeticOperation(operation, bits), left, right)),
  );
}

/** A product or quotient of a zero, with a result that is a number. */
function isExactZero(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
  result: FloatValue,
): Value<32> {
  const zero =
    operation === "multiply"
      ? stage.or(isZeroAt(stage, bits, left), isZeroAt(stage, bits, right))
      : isZeroAt(stage, bits, left);
  return stage.and(zero, isZeroAt(stage, bits, result));
}

export function isZeroAt(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const shifted = withoutSign(stage, value);
  return bits === 64 ? stage.isZero(shifted as Value<64>) : stage.isZero(shifted as Value<32>);
}

export function scalarSquareRoot(stage: Stage, bits: FloatBits, operand: FloatValue): FloatValue {
  const root = stage.floatUnary("sqrt", operand);
  const plain = stage.and(isSafelyNormal(stage, bits, operand), isFinite(stage, bits, root));
  const holds = stage.or(stage.and(hostModeHolds(stage), plain), isZeroAt(stage, bits, operand));
  return stage.choose(
    holds,
    () => stage.select(isZeroAt(stage, bits, operand), operand, root),
    () => reporting(stage, () => softly(stage, arithmeticOperation("squareRoot", bits), operand)),
  );
}
