/**
 * The 80-bit double extended-precision format of the x87: Intel SDM volume 1, 4.2.2 and 8.2; exceptions 8.5; NaNs 4.8.3.5.
 * Its integer bit is explicit, so that some patterns mean nothing: they are invalid operands.
 */
import { FloatControl, type FloatEnvironment, FloatFlag, Precision, Rounding } from "./environment.js";
import { bitLength, type FloatFormat, overflowsToInfinity, roundsUp, type Unpacked, unpack } from "./format.js";

export type Sign = 0 | 1;

/** A bit pattern: sign and exponent in 16 bits, significand in 64. */
export interface Extended {
  readonly signExponent: number;
  readonly significand: bigint;
}

export const BIAS = 16383;
export const EXPONENT_MAX = 0x7fff;
export const EXPONENT_MINIMUM = 1 - BIAS;
export const FRACTION_BITS = 63;
export const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;
/** What the exponent of a result is brought into range with for a handler: 3 * 2 ** 13. */
const TRAP_BIAS = 24576;

/** The default NaN, "real indefinite". */
export const EXTENDED_INDEFINITE: Extended = { signExponent: 0xffff, significand: INTEGER_BIT | QUIET_BIT };

export function assemble(sign: Sign, field: number, significand: bigint): Extended {
  return { signExponent: (sign << 15) | field, significand };
}

export interface Datum {
  readonly kind: Unpacked["kind"] | "unsupported";
  readonly sign: Sign;
  /** `finite`: `significand * 2 ** exponent`. */
  readonly exponent: number;
  readonly pattern: Extended;
}

export function unpackExtended(pattern: Extended): Datum {
  const field = pattern.signExponent & EXPONENT_MAX;
  const { significand } = pattern;
  const datum = (kind: Datum["kind"]): Datum => ({
    kind,
    sign: pattern.signExponent >>> 15 === 1 ? 1 : 0,
    exponent: Math.max(field, 1) - BIAS - FRACTION_BITS,
    pattern,
  });
  if (field === 0) return datum(significand === 0n ? "zero" : "finite");
  if (significand < INTEGER_BIT) return datum("unsupported");
  if (field !== EXPONENT_MAX) return datum("finite");
  if (significand === INTEGER_BIT) return datum("infinity");
  return datum((significand & QUIET_BIT) === 0n ? "signallingNaN" : "quietNaN");
}

export function isDenormal(datum: Datum): boolean {
  return datum.kind === "finite" && (datum.pattern.signExponent & EXPONENT_MAX) === 0;
}

/** The same datum of a shorter format; a signalling NaN stays one, and a subnormal number is told by its flag. */
export function extendedFrom(format: FloatFormat, bits: bigint, environment: FloatEnvironment): Extended {
  const datum = unpack(format, bits, environment);
  switch (datum.kind) {
    case "zero":
      return assemble(datum.sign, 0, 0n);
    case "infinity":
      return assemble(datum.sign, EXPONENT_MAX, INTEGER_BIT);
    case "finite": {
      const shift = FRACTION_BITS + 1 - bitLength(datum.significand);
      const field = datum.exponent - shift + BIAS + FRACTION_BITS;
      return assemble(datum.sign, field, datum.significand << BigInt(shift));
    }
    case "quietNaN":
    case "signallingNaN": {
      const fraction = BigInt.asUintN(format.fractionBits, datum.bits) << BigInt(FRACTION_BITS - format.fractionBits);
      return assemble(datum.sign, EXPONENT_MAX, INTEGER_BIT | fraction);
    }
    default:
      return datum.kind satisfies never;
  }
}

export function extendedAdd(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  return nanOrInvalid(left, right, environment) ?? sum(left, right, environment);
}

export function extendedSubtract(a: Extended, b: Extended, environment: FloatEnvironment): Extended {
  const left = unpackExtended(a);
  const right = unpackExtended(b);
  return nanOrInvalid(left, right, environment) ?? sum(left, negated(right), environment);
}

