/** Addition, multiplication, division, square root, fused multiply-add. IEEE 754-2019 5.4.1; Arm ARM pseudocode FPAdd, FPMul, FPMulX, FPDiv, FPSqrt, FPMulAdd. */
import { FloatControl, type FloatEnvironment, FloatFlag, Rounding } from "./environment.js";
import {
  bitLength,
  type FloatFormat,
  infinityOf,
  invalidOf,
  propagatedNaN,
  roundInto,
  type Unpacked,
  unpack,
  zeroOf,
} from "./format.js";

type Sign = 0 | 1;

function negate(datum: Unpacked): Unpacked {
  return { ...datum, sign: datum.sign === 1 ? 0 : 1 };
}

/** The sign of an exact sum that is zero, of operands that are not zeros of one sign. */
function signOfExactZero(environment: FloatEnvironment): Sign {
  return environment.rounding === Rounding.towardNegative ? 1 : 0;
}

interface ExactNumber {
  /** Signed. */
  readonly significand: bigint;
  readonly exponent: number;
}

function exact(sign: Sign, significand: bigint, exponent: number): ExactNumber {
  return { significand: sign === 1 ? -significand : significand, exponent };
}

function roundExact(format: FloatFormat, number: ExactNumber, environment: FloatEnvironment): bigint {
  const { significand, exponent } = number;
  if (significand === 0n) return zeroOf(format, signOfExactZero(environment));
  return significand < 0n
    ? roundInto(format, 1, -significand, exponent, environment)
    : roundInto(format, 0, significand, exponent, environment);
}

function sumOf(left: ExactNumber, right: ExactNumber): ExactNumber {
  const exponent = Math.min(left.exponent, right.exponent);
  const aligned = (number: ExactNumber): bigint => number.significand << BigInt(number.exponent - exponent);
  return { significand: aligned(left) + aligned(right), exponent };
}

export function floatAdd(format: FloatFormat, a: bigint, b: bigint, environment: FloatEnvironment): bigint {
  return addUnpacked(format, unpack(format, a, environment), unpack(format, b, environment), false, environment);
}

export function floatSubtract(format: FloatFormat, a: bigint, b: bigint, environment: FloatEnvironment): bigint {
  return addUnpacked(format, unpack(format, a, environment), unpack(format, b, environment), true, environment);
}

function addUnpacked(
  format: FloatFormat,
  left: Unpacked,
  subtrahend: Unpacked,
  subtract: boolean,
  environment: FloatEnvironment,
): bigint {
  const nan = propagatedNaN(format, [left, subtrahend], environment);
  if (nan !== undefined) return nan;
  const right = subtract ? negate(subtrahend) : subtrahend;
  if (left.kind === "infinity" || right.kind === "infinity") {
    if (left.kind === right.kind && left.sign !== right.sign) return invalidOf(format, environment);
    return infinityOf(format, left.kind === "infinity" ? left.sign : right.sign);
  }
  if (left.kind === "zero" && right.kind === "zero" && left.sign === right.sign) return zeroOf(format, left.sign);
  return roundExact(
    format,
    sumOf(exact(left.sign, left.significand, left.exponent), exact(right.sign, right.significand, right.exponent)),
    environment,
  );
}

export function floatMultiply(format: FloatFormat, a: bigint, b: bigint, environment: FloatEnvironment): bigint {
  return multiply(format, a, b, environment, invalidOf);
}

/** Arm's FMULX: infinity by zero is two, of the product's sign, and not invalid. */
export function floatMultiplyExtended(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  environment: FloatEnvironment,
): bigint {
  return multiply(format, a, b, environment, (_format, _environment, sign) =>
    roundInto(format, sign, 1n, 1, environment),
  );
}

type InfinityByZero = (format: FloatFormat, environment: FloatEnvironment, sign: Sign) => bigint;

function multiply(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  environment: FloatEnvironment,
  infinityByZero: InfinityByZero,
): bigint {
  const left = unpack(format, a, environment);
  const right = unpack(format, b, environment);
  const nan = propagatedNaN(format, [left, right], environment);
  if (nan !== undefined) return nan;
  const sign = left.sign === right.sign ? 0 : 1;
  if (isInfinityByZero(left, right)) return infinityByZero(format, environment, sign);
  if (left.kind === "infinity" || right.kind === "infinity") return infinityOf(format, sign);
  if (left.kind === "zero" || right.kind === "zero") return zeroOf(format, sign);
  return roundInto(format, sign, left.significand * right.significand, left.exponent + right.exponent, environment);
}

function isInfinityByZero(left: Unpacked, right: Unpacked): boolean {
  return (left.kind === "infinity" && right.kind === "zero") || (left.kind === "zero" && right.kind === "infinity");
}

