/**
 * Arithmetic of the 80-bit format beside addition: Intel SDM volume 2 under the names of the x87's instructions. Only
 * addition, multiplication, division and square root are rounded to the precision of the control word.
 */
import { integerSquareRoot } from "./arithmetic.js";
import { FloatRelation } from "./comparison.js";
import { FloatControl, FloatEnvironment, FloatFlag } from "./environment.js";
import {
  assemble,
  BIAS,
  type Datum,
  type Extended,
  FRACTION_BITS,
  infinity,
  invalid,
  lookAt,
  nanOrInvalid,
  QUIET_BIT,
  roundExtended,
  type Sign,
  unpackExtended,
  zero,
} from "./extended.js";
import { bitLength, roundsUp } from "./format.js";

/** Two results of one operation, and what it says in bits of its own. */
export interface ExtendedPair {
  readonly first: Extended;
  readonly second: Extended;
}

/** The same environment with the whole significand; `merge` brings back what it has reported. */
export function inFullPrecision<Result>(
  environment: FloatEnvironment,
  compute: (full: FloatEnvironment) => Result,
): Result {
  const full = new FloatEnvironment(environment.control | (3 << FloatControl.precisionShift));
  full.flags = environment.flags;
  const result = compute(full);
  environment.flags = full.flags;
  return result;
}

export function exponentOf(datum: Datum): number {
  return datum.exponent + bitLength(datum.pattern.significand) - 1;
}

export function extendedMultiply(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  const nan = nanOrInvalid(left, right, environment);
  if (nan !== undefined) return nan;
  const sign: Sign = left.sign === right.sign ? 0 : 1;
  const kinds = [left.kind, right.kind];
  if (kinds.includes("infinity") && kinds.includes("zero")) return invalid(environment);
  lookAt(environment, left, right);
  if (kinds.includes("infinity")) return infinity(sign);
  if (kinds.includes("zero")) return zero(sign);
  const product = left.pattern.significand * right.pattern.significand;
  return roundExtended(sign, product, left.exponent + right.exponent, environment);
}

export function extendedDivide(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  const nan = nanOrInvalid(left, right, environment);
  if (nan !== undefined) return nan;
  const sign: Sign = left.sign === right.sign ? 0 : 1;
  if (left.kind === right.kind && left.kind !== "finite") return invalid(environment);
  if (right.kind === "zero" && left.kind === "finite") {
    environment.raise(FloatFlag.divideByZero);
    return infinity(sign);
  }
  lookAt(environment, left, right);
  if (left.kind === "infinity" || right.kind === "zero") return infinity(sign);
  if (left.kind === "zero" || right.kind === "infinity") return zero(sign);
  const numerator = left.pattern.significand << 132n;
  const quotient = numerator / right.pattern.significand;
  const sticky = quotient * right.pattern.significand === numerator ? 0n : 1n;
  return roundExtended(sign, (quotient << 1n) | sticky, left.exponent - right.exponent - 133, environment);
}

export function extendedSquareRoot(a: Extended, environment: FloatEnvironment): Extended {
  const operand = unpackExtended(a);
  const nan = nanOrInvalid(operand, operand, environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "zero") return operand.pattern;
  if (operand.sign === 1) return invalid(environment);
  if (operand.kind === "infinity") return operand.pattern;
  lookAt(environment, operand);
  const shift =
    136 - bitLength(operand.pattern.significand) + ((operand.exponent ^ bitLength(operand.pattern.significand)) & 1);
  const radicand = operand.pattern.significand << BigInt(shift);
  const root = integerSquareRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return roundExtended(0, (root << 1n) | sticky, (operand.exponent - shift) / 2 - 1, environment);
}

