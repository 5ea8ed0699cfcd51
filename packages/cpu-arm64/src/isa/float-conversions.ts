/** Conversions of one element between float formats, integers and fixed point, and to integral values: see `float-fast-path.ts` for when the host computes. Arm ARM pseudocode FPConvert, FPToFixed, FixedToFP, FPRoundInt. */
import { FloatOperation, floatOperationCode, Rounding, type Stage, type Value } from "@hvjournal/engine";
import {
  type FloatBits,
  type FloatValue,
  FRACTION_BITS,
  BIAS,
  routineOf,
  callFloatRoutine,
  raiseExceptions,
  type SoftOperation,
  softly,
  callSoftFloat,
  plainArithmetic,
  keepsSubnormals,
  isSafelyNormal,
  floatCompareAt,
} from "./float-fast-path.js";
import { floatAbsolute, unaryOperation } from "./float-operations.js";
import { compareAt, constant } from "./general-registers.js";

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
  return callFloatRoutine(stage, routine, value, fixed.fractionBits);
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
