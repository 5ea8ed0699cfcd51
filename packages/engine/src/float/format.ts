/** Binary interchange formats: taking bit patterns apart and rounding exact numbers into them. IEEE 754-2019 3.4, 4.3, 7.4, 7.5. */
import { FloatControl, type FloatEnvironment, FloatFlag, Rounding } from "./environment.js";

const { clz32 } = Math;

export interface FloatFormat {
  readonly bits: 16 | 32 | 64;
  readonly fractionBits: number;
  readonly exponentBits: number;
  readonly bias: number;
  /** The exponent field of infinities and NaNs. */
  readonly exponentMax: number;
}

function formatOf(bits: 16 | 32 | 64, exponentBits: number): FloatFormat {
  return {
    bits,
    exponentBits,
    fractionBits: bits - 1 - exponentBits,
    bias: 2 ** (exponentBits - 1) - 1,
    exponentMax: 2 ** exponentBits - 1,
  };
}

export const binary16: FloatFormat = formatOf(16, 5);
export const binary32: FloatFormat = formatOf(32, 8);
export const binary64: FloatFormat = formatOf(64, 11);

export type FloatKind = "zero" | "finite" | "infinity" | "quietNaN" | "signallingNaN";

/** A datum: `finite` is `significand * 2 ** exponent`, exactly. `bits` is the pattern that it came from. */
export interface Unpacked {
  readonly kind: FloatKind;
  readonly sign: 0 | 1;
  readonly exponent: number;
  readonly significand: bigint;
  readonly bits: bigint;
}

/** Number of bits up to the highest one that is set; 0 for 0. */
export function bitLength(value: bigint): number {
  let rest = value;
  let bits = 0;
  while (rest >= 0x1_0000_0000n) {
    rest >>= 32n;
    bits += 32;
  }
  return bits + 32 - clz32(Number(rest));
}

/** Takes a bit pattern apart; flushes a subnormal number if the environment says so. */
export function unpack(format: FloatFormat, bits: bigint, environment: FloatEnvironment): Unpacked {
  const pattern = BigInt.asUintN(format.bits, bits);
  const sign = pattern >> BigInt(format.bits - 1) === 1n ? 1 : 0;
  const field = Number(pattern >> BigInt(format.fractionBits)) & format.exponentMax;
  const fraction = BigInt.asUintN(format.fractionBits, pattern);
  const make = (kind: FloatKind, exponent = 0, significand = 0n): Unpacked => ({
    kind,
    sign,
    exponent,
    significand,
    bits: pattern,
  });
  if (field === 0) {
    if (fraction === 0n) return make("zero");
    if (format.bits !== 16 && environment.has(FloatControl.flushInputs)) {
      environment.raise(FloatFlag.inputFlushed);
      return make("zero");
    }
    environment.raise(FloatFlag.denormalOperand);
    return make("finite", 1 - format.bias - format.fractionBits, fraction);
  }
  if (field === format.exponentMax && !(format.bits === 16 && environment.has(FloatControl.alternativeHalf))) {
    if (fraction === 0n) return make("infinity");
    return make(fraction >> BigInt(format.fractionBits - 1) === 1n ? "quietNaN" : "signallingNaN");
  }
  return make("finite", field - format.bias - format.fractionBits, fraction | (1n << BigInt(format.fractionBits)));
}

function assemble(format: FloatFormat, sign: 0 | 1, field: number, fraction: bigint): bigint {
  return (BigInt(sign) << BigInt(format.bits - 1)) | (BigInt(field) << BigInt(format.fractionBits)) | fraction;
}

export function zeroOf(format: FloatFormat, sign: 0 | 1): bigint {
  return assemble(format, sign, 0, 0n);
}

export function infinityOf(format: FloatFormat, sign: 0 | 1): bigint {
  return assemble(format, sign, format.exponentMax, 0n);
}

/** The largest finite number. */
export function largestOf(format: FloatFormat, sign: 0 | 1): bigint {
  return infinityOf(format, sign) - 1n;
}

export function defaultNaNOf(format: FloatFormat, environment: FloatEnvironment): bigint {
  const sign = environment.has(FloatControl.defaultNaNNegative) ? 1 : 0;
  return assemble(format, sign, format.exponentMax, 1n << BigInt(format.fractionBits - 1));
}

/** The result of an invalid operation. */
export function invalidOf(format: FloatFormat, environment: FloatEnvironment): bigint {
  environment.raise(FloatFlag.invalidOperation);
  return defaultNaNOf(format, environment);
}

export function isNaN(datum: Unpacked): boolean {
  return datum.kind === "quietNaN" || datum.kind === "signallingNaN";
}

/** The NaN that an operation on these operands gives, in order of precedence; undefined when none is a NaN. */
export function propagatedNaN(
  format: FloatFormat,
  operands: readonly Unpacked[],
  environment: FloatEnvironment,
): bigint | undefined {
  const signalling = operands.find((operand) => operand.kind === "signallingNaN");
  if (signalling !== undefined) environment.raise(FloatFlag.invalidOperation);
  const first = operands.find(isNaN);
  const winner = environment.has(FloatControl.firstNaNWins) ? first : (signalling ?? first);
  if (winner === undefined) return undefined;
  environment.forgetDenormalOperand();
  if (environment.has(FloatControl.defaultNaN)) return defaultNaNOf(format, environment);
  return winner.bits | (1n << BigInt(format.fractionBits - 1));
}

