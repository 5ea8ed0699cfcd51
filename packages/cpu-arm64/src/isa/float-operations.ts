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
  type FloatBinaryOp,
  FloatControl,
  FloatFlag,
  FloatOperation,
  floatOperationCode,
  FRACTION_BITS_SHIFT,
  Rounding,
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

const FRACTION_BITS = { 32: 23, 64: 52 } as const;
const EXPONENT_MAX = { 32: 255, 64: 2047 } as const;
const BIAS = { 32: 127, 64: 1023 } as const;

const routines = new Map<string, Routine>();

/** The routine of a name; made once, because the engine links routines by identity. */
function routineOf(name: string, parameters: readonly FloatBits[], result: FloatBits, body: Routine["body"]): Routine {
  const known = routines.get(name);
  if (known !== undefined) return known;
  const made: Routine = { name, parameters, result, body };
  routines.set(name, made);
  return made;
}

function call(stage: Stage, routine: Routine, ...parameters: readonly FloatValue[]): FloatValue {
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
function softly(
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
  return call(stage, softRoutine(operation), ...operands);
}

// Conditions of the fast path

/** Round to nearest, nothing flushed. */
function plainArithmetic(stage: Stage): Value<32> {
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

function isFinite(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return compareAt(
    stage,
    bits,
    "lt_u",
    withoutSign(stage, bits, value),
    constant(stage, bits, exponentShifted(bits, EXPONENT_MAX[bits])),
  );
}

/** The exponent field is `low` to `high`. */
function exponentWithin(stage: Stage, bits: FloatBits, value: FloatValue, low: number, high: number): Value<32> {
  const above = stage.sub(withoutSign(stage, bits, value), constant(stage, bits, exponentShifted(bits, low)));
  return compareAt(stage, bits, "lt_u", above, constant(stage, bits, exponentShifted(bits, high - low + 1)));
}

/** A number that can't have come from below the smallest normal number, where Arm reports underflow before rounding. */
function isSafelyNormal(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return exponentWithin(stage, bits, value, 2, EXPONENT_MAX[bits] - 1);
}

function isFloatZero(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  return isZeroAt(stage, bits, withoutSign(stage, bits, value));
}

function floatCompareAt(
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

function isUnordered(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  return stage.or(floatCompareAt(stage, bits, "ne", left, left), floatCompareAt(stage, bits, "ne", right, right));
}

/** Zero bits at the end of the significand (of a number taken as normal). */
function trailingZeros(stage: Stage, bits: FloatBits, value: FloatValue): Value<32> {
  const count = stage.unary("ctz", stage.or(value, constant(stage, bits, 1n << BigInt(FRACTION_BITS[bits]))));
  return bits === 64 ? stage.truncate32(count as Value<64>) : (count as Value<32>);
}

/** Both significands together are short enough, or one is a power of two: the product is exact if it is normal. */
function productIsExact(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  const fraction = stage.constant32(FRACTION_BITS[bits]);
  const zerosLeft = trailingZeros(stage, bits, left);
  const zerosRight = trailingZeros(stage, bits, right);
  const short = stage.compare("gt_u", stage.add(zerosLeft, zerosRight), fraction);
  return stage.or(short, stage.or(stage.compare("eq", zerosLeft, fraction), stage.compare("eq", zerosRight, fraction)));
}

interface ExactSum {
  readonly sum: FloatValue;
  /** `left + right - sum`, exactly (Knuth's TwoSum). */
  readonly error: FloatValue;
}

function twoSum(stage: Stage, left: FloatValue, right: FloatValue): ExactSum {
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

function negated(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  return stage.xor(value, constant(stage, bits, 1n << BigInt(bits - 1)));
}

function isExact(
  stage: Stage,
  bits: FloatBits,
  operation: Arithmetic,
  left: FloatValue,
  right: FloatValue,
  result: FloatValue,
): Value<32> {
  const zeroOperand = stage.and(
    isFloatZero(stage, bits, result),
    stage.or(isFloatZero(stage, bits, left), isFloatZero(stage, bits, right)),
  );
  switch (operation) {
    case "add":
    case "subtract": {
      const { error } = twoSum(stage, left, operation === "add" ? right : negated(stage, bits, right));
      return stage.and(isFinite(stage, bits, result), isFloatZero(stage, bits, error));
    }
    case "multiply": {
      const product = stage.and(isSafelyNormal(stage, bits, result), productIsExact(stage, bits, left, right));
      return stage.or(product, zeroOperand);
    }
    case "divide": {
      const undone = floatCompareAt(stage, bits, "eq", stage.floatBinary("mul", result, right), left);
      const quotient = stage.and(
        isSafelyNormal(stage, bits, result),
        stage.and(productIsExact(stage, bits, result, right), undone),
      );
      return stage.or(quotient, zeroOperand);
    }
    default:
      return operation satisfies never;
  }
}

// Addition, subtraction, multiplication, division

export type Arithmetic = "add" | "subtract" | "multiply" | "divide";

const hostOperation: Readonly<Record<Arithmetic, FloatBinaryOp>> = {
  add: "add",
  subtract: "sub",
  multiply: "mul",
  divide: "div",
};

/** What a result must look like for its only exception to be "inexact". A sum that is subnormal or zero is exact. */
function arithmeticResultHolds(stage: Stage, bits: FloatBits, operation: Arithmetic, result: FloatValue): Value<32> {
  return operation === "add" || operation === "subtract"
    ? isFinite(stage, bits, result)
    : isSafelyNormal(stage, bits, result);
}

function binaryOperation(name: string, operation: number, bits: FloatBits): SoftOperation {
  return { name: `${name}${bits}`, code: floatOperationCode(operation, bits), operands: [bits, bits], result: bits };
}

/** Where the host's result did not do at once: it may be exact. */
function arithmeticSlowly(operation: Arithmetic, bits: FloatBits): Routine {
  return routineOf(`float:slow:${operation}${bits}`, [bits, bits], bits, (stage, parameters) => {
    const [left, right] = parameters as readonly [FloatValue, FloatValue];
    const result = stage.floatBinary(hostOperation[operation], left, right);
    const exact = stage.and(plainArithmetic(stage), isExact(stage, bits, operation, left, right, result));
    const soft = (): FloatValue =>
      callSoftFloat(stage, binaryOperation(operation, FloatOperation[operation], bits), left, right);
    stage.return(stage.choose(exact, () => result, soft) as Value<32> | Value<64>);
  });
}

export function floatArithmetic(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const result = stage.floatBinary(hostOperation[operation], left, right);
  const holds = stage.and(hostArithmeticHolds(stage), arithmeticResultHolds(stage, bits, operation, result));
  return stage.choose(
    holds,
    () => result,
    () => call(stage, arithmeticSlowly(operation, bits), left, right),
  );
}

/** FMULX. Only infinity by zero, whose product is a NaN, differs from a multiplication. */
export function floatMultiplyExtended(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): FloatValue {
  const result = stage.floatBinary("mul", left, right);
  const holds = stage.and(hostArithmeticHolds(stage), isSafelyNormal(stage, bits, result));
  const operation = binaryOperation("multiplyExtended", FloatOperation.multiplyExtended, bits);
  return stage.choose(
    holds,
    () => result,
    () => callSoftFloat(stage, operation, left, right),
  );
}

/** FABD: the difference without its sign, NaNs included. */
export function floatAbsoluteDifference(
  stage: Stage,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  return floatAbsolute(stage, bits, floatArithmetic(stage, "subtract", bits, left, right));
}

export function floatAbsolute(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  return stage.and(value, constant(stage, bits, (1n << BigInt(bits - 1)) - 1n));
}

export function floatNegate(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  return negated(stage, bits, value);
}

/** FRECPS, FRSQRTS. */
export function floatStep(
  stage: Stage,
  operation: "reciprocalStep" | "reciprocalRootStep",
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  return callSoftFloat(stage, binaryOperation(operation, FloatOperation[operation], bits), left, right);
}

export type Extremum = "maximum" | "minimum" | "maximumNumber" | "minimumNumber";

/** Exact, so that only NaNs and flushed subnormals are the software's. */
export function floatExtremum(
  stage: Stage,
  operation: Extremum,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const host = operation === "maximum" || operation === "maximumNumber" ? "max" : "min";
  const plain = stage.and(keepsSubnormals(stage), stage.isZero(isUnordered(stage, bits, left, right)));
  const soft = (): FloatValue =>
    callSoftFloat(stage, binaryOperation(operation, FloatOperation[operation], bits), left, right);
  return stage.choose(plain, () => stage.floatBinary(host, left, right), soft);
}

// Square root and estimates

function unaryOperation(name: string, operation: number, bits: FloatBits, rounding?: number): SoftOperation {
  const made = {
    name: `${name}${bits}`,
    code: floatOperationCode(operation, bits),
    operands: [bits],
    result: bits,
  } as const;
  return rounding === undefined ? made : { ...made, name: `${made.name}:${rounding}`, rounding };
}

export function floatSquareRoot(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  const root = stage.floatUnary("sqrt", value);
  const squares = stage.and(
    productIsExact(stage, bits, root, root),
    floatCompareAt(stage, bits, "eq", stage.floatBinary("mul", root, root), value),
  );
  const exact = stage.or(isFloatZero(stage, bits, value), stage.and(isSafelyNormal(stage, bits, value), squares));
  const holds = stage.or(hostArithmeticHolds(stage), stage.and(plainArithmetic(stage), exact));
  const operation = unaryOperation("squareRoot", FloatOperation.squareRoot, bits);
  return stage.choose(
    stage.and(holds, isFinite(stage, bits, root)),
    () => root,
    () => callSoftFloat(stage, operation, value),
  );
}

export type Estimate = "reciprocalEstimate" | "reciprocalRootEstimate" | "reciprocalExponent";

export function floatEstimate(stage: Stage, operation: Estimate, bits: FloatBits, value: FloatValue): FloatValue {
  return callSoftFloat(stage, unaryOperation(operation, FloatOperation[operation], bits), value);
}

/** URECPE, URSQRTE: of integers. */
export function unsignedEstimate(
  stage: Stage,
  operation: "unsignedReciprocalEstimate" | "unsignedReciprocalRootEstimate",
  value: FloatValue,
): FloatValue {
  return callSoftFloat(stage, unaryOperation(operation, FloatOperation[operation], 32), value);
}

// Fused multiply-add

/** `addend + left * right`, rounded once. */
export function floatMultiplyAdd(
  stage: Stage,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
  addend: FloatValue,
): FloatValue {
  const routine = routineOf(`float:multiplyAdd${bits}`, [bits, bits, bits], bits, (inner, parameters) => {
    const [a, b, c] = parameters as readonly [FloatValue, FloatValue, FloatValue];
    const fused =
      bits === 64
        ? fusedDouble(inner, a as Value<64>, b as Value<64>, c as Value<64>)
        : fusedSingle(inner, a as Value<32>, b as Value<32>, c as Value<32>);
    const reported = inner.or(hostArithmeticHolds(inner), fused.exact);
    const holds = inner.and(plainArithmetic(inner), inner.and(fused.holds, reported));
    const soft: SoftOperation = {
      name: `multiplyAdd${bits}`,
      code: floatOperationCode(FloatOperation.multiplyAdd, bits),
      operands: [bits, bits, bits],
      result: bits,
    };
    inner.return(
      inner.choose<FloatBits>(
        holds,
        () => fused.result,
        () => callSoftFloat(inner, soft, a, b, c),
      ) as Value<32> | Value<64>,
    );
  });
  return call(stage, routine, left, right, addend);
}

interface Fused {
  readonly result: FloatValue;
  /** The result is the rounded one, if round to nearest is asked for. */
  readonly holds: Value<32>;
  readonly exact: Value<32>;
}

/** `sum + error`, where `sum` is nearest, rounded to odd instead: a second rounding then errs no more. */
function roundedToOdd(stage: Stage, { sum, error }: ExactSum): Value<64> {
  const value = sum as Value<64>;
  const rest = error as Value<64>;
  const even = stage.isZero(stage.and(value, stage.constant64(1)));
  const fix = stage.and(even, stage.isZero(isFloatZero(stage, 64, rest)));
  const outwards = stage.compare("ge_s", stage.xor(value, rest), stage.constant64(0));
  const step = stage.select(outwards, stage.constant64(1), stage.constant64(-1));
  return stage.select(fix, stage.add(value, step), value);
}

/** The product is exact in double precision; the sum is rounded to odd there, then to single (Boldo and Melquiond 2008). */
function fusedSingle(stage: Stage, left: Value<32>, right: Value<32>, addend: Value<32>): Fused {
  const product = stage.floatBinary("mul", stage.floatPromote(left), stage.floatPromote(right));
  const exactSum = twoSum(stage, product, stage.floatPromote(addend));
  const result = stage.floatDemote(roundedToOdd(stage, exactSum));
  const zero = isFloatZero(stage, 64, exactSum.sum);
  const unchanged = stage.floatCompare("eq", stage.floatPromote(result), exactSum.sum as Value<64>);
  return {
    result,
    holds: stage.or(isSafelyNormal(stage, 32, result), zero),
    exact: stage.and(isFloatZero(stage, 64, exactSum.error), unchanged),
  };
}

/** Exponent fields between which products and errors of products neither overflow nor underflow. */
const FACTOR_EXPONENTS = [823, 1223] as const;
const ADDEND_EXPONENTS = [623, 1423] as const;

/** Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008; a zero factor needs no fusing. */
function fusedDouble(stage: Stage, left: Value<64>, right: Value<64>, addend: Value<64>): Fused {
  const product = twoProduct(stage, left, right);
  const low = twoSum(stage, addend, product.error);
  const high = twoSum(stage, product.sum, low.sum);
  const rest = twoSum(stage, low.error, high.error);
  const tail = roundedToOdd(stage, rest);
  const fused = stage.floatBinary("add", high.sum as Value<64>, tail);
  const lost = stage.floatBinary("sub", tail, stage.floatBinary("sub", fused, high.sum as Value<64>));
  const factors = stage.and(
    exponentWithin(stage, 64, left, ...FACTOR_EXPONENTS),
    exponentWithin(stage, 64, right, ...FACTOR_EXPONENTS),
  );
  const addendHolds = stage.or(exponentWithin(stage, 64, addend, ...ADDEND_EXPONENTS), isFloatZero(stage, 64, addend));
  const zeroFactor = stage.or(isFloatZero(stage, 64, left), isFloatZero(stage, 64, right));
  const plain = stage.floatBinary("add", product.sum as Value<64>, addend);
  return {
    result: stage.select(zeroFactor, plain, fused),
    holds: stage.select(zeroFactor, isFinite(stage, 64, plain), stage.and(factors, addendHolds)),
    exact: stage.or(zeroFactor, stage.and(isFloatZero(stage, 64, rest.error), isFloatZero(stage, 64, lost))),
  };
}

/** Product and its error (Dekker's algorithm with Veltkamp's splitting at 27 bits). */
function twoProduct(stage: Stage, left: Value<64>, right: Value<64>): ExactSum {
  const split = (value: Value<64>): readonly [Value<64>, Value<64>] => {
    // 2 ** 27 + 1
    const scaled = stage.floatBinary("mul", value, stage.constant64(0x41a0000002000000n));
    const high = stage.floatBinary("sub", scaled, stage.floatBinary("sub", scaled, value));
    return [high, stage.floatBinary("sub", value, high)];
  };
  const [leftHigh, leftLow] = split(left);
  const [rightHigh, rightLow] = split(right);
  const sum = stage.floatBinary("mul", left, right);
  const first = stage.floatBinary("sub", stage.floatBinary("mul", leftHigh, rightHigh), sum);
  const second = stage.floatBinary("add", first, stage.floatBinary("mul", leftHigh, rightLow));
  const third = stage.floatBinary("add", second, stage.floatBinary("mul", leftLow, rightHigh));
  return { sum, error: stage.floatBinary("add", third, stage.floatBinary("mul", leftLow, rightLow)) };
}

// Comparison

/** NZCV of FCMP (`signalling` false) and FCMPE, as a number of four bits. */
export function floatCompareFlags(
  stage: Stage,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
  signalling: boolean,
): Value<32> {
  const plain = stage.and(keepsSubnormals(stage), stage.isZero(isUnordered(stage, bits, left, right)));
  const host = (): Value<32> => {
    const equalOrGreater = stage.select(
      floatCompareAt(stage, bits, "eq", left, right),
      stage.constant32(0b0110),
      stage.constant32(0b0010),
    );
    return stage.select(floatCompareAt(stage, bits, "lt", left, right), stage.constant32(0b1000), equalOrGreater);
  };
  const soft = (): Value<32> => {
    // 1000, 0110, 0010, 0011 of a `FloatRelation`, from the lowest.
    const relation = stage.binary("shl", softRelation(stage, bits, left, right, signalling), stage.constant32(2));
    return stage.and(stage.binary("shr_u", stage.constant32(0x3268), relation), stage.constant32(15));
  };
  return stage.choose(plain, host, soft);
}

function softRelation(
  stage: Stage,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
  signalling: boolean,
): Value<32> {
  const name = signalling ? "compareSignalling" : "compareQuiet";
  const operation: SoftOperation = { ...binaryOperation(name, FloatOperation[name], bits), result: 32 };
  return callSoftFloat(stage, operation, left, right) as Value<32>;
}

export type FloatCondition = "eq" | "ge" | "gt";

/** FCMEQ, FCMGE, FCMGT: all ones or all zeros. Only the test for equality takes a quiet NaN calmly. */
export function floatCompareMask(
  stage: Stage,
  condition: FloatCondition,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const plain = stage.and(keepsSubnormals(stage), stage.isZero(isUnordered(stage, bits, left, right)));
  const soft = (): Value<32> => {
    // Truth of the condition by `FloatRelation`: less, equal, greater, unordered, from the lowest bit.
    const truths = { eq: 0b0010, ge: 0b0110, gt: 0b0100 }[condition];
    const relation = softRelation(stage, bits, left, right, condition !== "eq");
    return stage.and(stage.binary("shr_u", stage.constant32(truths), relation), stage.constant32(1));
  };
  const holds = stage.choose(plain, () => floatCompareAt(stage, bits, condition, left, right), soft);
  return stage.select(holds, constant(stage, bits, -1), constant(stage, bits, 0));
}

// Conversions

/** FCVT from single to double. */
function floatWiden(stage: Stage, value: Value<32>): FloatValue {
  const plain = stage.and(keepsSubnormals(stage), stage.floatCompare("eq", value, value));
  return stage.choose<FloatBits>(
    plain,
    () => stage.floatPromote(value),
    () => convertSoftly(stage, 32, 64, value),
  );
}

/** FCVT from double to single; `toOdd`: FCVTXN. */
export function floatNarrow(stage: Stage, value: Value<64>, toOdd = false): FloatValue {
  if (toOdd) return convertSoftly(stage, 64, 32, value, Rounding.toOdd);
  const result = stage.floatDemote(value);
  const changed = stage.floatCompare("ne", stage.floatPromote(result), value);
  const holds = stage.and(plainArithmetic(stage), stage.or(isSafelyNormal(stage, 32, result), stage.isZero(changed)));
  const host = (): FloatValue => {
    raiseExceptions(stage, stage.shiftLeft(changed, INEXACT_BIT));
    return result;
  };
  return stage.choose(holds, host, () => convertSoftly(stage, 64, 32, value));
}

/** Bit number of FPSR.IXC. */
const INEXACT_BIT = 4;

function convertSoftly(
  stage: Stage,
  from: 16 | 32 | 64,
  to: 16 | 32 | 64,
  value: FloatValue,
  rounding?: number,
): FloatValue {
  const plain: SoftOperation = {
    name: `convert${from}to${to}`,
    code: floatOperationCode(FloatOperation.convert, from, { target: to }),
    operands: [from === 64 ? 64 : 32],
    result: to === 64 ? 64 : 32,
  };
  const operation = rounding === undefined ? plain : { ...plain, name: `${plain.name}:${rounding}`, rounding };
  return callSoftFloat(stage, operation, value);
}

/** FCVT between formats; a half-precision datum is the low half of a `Value<32>`. */
export function floatConvert(stage: Stage, from: 16 | 32 | 64, to: 16 | 32 | 64, value: FloatValue): FloatValue {
  if (from === 32 && to === 64) return floatWiden(stage, value as Value<32>);
  if (from === 64 && to === 32) return floatNarrow(stage, value as Value<64>);
  return convertSoftly(stage, from, to, value);
}

/** How an instruction rounds to an integer: by its own rule, or as FPCR says. */
export type IntegralRounding =
  "nearestEven" | "towardPositive" | "towardNegative" | "towardZero" | "nearestAway" | "current";

const hostRounding = {
  nearestEven: "nearest",
  current: "nearest",
  towardPositive: "ceil",
  towardNegative: "floor",
  towardZero: "trunc",
} as const;

/** Rounded by the host; right for numbers. `current` is right only while FPCR says nearest. */
function integralOnHost(stage: Stage, bits: FloatBits, rounding: IntegralRounding, value: FloatValue): FloatValue {
  if (rounding !== "nearestAway") return stage.floatUnary(hostRounding[rounding], value);
  const truncated = stage.floatUnary("trunc", value);
  const lost = floatAbsolute(stage, bits, stage.floatBinary("sub", value, truncated));
  const half = constant(stage, bits, BigInt(BIAS[bits] - 1) << BigInt(FRACTION_BITS[bits]));
  const signedOne = stage.or(
    stage.and(value, constant(stage, bits, 1n << BigInt(bits - 1))),
    constant(stage, bits, BigInt(BIAS[bits]) << BigInt(FRACTION_BITS[bits])),
  );
  return stage.select(
    floatCompareAt(stage, bits, "ge", lost, half),
    stage.floatBinary("add", truncated, signedOne),
    truncated,
  );
}

function roundingNumber(rounding: IntegralRounding): number | undefined {
  return rounding === "current" ? undefined : Rounding[rounding];
}

/** FRINT*; `exact` (FRINTX) reports a change as inexact. */
export function floatRoundToIntegral(
  stage: Stage,
  bits: FloatBits,
  rounding: IntegralRounding,
  exact: boolean,
  value: FloatValue,
): FloatValue {
  const mode = rounding === "current" ? plainArithmetic(stage) : keepsSubnormals(stage);
  const host = (): FloatValue => {
    const result = integralOnHost(stage, bits, rounding, value);
    if (exact) raiseExceptions(stage, stage.shiftLeft(floatCompareAt(stage, bits, "ne", result, value), INEXACT_BIT));
    return result;
  };
  const name = exact ? "roundToIntegralExact" : "roundToIntegral";
  const operation = unaryOperation(name, FloatOperation[name], bits, roundingNumber(rounding));
  return stage.choose(stage.and(mode, floatCompareAt(stage, bits, "eq", value, value)), host, () =>
    callSoftFloat(stage, operation, value),
  );
}

/** The bit pattern of a power of two. */
function powerOfTwo(bits: FloatBits, exponent: number): bigint {
  return BigInt(BIAS[bits] + exponent) << BigInt(FRACTION_BITS[bits]);
}

/** `value * 2 ** scale`; exact unless it leaves the range of the format. */
function scaledByPower(
  stage: Stage,
  bits: FloatBits,
  value: FloatValue,
  scale: Value<32>,
  direction: 1 | -1,
): FloatValue {
  const exponent = stage.add(
    stage.constant32(BIAS[bits]),
    direction === 1 ? scale : stage.sub(stage.constant32(0), scale),
  );
  const field = bits === 64 ? stage.zeroExtend64(exponent) : exponent;
  return stage.floatBinary(
    "mul",
    value,
    stage.binary<FloatBits>("shl", field, constant(stage, bits, FRACTION_BITS[bits])),
  );
}

export interface FixedPoint {
  readonly bits: 32 | 64;
  readonly signed: boolean;
  /** How many of the bits stand behind the point (1 to 64), known at run time; default: none. */
  readonly fractionBits?: Value<32>;
}

function fixedOperation(
  direction: "toFixed" | "fromFixed",
  bits: FloatBits,
  fixed: FixedPoint,
  rounding: number | undefined,
): SoftOperation {
  const integer = { bits: fixed.bits, signed: fixed.signed };
  const plain: SoftOperation = {
    name: `${direction}${bits}:${fixed.signed ? "s" : "u"}${fixed.bits}`,
    code: floatOperationCode(FloatOperation[direction], bits, { integer }),
    operands: [direction === "toFixed" ? bits : fixed.bits],
    result: direction === "toFixed" ? fixed.bits : bits,
  };
  return rounding === undefined ? plain : { ...plain, name: `${plain.name}:${rounding}`, rounding };
}

/** Like `callSoftFloat`, with a count of fraction bits that is only known at run time. */
function callSoftFixed(stage: Stage, operation: SoftOperation, fixed: FixedPoint, value: FloatValue): FloatValue {
  if (fixed.fractionBits === undefined) return callSoftFloat(stage, operation, value);
  const parameters = [...operation.operands, 32 as const];
  const routine = routineOf(
    `soft:${operation.name}:scaled`,
    parameters,
    operation.result,
    (inner, [operand, scale]) => {
      inner.return(softly(inner, operation, [operand as FloatValue], scale as Value<32>) as Value<32> | Value<64>);
    },
  );
  return call(stage, routine, value, fixed.fractionBits);
}

/** FCVT{N,P,M,Z,A}{S,U}: to an integer or fixed-point number, saturating. */
export function floatToFixed(
  stage: Stage,
  bits: FloatBits,
  rounding: Exclude<IntegralRounding, "current">,
  fixed: FixedPoint,
  value: FloatValue,
): FloatValue {
  const scaled = fixed.fractionBits === undefined ? value : scaledByPower(stage, bits, value, fixed.fractionBits, 1);
  const integral = integralOnHost(stage, bits, rounding, scaled);
  const limit = constant(stage, bits, powerOfTwo(bits, fixed.signed ? fixed.bits - 1 : fixed.bits));
  const lowest = constant(stage, bits, fixed.signed ? powerOfTwo(bits, fixed.bits - 1) | (1n << BigInt(bits - 1)) : 0n);
  const fits = stage.and(
    floatCompareAt(stage, bits, "lt", integral, limit),
    floatCompareAt(stage, bits, "ge", integral, lowest),
  );
  const host = (): FloatValue => {
    raiseExceptions(stage, stage.shiftLeft(floatCompareAt(stage, bits, "ne", integral, scaled), INEXACT_BIT));
    return stage.floatToInteger<FloatBits>(fixed.bits, fixed.signed, integral as Value<32> | Value<64>);
  };
  const operation = fixedOperation("toFixed", bits, fixed, Rounding[rounding]);
  return stage.choose(stage.and(keepsSubnormals(stage), fits), host, () =>
    callSoftFixed(stage, operation, fixed, value),
  );
}

/** SCVTF, UCVTF: from an integer or fixed-point number. */
export function floatFromFixed(stage: Stage, bits: FloatBits, fixed: FixedPoint, value: FloatValue): FloatValue {
  const host = (): FloatValue => {
    const inexact = needsRounding(stage, bits, fixed, value);
    if (inexact !== undefined) raiseExceptions(stage, stage.shiftLeft(inexact, INEXACT_BIT));
    const converted = stage.floatFromInteger<FloatBits>(bits, fixed.signed, value as Value<32> | Value<64>);
    return fixed.fractionBits === undefined ? converted : scaledByPower(stage, bits, converted, fixed.fractionBits, -1);
  };
  if (bits === 64 && fixed.bits === 32) return host();
  return stage.choose(plainArithmetic(stage), host, () =>
    callSoftFixed(stage, fixedOperation("fromFixed", bits, fixed, undefined), fixed, value),
  );
}

/** Truth: the integer has more significant bits than the format; undefined when it never has. */
function needsRounding(stage: Stage, bits: FloatBits, fixed: FixedPoint, value: FloatValue): Value<32> | undefined {
  const precision = FRACTION_BITS[bits] + 1;
  if (fixed.bits <= precision) return undefined;
  const sign = stage.binary("shr_s", value, constant(stage, fixed.bits, fixed.bits - 1));
  const magnitude = fixed.signed ? stage.sub(stage.xor(value, sign), sign) : value;
  // Leading and trailing zeros; of 0 they are more than all bits.
  const zeros = stage.add(stage.unary("clz", magnitude), stage.unary("ctz", magnitude));
  return compareAt(stage, fixed.bits, "lt_u", zeros, constant(stage, fixed.bits, fixed.bits - precision));
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
  return (stage, ...elements) => call(stage, routine, ...elements);
}