export function floatDivide(format: FloatFormat, a: bigint, b: bigint, environment: FloatEnvironment): bigint {
  const left = unpack(format, a, environment);
  const right = unpack(format, b, environment);
  const nan = propagatedNaN(format, [left, right], environment);
  if (nan !== undefined) return nan;
  const sign = left.sign === right.sign ? 0 : 1;
  if (left.kind === right.kind && left.kind !== "finite") return invalidOf(format, environment);
  if (left.kind === "infinity") return infinityOf(format, sign);
  if (left.kind === "zero" || right.kind === "infinity") return zeroOf(format, sign);
  if (right.kind === "zero") {
    environment.raise(FloatFlag.divideByZero);
    return infinityOf(format, sign);
  }
  // Two bits more than the format holds, and a last one for all that follows.
  const shift = Math.max(0, format.fractionBits + 3 + bitLength(right.significand) - bitLength(left.significand));
  const numerator = left.significand << BigInt(shift);
  const quotient = numerator / right.significand;
  const sticky = quotient * right.significand === numerator ? 0n : 1n;
  return roundInto(format, sign, (quotient << 1n) | sticky, left.exponent - right.exponent - shift - 1, environment);
}

export function floatSquareRoot(format: FloatFormat, a: bigint, environment: FloatEnvironment): bigint {
  const operand = unpack(format, a, environment);
  const nan = propagatedNaN(format, [operand], environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "zero") return zeroOf(format, operand.sign);
  if (operand.sign === 1) return invalidOf(format, environment);
  if (operand.kind === "infinity") return infinityOf(format, 0);
  // An even exponent, and a root with two bits more than the format holds.
  const wanted = 2 * (format.fractionBits + 3);
  let shift = Math.max(0, wanted - bitLength(operand.significand));
  if (((operand.exponent - shift) & 1) !== 0) shift += 1;
  const radicand = operand.significand << BigInt(shift);
  const root = integerSquareRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return roundInto(format, 0, (root << 1n) | sticky, (operand.exponent - shift) / 2 - 1, environment);
}

/** The largest integer whose square is not above `value` (Newton's method from above). */
export function integerSquareRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/**
 * `addend + a * b`, rounded once. NaN precedence: addend, a, b, and infinity by zero is invalid even beside a quiet
 * NaN as addend (Arm); or a, b, addend, and that NaN wins (x86).
 */
export function floatMultiplyAdd(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  addend: bigint,
  environment: FloatEnvironment,
): bigint {
  const third = unpack(format, addend, environment);
  const left = unpack(format, a, environment);
  const right = unpack(format, b, environment);
  const firstNaNWins = environment.has(FloatControl.firstNaNWins);
  const nan = propagatedNaN(format, firstNaNWins ? [left, right, third] : [third, left, right], environment);
  const invalidBesideNaN = third.kind === "quietNaN" && !firstNaNWins;
  if (isInfinityByZero(left, right) && (nan === undefined || invalidBesideNaN)) return invalidOf(format, environment);
  if (nan !== undefined) return nan;
  const sign = left.sign === right.sign ? 0 : 1;
  const infinite = left.kind === "infinity" || right.kind === "infinity";
  if (third.kind === "infinity")
    return infinite && sign !== third.sign ? invalidOf(format, environment) : infinityOf(format, third.sign);
  if (infinite) return infinityOf(format, sign);
  const zeroProduct = left.kind === "zero" || right.kind === "zero";
  if (zeroProduct && third.kind === "zero" && third.sign === sign) return zeroOf(format, sign);
  return roundExact(format, fusedSum(left, right, sign, third), environment);
}

function fusedSum(left: Unpacked, right: Unpacked, sign: Sign, third: Unpacked): ExactNumber {
  const addend = exact(third.sign, third.significand, third.exponent);
  const product = exact(sign, left.significand * right.significand, left.exponent + right.exponent);
  if (product.significand === 0n) return addend;
  return addend.significand === 0n ? product : sumOf(addend, product);
}

/** Newton-Raphson steps of Arm: FRECPS is `2 - a * b`, FRSQRTS `(3 - a * b) / 2`, each rounded once; infinity by zero counts as 0. */
export function floatStep(
  format: FloatFormat,
  a: bigint,
  b: bigint,
  constant: 2 | 3,
  environment: FloatEnvironment,
): bigint {
  // The operand is negated before NaNs are looked at: a NaN's sign turns.
  const left = unpack(format, a ^ (1n << BigInt(format.bits - 1)), environment);
  const right = unpack(format, b, environment);
  const nan = propagatedNaN(format, [left, right], environment);
  if (nan !== undefined) return nan;
  const halved = constant === 3 ? -1 : 0;
  const whole: ExactNumber = { significand: BigInt(constant), exponent: 0 };
  const scaled = (number: ExactNumber): ExactNumber => ({
    significand: number.significand,
    exponent: number.exponent + halved,
  });
  if (isInfinityByZero(left, right)) return roundExact(format, scaled(whole), environment);
  const sign = left.sign === right.sign ? 0 : 1;
  if (left.kind === "infinity" || right.kind === "infinity") return infinityOf(format, sign);
  const product = exact(sign, left.significand * right.significand, left.exponent + right.exponent);
  return roundExact(format, scaled(product.significand === 0n ? whole : sumOf(whole, product)), environment);
}