/** Whether a magnitude cut off below the last place goes up: `remainder` of `divisor` was lost. */
export function roundsUp(rounding: number, sign: 0 | 1, quotient: bigint, remainder: bigint, divisor: bigint): boolean {
  if (remainder === 0n) return false;
  switch (rounding) {
    case Rounding.nearestEven: {
      const twice = remainder << 1n;
      return twice > divisor || (twice === divisor && (quotient & 1n) === 1n);
    }
    case Rounding.nearestAway:
      return remainder << 1n >= divisor;
    case Rounding.towardPositive:
      return sign === 0;
    case Rounding.towardNegative:
      return sign === 1;
    case Rounding.toOdd:
      return (quotient & 1n) === 0n;
    default:
      return false;
  }
}

interface Rounded {
  /** In units of the quantum; may have one bit more than the format holds. */
  readonly quotient: bigint;
  readonly inexact: boolean;
}

/** `significand * 2 ** exponent` as a multiple of `2 ** quantum`. */
function roundToQuantum(
  rounding: number,
  sign: 0 | 1,
  significand: bigint,
  exponent: number,
  quantum: number,
): Rounded {
  if (exponent >= quantum) return { quotient: significand << BigInt(exponent - quantum), inexact: false };
  const shift = BigInt(quantum - exponent);
  const quotient = significand >> shift;
  const remainder = significand - (quotient << shift);
  const up = roundsUp(rounding, sign, quotient, remainder, 1n << shift);
  return { quotient: up ? quotient + 1n : quotient, inexact: remainder !== 0n };
}

/**
 * The number `significand * 2 ** exponent` (positive; exact, or with its last bit standing for all
 * that follows) in a format, and the exceptions of rounding it.
 */
export function roundInto(
  format: FloatFormat,
  sign: 0 | 1,
  significand: bigint,
  exponent: number,
  environment: FloatEnvironment,
): bigint {
  const { rounding } = environment;
  const leading = exponent + bitLength(significand) - 1;
  const minimum = 1 - format.bias;
  const tiny =
    leading < minimum &&
    !(
      environment.has(FloatControl.tininessAfterRounding) &&
      reachesMinimum(format, sign, significand, exponent, rounding)
    );
  if (tiny && format.bits !== 16 && environment.has(FloatControl.flushOutputs)) {
    environment.raise(
      FloatFlag.underflow | (environment.has(FloatControl.tininessAfterRounding) ? FloatFlag.inexact : 0),
    );
    return zeroOf(format, sign);
  }
  const quantum = Math.max(leading, minimum) - format.fractionBits;
  const { quotient, inexact } = roundToQuantum(rounding, sign, significand, exponent, quantum);
  const hidden = 1n << BigInt(format.fractionBits);
  if (tiny && environment.has(FloatControl.underflowTrapped)) {
    // Its handler gets no result; whether that would be inexact is looked at with an unbounded exponent.
    const free = roundToQuantum(rounding, sign, significand, exponent, leading - format.fractionBits);
    environment.raise(FloatFlag.underflow | (free.inexact ? FloatFlag.inexact : 0));
    return zeroOf(format, sign);
  }
  if (tiny && inexact) environment.raise(FloatFlag.underflow);
  const carried = quotient === hidden << 1n;
  const field = quotient < hidden ? 0 : quantum + format.fractionBits + format.bias + (carried ? 1 : 0);
  const alternative = format.bits === 16 && environment.has(FloatControl.alternativeHalf);
  if (field > (alternative ? format.exponentMax : format.exponentMax - 1))
    return overflowed(format, sign, alternative, inexact, environment);
  if (inexact) environment.raise(FloatFlag.inexact);
  return assemble(format, sign, field, BigInt.asUintN(format.fractionBits, quotient));
}

/** Whether rounding with an unbounded exponent gives the smallest normal number. */
function reachesMinimum(
  format: FloatFormat,
  sign: 0 | 1,
  significand: bigint,
  exponent: number,
  rounding: number,
): boolean {
  const leading = exponent + bitLength(significand) - 1;
  if (leading !== -format.bias) return false;
  const { quotient } = roundToQuantum(rounding, sign, significand, exponent, leading - format.fractionBits);
  return bitLength(quotient) > format.fractionBits + 1;
}

function overflowed(
  format: FloatFormat,
  sign: 0 | 1,
  alternative: boolean,
  inexact: boolean,
  environment: FloatEnvironment,
): bigint {
  if (alternative) {
    environment.raise(FloatFlag.invalidOperation);
    return BigInt.asUintN(format.bits - 1, -1n) | (BigInt(sign) << BigInt(format.bits - 1));
  }
  // For a handler it is inexact only if it would be with an unbounded exponent.
  const reported = inexact || !environment.has(FloatControl.overflowTrapped);
  environment.raise(FloatFlag.overflow | (reported ? FloatFlag.inexact : 0));
  return overflowsToInfinity(environment.rounding, sign) ? infinityOf(format, sign) : largestOf(format, sign);
}

/** Whether a number beyond the largest of its sign becomes infinity in a rounding. */
export function overflowsToInfinity(rounding: number, sign: 0 | 1): boolean {
  switch (rounding) {
    case Rounding.nearestEven:
    case Rounding.nearestAway:
      return true;
    case Rounding.towardPositive:
      return sign === 0;
    case Rounding.towardNegative:
      return sign === 1;
    default:
      return false;
  }
}
