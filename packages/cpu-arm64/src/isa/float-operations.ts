/** Floating-point arithmetic and comparison of one element: see `float-fast-path.ts` for when the host computes. Arm ARM pseudocode FPAdd, FPMul, FPMulAdd, FPCompare ... */
import {
  type FloatBinaryOp,
  FloatOperation,
  floatOperationCode,
  type Routine,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import {
  type FloatBits,
  type FloatValue,
  routineOf,
  callFloatRoutine,
  type SoftOperation,
  callSoftFloat,
  plainArithmetic,
  keepsSubnormals,
  hostArithmeticHolds,
  isFiniteFloat,
  exponentWithin,
  isSafelyNormal,
  isFloatZero,
  floatCompareAt,
  isUnordered,
  productIsExact,
  type ExactSum,
  twoSum,
  negated,
} from "./float-fast-path.js";
import { constant } from "./general-registers.js";

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
      return stage.and(isFiniteFloat(stage, bits, result), isFloatZero(stage, bits, error));
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
    ? isFiniteFloat(stage, bits, result)
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
    () => callFloatRoutine(stage, arithmeticSlowly(operation, bits), left, right),
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

export function unaryOperation(name: string, operation: number, bits: FloatBits, rounding?: number): SoftOperation {
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
    stage.and(holds, isFiniteFloat(stage, bits, root)),
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
  return callFloatRoutine(stage, routine, left, right, addend);
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
    holds: stage.select(zeroFactor, isFiniteFloat(stage, 64, plain), stage.and(factors, addendHolds)),
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