export function negated(datum: Datum): Datum {
  const { signExponent, significand } = datum.pattern;
  return {
    ...datum,
    sign: datum.sign === 1 ? 0 : 1,
    pattern: { signExponent: signExponent ^ 0x8000, significand },
  };
}

/** The result of an operation whose operands decide it before their values are looked at. */
export function nanOrInvalid(left: Datum, right: Datum, environment: FloatEnvironment): Extended | undefined {
  if (left.kind === "unsupported" || right.kind === "unsupported") return invalid(environment);
  return propagatedNaN(left, right, environment);
}

/** Reports a denormal operand. */
export function lookAt(environment: FloatEnvironment, ...data: readonly Datum[]): void {
  if (data.some(isDenormal)) environment.raise(FloatFlag.denormalOperand);
}

function sum(left: Datum, right: Datum, environment: FloatEnvironment): Extended {
  const infinite = left.kind === "infinity" ? left : right.kind === "infinity" ? right : undefined;
  if (left.kind === right.kind && left.kind === "infinity" && left.sign !== right.sign) return invalid(environment);
  lookAt(environment, left, right);
  if (infinite !== undefined) return infinite.pattern;
  if (left.kind === "zero" && right.kind === "zero" && left.sign === right.sign) return left.pattern;
  const exponent = Math.min(left.exponent, right.exponent);
  const total = aligned(left, exponent) + aligned(right, exponent);
  if (total === 0n) return zero(environment.rounding === Rounding.towardNegative ? 1 : 0);
  return total < 0n ? roundExtended(1, -total, exponent, environment) : roundExtended(0, total, exponent, environment);
}

export function zero(sign: Sign): Extended {
  return assemble(sign, 0, 0n);
}

export function infinity(sign: Sign): Extended {
  return assemble(sign, EXPONENT_MAX, INTEGER_BIT);
}

function aligned({ sign, pattern, exponent }: Datum, to: number): bigint {
  // A zero has the lowest exponent, and shifts nothing that counts.
  const magnitude = pattern.significand << BigInt(exponent - to);
  return sign === 1 ? -magnitude : magnitude;
}

export function invalid(environment: FloatEnvironment): Extended {
  environment.raise(FloatFlag.invalidOperation);
  return EXTENDED_INDEFINITE;
}

/** A quiet NaN beats a signalling one; of two alike the larger significand wins, then the positive one. */
export function propagatedNaN(left: Datum, right: Datum, environment: FloatEnvironment): Extended | undefined {
  const isNaN = (datum: Datum): boolean => datum.kind === "quietNaN" || datum.kind === "signallingNaN";
  const nans = [left, right].filter(isNaN);
  if (nans.length === 0) return undefined;
  if (nans.some((datum) => datum.kind === "signallingNaN")) environment.raise(FloatFlag.invalidOperation);
  environment.forgetDenormalOperand();
  const quiet = nans.filter((datum) => datum.kind === "quietNaN");
  const candidates = quiet.length === 1 ? quiet : nans;
  const winner = candidates.reduce((best, datum) => {
    if (datum.pattern.significand !== best.pattern.significand)
      return datum.pattern.significand > best.pattern.significand ? datum : best;
    return datum.sign < best.sign ? datum : best;
  });
  const { signExponent, significand } = winner.pattern;
  return { signExponent, significand: significand | QUIET_BIT };
}

export function precisionOf({ control }: FloatEnvironment): number {
  switch ((control >>> FloatControl.precisionShift) & 3) {
    case Precision.single:
      return 24;
    case Precision.double:
      return 53;
    default:
      return 64;
  }
}

interface Rounded {
  /** In units of `2 ** quantum`. */
  readonly quotient: bigint;
  readonly quantum: number;
  readonly inexact: boolean;
  readonly up: boolean;
}

