/**
 * The transcendental functions of the 80-bit format: Intel SDM volume 1, 8.3.7, 8.3.8; volume 2 under the names of the
 * instructions.
 *
 * Method: the function is computed on integers with `PRECISION` bits behind the point, about a hundred bits more than a
 * significand has, and rounded once in the rounding of the control word. The error before that is far below 2 ** -64 of the
 * last place, so that a result is the correctly rounded one except where the exact value lies that close to the middle of
 * two numbers. Arguments of sine, cosine and tangent beyond pi / 4 are reduced by the 66 bits of pi that the manual gives,
 * as processors do: near multiples of pi, and for large arguments, that is what the result is exact of. Results that are neither zero nor infinite
 * are reported as inexact, be they exact or not, as processors do.
 */
import { integerSquareRoot } from "./arithmetic.js";
import { type FloatEnvironment, FloatFlag } from "./environment.js";
import {
  assemble,
  BIAS,
  type Datum,
  type Extended,
  EXPONENT_MAX,
  infinity,
  INTEGER_BIT,
  invalid,
  lookAt,
  nanOrInvalid,
  roundExtended,
  type Sign,
  unpackExtended,
  zero,
} from "./extended.js";
import { exponentOf, type ExtendedPair } from "./extended-arithmetic.js";
import { bitLength } from "./format.js";

const PRECISION = 192;
const WIDE = BigInt(PRECISION);
const ONE = 1n << WIDE;

/** A positive number `significand * 2 ** exponent`, of about `PRECISION` bits. */
interface Big {
  readonly significand: bigint;
  readonly exponent: number;
}

function big(significand: bigint, exponent: number): Big {
  const excess = bitLength(significand) - PRECISION;
  if (excess <= 0) return { significand, exponent };
  return { significand: significand >> BigInt(excess), exponent: exponent + excess };
}

function product(left: Big, right: Big): Big {
  return big(left.significand * right.significand, left.exponent + right.exponent);
}

function quotient(left: Big, right: Big): Big {
  const shift = 2 * PRECISION;
  return big((left.significand << BigInt(shift)) / right.significand, left.exponent - right.exponent - shift);
}

/** With `PRECISION` bits behind the point. */
function toFixed({ significand, exponent }: Big): bigint {
  const shift = exponent + PRECISION;
  return shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(Math.min(-shift, 2 ** 15));
}

function fromFixed(value: bigint): Big {
  return { significand: value, exponent: -PRECISION };
}

function magnitudeOf(datum: Datum): Big {
  return { significand: datum.pattern.significand, exponent: datum.exponent };
}

/** Rounds a number that is not exact: its last bit stands for what follows. */
function roundInexact(sign: Sign, { significand, exponent }: Big, environment: FloatEnvironment): Extended {
  return roundExtended(sign, (significand << 80n) | 1n, exponent - 80, environment);
}

// Constants, computed once

/** 2 atanh(1 / n), with bits to spare. */
function twiceInverseHyperbolic(n: bigint, bits: bigint): bigint {
  let power = (2n << bits) / n;
  let sum = power;
  for (let odd = 3n; power !== 0n; odd += 2n) {
    power /= n * n;
    sum += power / odd;
  }
  return sum;
}

function inverseTangentOfInverse(n: bigint, bits: bigint): bigint {
  let power = (1n << bits) / n;
  let sum = power;
  let sign = -1n;
  for (let odd = 3n; power !== 0n; odd += 2n) {
    power /= n * n;
    sum += (sign * power) / odd;
    sign = -sign;
  }
  return sum;
}

const SPARE = 64n;
/** ln 2 = 2 atanh(1/3). */
const LN2: bigint = twiceInverseHyperbolic(3n, WIDE + SPARE) >> SPARE;
/** The largest argument has 63 bits before the point, and the rest of a reduction may be 2 ** -70. */
const PI_BITS = 448;
/** Machin: pi / 4 = 4 atan(1/5) - atan(1/239). */
const HALF_PI: bigint =
  (2n *
    (4n * inverseTangentOfInverse(5n, BigInt(PI_BITS) + SPARE) -
      inverseTangentOfInverse(239n, BigInt(PI_BITS) + SPARE))) >>
  SPARE;
