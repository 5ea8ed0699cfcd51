/** Conversions between formats, to and from integers and fixed point, and to integral values. IEEE 754-2019 5.4.2, 5.8, 5.9; Arm ARM pseudocode FPConvert, FPToFixed, FixedToFP, FPRoundInt. */
import { FloatControl, type FloatEnvironment, FloatFlag } from "./environment.js";
import {
  defaultNaNOf,
  type FloatFormat,
  infinityOf,
  isNaN,
  propagatedNaN,
  roundInto,
  roundsUp,
  type Unpacked,
  unpack,
  zeroOf,
} from "./format.js";

/** From one format to another. */
export function floatConvert(from: FloatFormat, to: FloatFormat, a: bigint, environment: FloatEnvironment): bigint {
  const operand = unpack(from, a, environment);
  const alternative = to.bits === 16 && environment.has(FloatControl.alternativeHalf);
  if (isNaN(operand)) return convertNaN(from, to, operand, alternative, environment);
  if (operand.kind === "zero") return zeroOf(to, operand.sign);
  if (operand.kind === "finite") return roundInto(to, operand.sign, operand.significand, operand.exponent, environment);
  if (!alternative) return infinityOf(to, operand.sign);
  environment.raise(FloatFlag.invalidOperation);
  return zeroOf(to, operand.sign) | BigInt.asUintN(to.bits - 1, -1n);
}

/** The payload keeps its leading bits; a format without NaNs gives zero. */
function convertNaN(
  from: FloatFormat,
  to: FloatFormat,
  operand: Unpacked,
  alternative: boolean,
  environment: FloatEnvironment,
): bigint {
  if (operand.kind === "signallingNaN" || alternative) environment.raise(FloatFlag.invalidOperation);
  if (alternative) return zeroOf(to, operand.sign);
  if (environment.has(FloatControl.defaultNaN)) return defaultNaNOf(to, environment);
  const payload = BigInt.asUintN(from.fractionBits, operand.bits);
  const difference = to.fractionBits - from.fractionBits;
  const fraction = difference >= 0 ? payload << BigInt(difference) : payload >> BigInt(-difference);
  return infinityOf(to, operand.sign) | (1n << BigInt(to.fractionBits - 1)) | fraction;
}

interface Integer {
  /** Signed. */
  readonly value: bigint;
  readonly inexact: boolean;
}

/** `operand * 2 ** scale`, rounded to an integer. */
function toInteger(operand: Unpacked, scale: number, rounding: number): Integer {
  const exponent = operand.exponent + scale;
  const signed = (magnitude: bigint): bigint => (operand.sign === 1 ? -magnitude : magnitude);
  if (exponent >= 0) return { value: signed(operand.significand << BigInt(exponent)), inexact: false };
  const shift = BigInt(-exponent);
  const quotient = operand.significand >> shift;
  const remainder = operand.significand - (quotient << shift);
  const up = roundsUp(rounding, operand.sign, quotient, remainder, 1n << shift);
  return { value: signed(up ? quotient + 1n : quotient), inexact: remainder !== 0n };
}

/** Rounds to an integral value in the same format; with `exact`, reports a change as inexact. */
export function floatRoundToIntegral(
  format: FloatFormat,
  a: bigint,
  exact: boolean,
  environment: FloatEnvironment,
): bigint {
  const operand = unpack(format, a, environment);
  const nan = propagatedNaN(format, [operand], environment);
  if (nan !== undefined) return nan;
  if (operand.kind === "infinity") return infinityOf(format, operand.sign);
  if (operand.kind === "zero") return zeroOf(format, operand.sign);
  const { value, inexact } = toInteger(operand, 0, environment.rounding);
  if (inexact && exact) environment.raise(FloatFlag.inexact);
  if (value === 0n) return zeroOf(format, operand.sign);
  return roundInto(format, operand.sign, value < 0n ? -value : value, 0, environment);
}

/** To an integer of `bits`, signed or not, with `fractionBits` of them behind the point; as an unsigned number of 64 bits, zero-extended. */
export function floatToFixed(
  format: FloatFormat,
  a: bigint,
  bits: 16 | 32 | 64,
  signed: boolean,
  fractionBits: number,
  environment: FloatEnvironment,
): bigint {
  const operand = unpack(format, a, environment);
  environment.forgetDenormalOperand();
  const smallest = signed ? -(1n << BigInt(bits - 1)) : 0n;
  const largest = signed ? (1n << BigInt(bits - 1)) - 1n : (1n << BigInt(bits)) - 1n;
  const invalid = (saturated: bigint): bigint => {
    environment.raise(FloatFlag.invalidOperation);
    const indefinite = signed ? smallest : largest;
    return BigInt.asUintN(bits, environment.has(FloatControl.integerIndefinite) ? indefinite : saturated);
  };
  if (isNaN(operand)) return invalid(0n);
  if (operand.kind === "infinity") return invalid(operand.sign === 1 ? smallest : largest);
  if (operand.kind === "zero") return 0n;
  // Beyond this the number can't fit; the shift stays small.
  if (operand.exponent + fractionBits > 128) return invalid(operand.sign === 1 ? smallest : largest);
  const { value, inexact } = toInteger(operand, fractionBits, environment.rounding);
  if (value < smallest) return invalid(smallest);
  if (value > largest) return invalid(largest);
  if (inexact) environment.raise(FloatFlag.inexact);
  return BigInt.asUintN(bits, value);
}

/** From an integer of `bits`, signed or not, with `fractionBits` of them behind the point. */
export function floatFromFixed(
  format: FloatFormat,
  a: bigint,
  bits: 16 | 32 | 64,
  signed: boolean,
  fractionBits: number,
  environment: FloatEnvironment,
): bigint {
  const value = signed ? BigInt.asIntN(bits, a) : BigInt.asUintN(bits, a);
  if (value === 0n) return zeroOf(format, 0);
  return value < 0n
    ? roundInto(format, 1, -value, -fractionBits, environment)
    : roundInto(format, 0, value, -fractionBits, environment);
}