function roundToQuantum(
  environment: FloatEnvironment,
  sign: Sign,
  significand: bigint,
  exponent: number,
  quantum: number,
): Rounded {
  if (exponent >= quantum)
    return { quotient: significand << BigInt(exponent - quantum), quantum, inexact: false, up: false };
  const shift = BigInt(quantum - exponent);
  const quotient = significand >> shift;
  const remainder = significand - (quotient << shift);
  const up = roundsUp(environment.rounding, sign, quotient, remainder, 1n << shift);
  return { quotient: up ? quotient + 1n : quotient, quantum, inexact: remainder !== 0n, up };
}

function raiseRounding({ inexact, up }: Rounded, environment: FloatEnvironment): void {
  if (inexact) environment.raise(FloatFlag.inexact | (up ? FloatFlag.roundedUp : 0));
}

/** The exact number `significand * 2 ** exponent`, positive, in the precision and rounding of the environment. */
export function roundExtended(
  sign: Sign,
  significand: bigint,
  exponent: number,
  environment: FloatEnvironment,
): Extended {
  const precision = precisionOf(environment);
  const leading = exponent + bitLength(significand) - 1;
  const free = roundToQuantum(environment, sign, significand, exponent, leading - precision + 1);
  // Tininess is looked at after rounding.
  const tiny = leadingOf(free) < EXPONENT_MINIMUM;
  if (tiny && environment.has(FloatControl.underflowTrapped)) {
    environment.raise(FloatFlag.underflow);
    raiseRounding(free, environment);
    // What is too far away even so becomes a zero, and at the other end an infinity.
    if (leadingOf(free) + TRAP_BIAS < EXPONENT_MINIMUM) return beyond(zero(sign), 0, environment);
    return packed(sign, free, TRAP_BIAS);
  }
  if (leadingOf(free) > BIAS) return overflowed(sign, free, precision, environment);
  const quantum = Math.max(leading, EXPONENT_MINIMUM) - precision + 1;
  const rounded = quantum === free.quantum ? free : roundToQuantum(environment, sign, significand, exponent, quantum);
  if (tiny && rounded.inexact) environment.raise(FloatFlag.underflow);
  raiseRounding(rounded, environment);
  return packed(sign, rounded, 0);
}

function beyond(result: Extended, flags: number, environment: FloatEnvironment): Extended {
  environment.raise(FloatFlag.inexact | flags);
  return result;
}

function leadingOf({ quotient, quantum }: Rounded): number {
  return quantum + bitLength(quotient) - 1;
}

function overflowed(sign: Sign, free: Rounded, precision: number, environment: FloatEnvironment): Extended {
  environment.raise(FloatFlag.overflow);
  if (environment.has(FloatControl.overflowTrapped)) {
    raiseRounding(free, environment);
    if (leadingOf(free) - TRAP_BIAS > BIAS) return beyond(infinity(sign), FloatFlag.roundedUp, environment);
    return packed(sign, free, -TRAP_BIAS);
  }
  if (overflowsToInfinity(environment.rounding, sign)) {
    environment.raise(FloatFlag.inexact | FloatFlag.roundedUp);
    return assemble(sign, EXPONENT_MAX, INTEGER_BIT);
  }
  environment.raise(FloatFlag.inexact);
  const ones = ((1n << BigInt(precision)) - 1n) << BigInt(64 - precision);
  return assemble(sign, EXPONENT_MAX - 1, ones);
}

/** `quotient * 2 ** (quantum + bias)` as a pattern; it fits. */
function packed(sign: Sign, rounded: Rounded, bias: number): Extended {
  const { quotient, quantum } = rounded;
  if (quotient === 0n) return assemble(sign, 0, 0n);
  const leading = leadingOf(rounded) + bias;
  const lowest = Math.max(leading, EXPONENT_MINIMUM) - FRACTION_BITS;
  const shift = quantum + bias - lowest;
  const significand = shift >= 0 ? quotient << BigInt(shift) : quotient >> BigInt(-shift);
  return assemble(sign, leading < EXPONENT_MINIMUM ? 0 : leading + BIAS, significand);
}