/** A `FloatRelation`; `signalling` finds a quiet NaN invalid too. */
export function extendedCompare(a: Extended, b: Extended, signalling: boolean, environment: FloatEnvironment): number {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  const kinds = [left.kind, right.kind];
  if (kinds.some((kind) => kind === "unsupported" || kind === "quietNaN" || kind === "signallingNaN")) {
    const quiet = kinds.every((kind) => kind !== "unsupported" && kind !== "signallingNaN");
    if (signalling || !quiet) environment.raise(FloatFlag.invalidOperation);
    environment.forgetDenormalOperand();
    return FloatRelation.unordered;
  }
  lookAt(environment, left, right);
  const difference = order(left, right);
  return difference < 0 ? FloatRelation.less : difference === 0 ? FloatRelation.equal : FloatRelation.greater;
}

function order(left: Datum, right: Datum): number {
  const rank = ({ kind, sign }: Datum): number => (kind === "zero" ? 0 : sign === 1 ? -1 : 1);
  if (rank(left) !== rank(right)) return rank(left) - rank(right);
  if (left.kind === "zero") return 0;
  const magnitude = ({ kind, exponent, pattern }: Datum): readonly [number, bigint] =>
    kind === "infinity" ? [Infinity, 0n] : [exponent + bitLength(pattern.significand), normalised(pattern.significand)];
  const [leftTop, leftBits] = magnitude(left);
  const [rightTop, rightBits] = magnitude(right);
  const difference =
    leftTop !== rightTop ? (leftTop < rightTop ? -1 : 1) : leftBits === rightBits ? 0 : leftBits < rightBits ? -1 : 1;
  return left.sign === 1 ? -difference : difference;
}

/** Shifted so that the highest bit is bit 63. */
function normalised(significand: bigint): bigint {
  return significand << BigInt(64 - bitLength(significand));
}

export interface Integral {
  /** Signed. */
  readonly value: bigint;
  readonly inexact: boolean;
  /** Rounding made the magnitude larger. */
  readonly up: boolean;
}

export function roundToIntegral({ sign, exponent, pattern }: Datum, rounding: number): Integral {
  const signed = (magnitude: bigint): bigint => (sign === 1 ? -magnitude : magnitude);
  const { significand } = pattern;
  if (exponent >= 0) return { value: signed(significand << BigInt(exponent)), inexact: false, up: false };
  const shift = BigInt(Math.min(-exponent, 80));
  const quotient = significand >> shift;
  const remainder = significand - (quotient << shift);
  const up = roundsUp(rounding, sign, quotient, remainder, 1n << shift);
  return { value: signed(up ? quotient + 1n : quotient), inexact: remainder !== 0n, up };
}

export function raiseIntegral({ inexact, up }: Integral, environment: FloatEnvironment): void {
  if (inexact) environment.raise(FloatFlag.inexact | (up ? FloatFlag.roundedUp : 0));
}

/** FRNDINT. */
export function extendedRoundToIntegral(a: Extended, environment: FloatEnvironment): Extended {
  const operand = unpackExtended(a);
  const nan = nanOrInvalid(operand, operand, environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "infinity" || operand.kind === "zero") return operand.pattern;
  lookAt(environment, operand);
  if (operand.exponent >= 0) return operand.pattern;
  const integral = roundToIntegral(operand, environment.rounding);
  raiseIntegral(integral, environment);
  const magnitude = integral.value < 0n ? -integral.value : integral.value;
  return magnitude === 0n ? zero(operand.sign) : exactly(operand.sign, magnitude);
}

/** An integer of at most 64 bits. */
function exactly(sign: Sign, magnitude: bigint): Extended {
  const shift = 64 - bitLength(magnitude);
  return assemble(sign, BIAS + FRACTION_BITS - shift, magnitude << BigInt(shift));
}

export function extendedFromInteger(value: bigint): Extended {
  if (value === 0n) return zero(0);
  return value < 0n ? exactly(1, -value) : exactly(0, value);
}

/** FSCALE: `a * 2 ** trunc(b)`. */
export function extendedScale(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  const nan = nanOrInvalid(left, right, environment);
  if (nan !== undefined) return nan;
  if (right.kind === "infinity") {
    const contrary = right.sign === 0 ? "zero" : "infinity";
    if (left.kind === contrary) return invalid(environment);
    lookAt(environment, left);
    return right.sign === 0 ? infinity(left.sign) : zero(left.sign);
  }
  lookAt(environment, left, right);
  if (left.kind !== "finite") return left.pattern;
  const by = right.kind === "zero" ? 0 : scaleOf(right);
  return roundExtended(left.sign, left.pattern.significand, left.exponent + by, environment);
}