const PI: Big = big(HALF_PI, 1 - PI_BITS);
/** Half of the 66 bits of pi that x87s reduce arguments with: Intel SDM volume 1, 8.3.8. */
const REDUCING_HALF_PI: bigint = 0xc90f_daa2_2168_c234_cn << BigInt(PI_BITS - 67);

// Series in fixed point

/** (e ** t - 1) / t for a t of either sign, below 1 in magnitude. */
function exponentialRatio(t: bigint): bigint {
  let term = ONE;
  let sum = ONE;
  for (let k = 2n; term !== 0n && term !== -1n; k += 1n) {
    term = ((term * t) >> WIDE) / k;
    sum += term;
  }
  return sum;
}

/** atanh(z) / z. */
function inverseHyperbolicRatio(z: bigint): bigint {
  const square = (z * z) >> WIDE;
  let power = ONE;
  let sum = ONE;
  for (let odd = 3n; power !== 0n; odd += 2n) {
    power = (power * square) >> WIDE;
    sum += power / odd;
  }
  return sum;
}

/** atan(z) / z. */
function inverseTangentRatio(z: bigint): bigint {
  const square = (z * z) >> WIDE;
  let power = ONE;
  let sum = ONE;
  let sign = -1n;
  for (let odd = 3n; power !== 0n; odd += 2n) {
    power = (power * square) >> WIDE;
    sum += (sign * power) / odd;
    sign = -sign;
  }
  return sum;
}

/** sin(z) / z (`first` 2) or cos(z) (`first` 1). */
function alternating(z: bigint, first: 1n | 2n): bigint {
  const square = (z * z) >> WIDE;
  let term = ONE;
  let sum = ONE;
  for (let k = first; term !== 0n; k += 2n) {
    term = ((term * square) >> WIDE) / (k * (k + 1n));
    sum += ((k - first) / 2n) % 2n === 0n ? -term : term;
  }
  return sum;
}

// F2XM1, FYL2X, FYL2XP1

/** F2XM1: `2 ** a - 1`; outside of -1 to 1, which the manual leaves undefined, the operand itself. */
export function exponentialMinusOne(a: Extended, environment: FloatEnvironment): Extended {
  const operand = unpackExtended(a);
  const nan = nanOrInvalid(operand, operand, environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "zero") return operand.pattern;
  if (operand.kind === "infinity") return operand.sign === 0 ? operand.pattern : assemble(1, BIAS, INTEGER_BIT);
  lookAt(environment, operand);
  const exponent = exponentOf(operand);
  if (exponent >= 0) {
    const isOne = exponent === 0 && (operand.pattern.significand & (INTEGER_BIT - 1n)) === 0n;
    environment.raise(FloatFlag.inexact);
    if (!isOne) return operand.pattern;
    return operand.sign === 0 ? operand.pattern : assemble(1, BIAS - 1, INTEGER_BIT);
  }
  const t = product(magnitudeOf(operand), fromFixed(LN2));
  const fixed = toFixed(t);
  const ratio = exponentialRatio(operand.sign === 1 ? -fixed : fixed);
  return roundInexact(operand.sign, product(t, fromFixed(ratio)), environment);
}

interface Signed {
  readonly sign: Sign;
  readonly magnitude: Big;
}

/** log2 of `(1 + z) / (1 - z)` for a z (positive or negative) below 0.2: 2 / ln 2 * atanh z. */
function logarithmOfRatio(z: Signed): Signed {
  const ratio = inverseHyperbolicRatio(toFixed(z.magnitude));
  const scaled = quotient(product(z.magnitude, fromFixed(ratio)), fromFixed(LN2));
  return { sign: z.sign, magnitude: { ...scaled, exponent: scaled.exponent + 1 } };
}

const SQUARE_ROOT_OF_HALF = 0xb504_f333_f9de_6484n;

/** log2 of a positive number; undefined where that is 0. */
function logarithm({ significand, exponent }: Big): Signed | undefined {
  const length = bitLength(significand);
  // The number is `fraction * 2 ** power` with a fraction from the root of 1/2 to the root of 2.
  const large = (significand << 64n) >> BigInt(length) >= SQUARE_ROOT_OF_HALF;
  const power = exponent + length - (large ? 0 : 1);
  const unit = 1n << BigInt(large ? length : length - 1);
  const above = significand - unit;
  if (above === 0n) return power === 0 ? undefined : integer(power);
  const sign: Sign = above < 0n ? 1 : 0;
  const z = quotient(
    { significand: above < 0n ? -above : above, exponent: 0 },
    { significand: significand + unit, exponent: 0 },
  );
  const part = logarithmOfRatio({ sign, magnitude: z });
  if (power === 0) return part;
  const fixed = (BigInt(power) << WIDE) + (sign === 1 ? -toFixed(part.magnitude) : toFixed(part.magnitude));
  return { sign: fixed < 0n ? 1 : 0, magnitude: fromFixed(fixed < 0n ? -fixed : fixed) };
}

