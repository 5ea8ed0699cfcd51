/**
 * The reciprocal estimates that the Arm architecture fixes bit for bit: FRECPE, FRSQRTE, FRECPX, URECPE, URSQRTE.
 * Arm ARM pseudocode RecipEstimate, RecipSqrtEstimate, FPRecipEstimate, FPRSqrtEstimate, FPRecpX, UnsignedRecipEstimate, UnsignedRSqrtEstimate.
 */
import { FloatControl, type FloatEnvironment, FloatFlag } from "./environment.js";
import {
  bitLength,
  type FloatFormat,
  infinityOf,
  invalidOf,
  largestOf,
  overflowsToInfinity,
  propagatedNaN,
  type Unpacked,
  unpack,
  zeroOf,
} from "./format.js";

/** 256 to 511 stands for 0.5 to 1; so does the result, for 1 to 2. */
function reciprocalEstimate(scaled: number): number {
  const quotient = Math.floor(2 ** 19 / (scaled * 2 + 1));
  return (quotient + 1) >> 1;
}

/** 128 to 511 stands for 0.25 to 1; the result, 256 to 511, for 1 to 2. */
function reciprocalRootEstimate(scaled: number): number {
  const middle = scaled < 256 ? scaled * 2 + 1 : (((scaled >> 1) << 1) + 1) * 2;
  let root = 512;
  while (middle * (root + 1) * (root + 1) < 2 ** 28) root += 1;
  return (root + 1) >> 1;
}

/** The number's fraction, normalised to eight bits below the leading one, and the biased exponent that goes with it. */
function normalised(format: FloatFormat, operand: Unpacked): { readonly exponent: number; readonly fraction: number } {
  const length = bitLength(operand.significand);
  const exponent = operand.exponent + length - 1 + format.bias;
  const shift = length - 9;
  const top = shift >= 0 ? operand.significand >> BigInt(shift) : operand.significand << BigInt(-shift);
  return { exponent, fraction: Number(top) & 0xff };
}

export function floatReciprocalEstimate(format: FloatFormat, a: bigint, environment: FloatEnvironment): bigint {
  const operand = unpack(format, a, environment);
  const nan = propagatedNaN(format, [operand], environment);
  if (nan !== undefined) return nan;
  const { sign } = operand;
  if (operand.kind === "infinity") return zeroOf(format, sign);
  if (operand.kind === "zero") {
    environment.raise(FloatFlag.divideByZero);
    return infinityOf(format, sign);
  }
  const { exponent, fraction } = normalised(format, operand);
  // Below 2 ** -(bias + 1) the reciprocal is beyond the largest number.
  if (exponent < -1) {
    environment.raise(FloatFlag.overflow | FloatFlag.inexact);
    return overflowsToInfinity(environment.rounding, sign) ? infinityOf(format, sign) : largestOf(format, sign);
  }
  const resultExponent = 2 * format.bias - 1 - exponent;
  if (resultExponent <= 0 && environment.has(FloatControl.flushOutputs)) {
    environment.raise(FloatFlag.underflow);
    return zeroOf(format, sign);
  }
  const estimate = BigInt(reciprocalEstimate(256 + fraction) & 0xff) << BigInt(format.fractionBits - 8);
  const hidden = 1n << BigInt(format.fractionBits);
  const field =
    resultExponent > 0 ? BigInt(resultExponent) * hidden + estimate : (hidden | estimate) >> BigInt(1 - resultExponent);
  return zeroOf(format, sign) | field;
}

export function floatReciprocalRootEstimate(format: FloatFormat, a: bigint, environment: FloatEnvironment): bigint {
  const operand = unpack(format, a, environment);
  const nan = propagatedNaN(format, [operand], environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "zero") {
    environment.raise(FloatFlag.divideByZero);
    return infinityOf(format, operand.sign);
  }
  if (operand.sign === 1) return invalidOf(format, environment);
  if (operand.kind === "infinity") return zeroOf(format, 0);
  const { exponent, fraction } = normalised(format, operand);
  const scaled = (exponent & 1) === 0 ? 256 + fraction : 128 + (fraction >> 1);
  const resultExponent = (3 * format.bias - 1 - exponent) >> 1;
  const estimate = reciprocalRootEstimate(scaled) & 0xff;
  return (
    (BigInt(resultExponent) << BigInt(format.fractionBits)) | (BigInt(estimate) << BigInt(format.fractionBits - 8))
  );
}

/** FRECPX: the exponent turned around, no fraction. */
export function floatReciprocalExponent(format: FloatFormat, a: bigint, environment: FloatEnvironment): bigint {
  const operand = unpack(format, a, environment);
  const nan = propagatedNaN(format, [operand], environment);
  if (nan !== undefined) return nan;
  const field = Number(operand.bits >> BigInt(format.fractionBits)) & format.exponentMax;
  const turned = field === 0 ? format.exponentMax - 1 : format.exponentMax - field;
  return zeroOf(format, operand.sign) | (BigInt(turned) << BigInt(format.fractionBits));
}

/** URECPE, of a fraction of 32 bits. */
export function unsignedReciprocalEstimate(a: bigint): bigint {
  const operand = BigInt.asUintN(32, a);
  if (operand >> 31n === 0n) return 0xffff_ffffn;
  return BigInt(reciprocalEstimate(Number(operand >> 23n))) << 23n;
}

/** URSQRTE, of a fraction of 32 bits. */
export function unsignedReciprocalRootEstimate(a: bigint): bigint {
  const operand = BigInt.asUintN(32, a);
  if (operand >> 30n === 0n) return 0xffff_ffffn;
  return BigInt(reciprocalRootEstimate(Number(operand >> 23n))) << 23n;
}
