/** Comparison, minimum and maximum. IEEE 754-2008 5.3.1, 5.11; Arm ARM pseudocode FPCompare, FPMax, FPMaxNum. */
import { type FloatEnvironment, FloatFlag } from "./environment.js";
import {
  type FloatFormat,
  infinityOf,
  isNaN,
  propagatedNaN,
  roundInto,
  type Unpacked,
  unpack,
  zeroOf,
} from "./format.js";

/** What a comparison gives. */
export const FloatRelation = { less: 0, equal: 1, greater: 2, unordered: 3 } as const;

/** The order of two data that are no NaNs: negative, 0, positive. */
function order(left: Unpacked, right: Unpacked): number {
  if (left.kind === "zero" && right.kind === "zero") return 0;
  const rank = (datum: Unpacked): number => (datum.kind === "zero" ? 0 : datum.sign === 1 ? -1 : 1);
  if (rank(left) !== rank(right)) return rank(left) - rank(right);
  return left.sign === 1 ? -orderOfMagnitudes(left, right) : orderOfMagnitudes(left, right);
}

function orderOfMagnitudes(left: Unpacked, right: Unpacked): number {
  if (left.kind === "infinity" || right.kind === "infinity") {
    return (left.kind === "infinity" ? 1 : 0) - (right.kind === "infinity" ? 1 : 0);
  }
  const exponent = Math.min(left.exponent, right.exponent);
  const difference =
    (left.significand << BigInt(left.exponent - exponent)) - (right.significand << BigInt(right.exponent - exponent));
  return difference === 0n ? 0 : difference < 0n ? -1 : 1;
}

/** A `FloatRelation`. A signalling NaN is invalid; a quiet one too if `signalling`. */
export function floatCompare(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  signalling: boolean,
  environment: FloatEnvironment,
): bigint {
  const left = unpack(format, a, environment);
  const right = unpack(format, b, environment);
  if (isNaN(left) || isNaN(right)) {
    if (signalling || left.kind === "signallingNaN" || right.kind === "signallingNaN")
      environment.raise(FloatFlag.invalidOperation);
    environment.forgetDenormalOperand();
    return BigInt(FloatRelation.unordered);
  }
  const sense = order(left, right);
  return BigInt(sense < 0 ? FloatRelation.less : sense === 0 ? FloatRelation.equal : FloatRelation.greater);
}

/** The larger (`sense` 1) or smaller (-1); +0 is larger than -0. */
export function floatExtremum(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  sense: 1 | -1,
  environment: FloatEnvironment,
): bigint {
  const left = unpack(format, a, environment);
  const right = unpack(format, b, environment);
  const nan = propagatedNaN(format, [left, right], environment);
  if (nan !== undefined) return nan;
  if (left.kind === "zero" && right.kind === "zero") {
    const sign = sense === 1 ? left.sign & right.sign : left.sign | right.sign;
    return zeroOf(format, sign === 1 ? 1 : 0);
  }
  const winner = order(left, right) * sense > 0 ? left : right;
  if (winner.kind === "infinity") return infinityOf(format, winner.sign);
  if (winner.kind === "zero") return zeroOf(format, winner.sign);
  return roundInto(format, winner.sign, winner.significand, winner.exponent, environment);
}

/** IEEE 754-2008 maxNum and minNum: one quiet NaN beside a number loses. */
export function floatExtremumNumber(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  sense: 1 | -1,
  environment: FloatEnvironment,
): bigint {
  const quiet = (bits: bigint): boolean => isQuietNaN(format, bits);
  const loser = infinityOf(format, sense === 1 ? 1 : 0);
  const left = quiet(a) && !quiet(b) ? loser : a;
  const right = quiet(b) && !quiet(a) ? loser : b;
  return floatExtremum(format, left, right, sense, environment);
}

function isQuietNaN(format: FloatFormat, bits: bigint): boolean {
  const quiet = infinityOf(format, 0) | (1n << BigInt(format.fractionBits - 1));
  return (bits & quiet) === quiet;
}