function integer(power: number): Signed {
  return { sign: power < 0 ? 1 : 0, magnitude: { significand: BigInt(Math.abs(power)), exponent: 0 } };
}

function isPowerOfTwo(datum: Datum): boolean {
  const { significand } = datum.pattern;
  return (significand & (significand - 1n)) === 0n;
}

/** FYL2X: `b * log2 a`. */
export function logarithmTimes(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const operand = unpackExtended(a);
  const factor = unpackExtended(b);
  const nan = nanOrInvalid(operand, factor, environment);
  if (nan !== undefined) return nan;
  if (operand.sign === 1 && operand.kind !== "zero") return invalid(environment);
  if (operand.kind === "zero") {
    if (factor.kind === "zero") return invalid(environment);
    if (factor.kind !== "infinity") environment.raise(FloatFlag.divideByZero);
    return infinity(factor.sign === 1 ? 0 : 1);
  }
  if (operand.kind === "infinity") {
    if (factor.kind === "zero") return invalid(environment);
    lookAt(environment, factor);
    return infinity(factor.sign);
  }
  const log = logarithm(magnitudeOf(operand));
  if (log === undefined && factor.kind === "infinity") return invalid(environment);
  lookAt(environment, operand, factor);
  const sign: Sign = (log?.sign ?? 0) === factor.sign ? 0 : 1;
  if (factor.kind === "infinity") return infinity(sign);
  if (log === undefined || factor.kind === "zero") return zero(sign);
  if (!isPowerOfTwo(operand)) return roundInexact(sign, product(log.magnitude, magnitudeOf(factor)), environment);
  environment.raise(FloatFlag.inexact);
  const exact = log.magnitude.significand * factor.pattern.significand;
  const result = roundExtended(sign, exact, factor.exponent, environment);
  const isTiny = (result.signExponent & EXPONENT_MAX) === 0 && result.significand !== 0n;
  if (isTiny) environment.raise(FloatFlag.underflow);
  return result;
}

/** FYL2XP1: `b * log2(a + 1)`. The manual leaves an a beyond about 0.3 undefined; up to -1 it is the result. */
export function logarithmOfSuccessorTimes(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const operand = unpackExtended(a);
  const factor = unpackExtended(b);
  const nan = nanOrInvalid(operand, factor, environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "infinity") {
    if (operand.sign === 1 || factor.kind === "zero") return invalid(environment);
    lookAt(environment, factor);
    return infinity(factor.sign);
  }
  if (operand.kind === "zero" && factor.kind === "infinity") return invalid(environment);
  lookAt(environment, operand, factor);
  const sign: Sign = operand.sign === factor.sign ? 0 : 1;
  if (factor.kind === "infinity") return infinity(sign);
  if (operand.kind === "zero" || factor.kind === "zero") return zero(sign);
  const successor = operand.kind === "finite" && exponentOf(operand) >= -2 ? successorOf(operand) : undefined;
  if (successor !== undefined && successor <= 0n) {
    environment.raise(FloatFlag.inexact);
    return operand.pattern;
  }
  const log =
    successor === undefined
      ? logarithmNearOne(operand)
      : (logarithm({ significand: successor, exponent: -SUCCESSOR_BITS })?.magnitude ?? fromFixed(0n));
  return roundInexact(sign, product(log, magnitudeOf(factor)), environment);
}

/** Bits behind the point of the successor of a number that is not small. */
const SUCCESSOR_BITS = 66;

function successorOf({ sign, pattern, exponent }: Datum): bigint {
  const magnitude = pattern.significand << BigInt(Math.max(0, exponent + SUCCESSOR_BITS));
  return (1n << BigInt(SUCCESSOR_BITS)) + (sign === 1 ? -magnitude : magnitude);
}