const SCALE_MAX = 0x1_0000;

function scaleOf(datum: Datum): number {
  const sign = datum.sign === 1 ? -1 : 1;
  if (exponentOf(datum) >= 17) return sign * SCALE_MAX;
  return sign * Math.min(SCALE_MAX, Number(datum.pattern.significand >> BigInt(Math.min(80, -datum.exponent))));
}

/** FXTRACT: significand (pushed last) and exponent. */
export function extendedExtract(a: Extended, environment: FloatEnvironment): ExtendedPair {
  const operand = unpackExtended(a);
  const nan = nanOrInvalid(operand, operand, environment);
  if (nan !== undefined) return { first: nan, second: nan };
  if (operand.kind === "zero") {
    environment.raise(FloatFlag.divideByZero);
    return { first: operand.pattern, second: infinity(1) };
  }
  if (operand.kind === "infinity") return { first: operand.pattern, second: infinity(0) };
  lookAt(environment, operand);
  return {
    first: assemble(operand.sign, BIAS, normalised(operand.pattern.significand)),
    second: extendedFromInteger(BigInt(exponentOf(operand))),
  };
}

export interface Remainder {
  readonly result: Extended;
  /** The low three bits of the quotient; undefined where the reduction is not complete. */
  readonly quotient: number | "none" | undefined;
}

/** FPREM (truncating) and FPREM1 (to nearest); a difference of exponents of 64 or more is reduced in part only. */
export function extendedRemainder(
  a: Extended,
  b: Extended,
  nearest: boolean,
  environment: FloatEnvironment,
): Remainder {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  const whole = (result: Extended): Remainder => ({ result, quotient: 0 });
  const without = (result: Extended): Remainder => ({ result, quotient: "none" });
  const nan = nanOrInvalid(left, right, environment);
  if (nan !== undefined) return without(nan);
  if (left.kind === "infinity" || right.kind === "zero") return without(invalid(environment));
  lookAt(environment, left, right);
  if (left.kind === "zero") return whole(left.pattern);
  if (right.kind === "infinity")
    return whole(roundExtended(left.sign, left.pattern.significand, left.exponent, environment));
  const difference = exponentOf(left) - exponentOf(right);
  if (difference < 64) return reduced(left, right, 0, nearest, environment);
  return { ...reduced(left, right, difference - partialBits(difference), false, environment), quotient: undefined };
}

/** Bits of the quotient that an incomplete reduction does away with: 32 to 63. */
function partialBits(difference: number): number {
  return 32 + (difference % 32);
}

/** `left - right * 2 ** scale * quotient`. */
function reduced(left: Datum, right: Datum, scale: number, nearest: boolean, environment: FloatEnvironment): Remainder {
  const exponent = Math.min(left.exponent, right.exponent + scale);
  const dividend = left.pattern.significand << BigInt(left.exponent - exponent);
  const divisor = right.pattern.significand << BigInt(right.exponent + scale - exponent);
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let { sign } = left;
  if (nearest && (rest * 2n > divisor || (rest * 2n === divisor && (quotient & 1n) === 1n))) {
    quotient += 1n;
    rest = divisor - rest;
    sign = sign === 1 ? 0 : 1;
  }
  const result = rest === 0n ? zero(left.sign) : roundExtended(sign, rest, exponent, environment);
  return { result, quotient: Number(quotient & 7n) };
}

/** Whether a datum is a NaN that has to be made quiet, for moves that do so. */
export function quieted(pattern: Extended, environment: FloatEnvironment): Extended {
  if (unpackExtended(pattern).kind !== "signallingNaN") return pattern;
  environment.raise(FloatFlag.invalidOperation);
  return { ...pattern, significand: pattern.significand | QUIET_BIT };
}