/** The magnitude of log2(1 + operand). */
function logarithmNearOne(operand: Datum): Big {
  const magnitude = magnitudeOf(operand);
  const fixed = toFixed(magnitude);
  const two = 2n << WIDE;
  const z = quotient(magnitude, fromFixed(operand.sign === 1 ? two - fixed : two + fixed));
  return logarithmOfRatio({ sign: operand.sign, magnitude: z }).magnitude;
}

// FSIN, FCOS, FSINCOS, FPTAN

interface Reduced {
  /** Of the quotient by pi / 2, the two low bits. */
  readonly quadrant: number;
  /** From -pi/4 to pi/4. */
  readonly rest: Signed;
}

function reduceByHalfPi(operand: Datum): Reduced {
  const magnitude = operand.pattern.significand << BigInt(PI_BITS);
  const scaled = operand.exponent >= 0 ? magnitude << BigInt(operand.exponent) : undefined;
  if (exponentOf(operand) < -1) return { quadrant: 0, rest: { sign: operand.sign, magnitude: magnitudeOf(operand) } };
  const fixed = scaled ?? magnitude >> BigInt(-operand.exponent);
  let count = fixed / REDUCING_HALF_PI;
  let rest = fixed - count * REDUCING_HALF_PI;
  if (rest * 2n > REDUCING_HALF_PI) {
    count += 1n;
    rest -= REDUCING_HALF_PI;
  }
  const negative = rest < 0n !== (operand.sign === 1);
  const quadrant = Number(count & 3n);
  return {
    quadrant: operand.sign === 1 ? -quadrant & 3 : quadrant,
    rest: { sign: negative ? 1 : 0, magnitude: big(rest < 0n ? -rest : rest, -PI_BITS) },
  };
}

/** The sine (`quarter` 0) or cosine (1) of a reduced argument. */
function sineOf({ quadrant, rest }: Reduced, quarter: 0 | 1): Signed {
  const turn = (quadrant + quarter) & 3;
  const fixed = toFixed(rest.magnitude);
  if ((turn & 1) === 1) return { sign: turn === 3 ? 1 : 0, magnitude: fromFixed(alternating(fixed, 1n)) };
  const flipped: Sign = turn === 2 ? 1 : 0;
  const magnitude = product(rest.magnitude, fromFixed(alternating(fixed, 2n)));
  return { sign: rest.sign === flipped ? 0 : 1, magnitude };
}

/** Whether an operand of FSIN and its like is too large: 2 ** 63 or more. Then C2 is set and nothing happens. */
export function isTooLargeToReduce(a: Extended): boolean {
  const operand = unpackExtended(a);
  return operand.kind === "finite" && exponentOf(operand) >= 63;
}

/** A NaN, or of an infinity the exception; undefined for a number. */
function angleOf(a: Extended, environment: FloatEnvironment): Extended | Datum {
  const operand = unpackExtended(a);
  const nan = nanOrInvalid(operand, operand, environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "infinity") return invalid(environment);
  lookAt(environment, operand);
  return operand;
}

function isDatum(value: Extended | Datum): value is Datum {
  return "kind" in value;
}

const ONE_EXTENDED: Extended = assemble(0, BIAS, INTEGER_BIT);

export function sine(a: Extended, environment: FloatEnvironment): Extended {
  const operand = angleOf(a, environment);
  if (!isDatum(operand)) return operand;
  if (operand.kind === "zero") return operand.pattern;
  const { sign, magnitude } = sineOf(reduceByHalfPi(operand), 0);
  return roundInexact(sign, slightlyLess(operand, magnitude), environment);
}

/** The sine of a tiny number is a little smaller than it, by less than any precision has. */
function slightlyLess(operand: Datum, magnitude: Big): Big {
  if (exponentOf(operand) > -PRECISION / 2) return magnitude;
  return { significand: (operand.pattern.significand << 100n) - 1n, exponent: operand.exponent - 100 };
}

export function cosine(a: Extended, environment: FloatEnvironment): Extended {
  const operand = angleOf(a, environment);
  if (!isDatum(operand)) return operand;
  if (operand.kind === "zero") return ONE_EXTENDED;
  const { sign, magnitude } = sineOf(reduceByHalfPi(operand), 1);
  if (exponentOf(operand) < -PRECISION / 2) return roundInexact(0, fromFixed(ONE - 1n), environment);
  return roundInexact(sign, magnitude, environment);
}

/** FSINCOS: the sine in place of the operand, and the cosine. */
export function sineAndCosine(a: Extended, environment: FloatEnvironment): ExtendedPair {
  return { first: cosine(a, environment), second: sine(a, environment) };
}

/** FPTAN: the tangent in place of the operand, and 1. */
export function tangent(a: Extended, environment: FloatEnvironment): ExtendedPair {
  const operand = angleOf(a, environment);
  if (!isDatum(operand)) return { first: operand, second: operand };
  if (operand.kind === "zero") return { first: ONE_EXTENDED, second: operand.pattern };
  const reduced = reduceByHalfPi(operand);
  const numerator = sineOf(reduced, 0);
  const denominator = sineOf(reduced, 1);
  const sign: Sign = numerator.sign === denominator.sign ? 0 : 1;
  const tiny = exponentOf(operand) <= -PRECISION / 2;
  const magnitude = tiny ? magnitudeOf(operand) : quotient(numerator.magnitude, denominator.magnitude);
  return { first: ONE_EXTENDED, second: roundInexact(sign, magnitude, environment) };
}

// FPATAN

/** Of a number from 0 to 1. */
function inverseTangent(value: Big): Big {
  let z = value;
  let doublings = 0;
  // atan z = 2 atan(z / (1 + sqrt(1 + z * z))), until the series is quick.
  for (; doublings < 3; doublings++) {
    const fixed = toFixed(z);
    const root = integerSquareRoot((ONE + ((fixed * fixed) >> WIDE)) << WIDE);
    z = quotient(z, fromFixed(ONE + root));
  }
  const result = product(z, fromFixed(inverseTangentRatio(toFixed(z))));
  return { ...result, exponent: result.exponent + doublings };
}

function quarters(sign: Sign, count: 1 | 2 | 3 | 4, environment: FloatEnvironment): Extended {
  return roundInexact(sign, big(PI.significand * BigInt(count), PI.exponent - 2), environment);
}

/** FPATAN: the angle of the point (a, b), that is `atan(b / a)` in the right quadrant. */
export function inverseTangentOf(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const x = unpackExtended(a);
  const y = unpackExtended(b);
  const nan = nanOrInvalid(x, y, environment);
  if (nan !== undefined) return nan;
  lookAt(environment, x, y);
  if (y.kind === "zero" || (x.kind === "infinity" && y.kind !== "infinity")) {
    if (y.kind === "zero" || x.sign === 0 || x.kind === "infinity")
      return x.sign === 0 ? zero(y.sign) : quarters(y.sign, 4, environment);
  }
  if (y.kind === "infinity") {
    if (x.kind !== "infinity") return quarters(y.sign, 2, environment);
    return quarters(y.sign, x.sign === 0 ? 1 : 3, environment);
  }
  if (x.kind === "zero") return quarters(y.sign, 2, environment);
  return angleOfPoint(x, y, environment);
}

function angleOfPoint(x: Datum, y: Datum, environment: FloatEnvironment): Extended {
  const ratio = quotient(magnitudeOf(y), magnitudeOf(x));
  const steep = bitLength(ratio.significand) + ratio.exponent > 0;
  const slope = steep ? quotient(magnitudeOf(x), magnitudeOf(y)) : ratio;
  const angle = inverseTangent(slope);
  if (!steep && x.sign === 0) return roundSmall(y.sign, x, y, angle, environment);
  const half = toFixed({ ...PI, exponent: PI.exponent - 1 });
  const fixed = toFixed(angle);
  if (steep) return roundInexact(y.sign, fromFixed(x.sign === 0 ? half - fixed : half + fixed), environment);
  return roundInexact(y.sign, fromFixed(2n * half - fixed), environment);
}

/** An angle that is hardly distinguishable from the quotient is a little smaller than it. */
function roundSmall(sign: Sign, x: Datum, y: Datum, angle: Big, environment: FloatEnvironment): Extended {
  if (bitLength(angle.significand) + angle.exponent > -PRECISION / 2) return roundInexact(sign, angle, environment);
  const exact = quotient(magnitudeOf(y), magnitudeOf(x));
  return roundInexact(
    sign,
    { significand: (exact.significand << 100n) - 1n, exponent: exact.exponent - 100 },
    environment,
  );
}
