/** Conversions from the 80-bit format: to shorter ones, to integers, to and from packed decimals. Intel SDM volume 1, 4.7, 8.1.7. */
import { type FloatEnvironment, FloatFlag } from "./environment.js";
import { type Extended, FRACTION_BITS, unpackExtended, zero } from "./extended.js";
import { extendedFromInteger, raiseIntegral, roundToIntegral } from "./extended-arithmetic.js";
import { bitLength, defaultNaNOf, type FloatFormat, infinityOf, roundInto, zeroOf } from "./format.js";

/** FST: the number in a shorter format. A denormal operand is not reported. */
export function extendedTo(format: FloatFormat, a: Extended, environment: FloatEnvironment): bigint {
  const operand = unpackExtended(a);
  switch (operand.kind) {
    case "zero":
      return zeroOf(format, operand.sign);
    case "infinity":
      return infinityOf(format, operand.sign);
    case "finite":
      return rounded(format, operand.sign, a.significand, operand.exponent, environment);
    case "unsupported":
      environment.raise(FloatFlag.invalidOperation);
      return defaultNaNOf(format, environment);
    case "quietNaN":
    case "signallingNaN": {
      if (operand.kind === "signallingNaN") environment.raise(FloatFlag.invalidOperation);
      const fraction = BigInt.asUintN(FRACTION_BITS, a.significand) >> BigInt(FRACTION_BITS - format.fractionBits);
      return infinityOf(format, operand.sign) | (1n << BigInt(format.fractionBits - 1)) | fraction;
    }
    default:
      return operand.kind satisfies never;
  }
}

function rounded(
  format: FloatFormat,
  sign: 0 | 1,
  significand: bigint,
  exponent: number,
  environment: FloatEnvironment,
): bigint {
  const result = roundInto(format, sign, significand, exponent, environment);
  if ((environment.flags & FloatFlag.inexact) !== 0 && isLarger(format, result, significand, exponent))
    environment.raise(FloatFlag.roundedUp);
  return result;
}

/** Whether a result (a pattern, sign and all) is larger in magnitude than the number it came from. */
function isLarger(format: FloatFormat, pattern: bigint, significand: bigint, exponent: number): boolean {
  const magnitude = BigInt.asUintN(format.bits - 1, pattern);
  const field = Number(magnitude >> BigInt(format.fractionBits));
  if (field === format.exponentMax) return true;
  const fraction = BigInt.asUintN(format.fractionBits, magnitude);
  const whole = field === 0 ? fraction : fraction | (1n << BigInt(format.fractionBits));
  const scale = Math.max(field, 1) - format.bias - format.fractionBits;
  const top = bitLength(whole) + scale;
  const otherTop = bitLength(significand) + exponent;
  if (whole === 0n || top !== otherTop) return whole !== 0n && top > otherTop;
  const common = Math.min(scale, exponent);
  return whole << BigInt(scale - common) > significand << BigInt(exponent - common);
}

/** FIST, FISTTP: as an unsigned number of 64 bits, sign-extended; what does not fit is the lowest one. */
export function extendedToInteger(
  a: Extended,
  bits: 16 | 32 | 64,
  rounding: number,
  environment: FloatEnvironment,
): bigint {
  const lowest = -(1n << BigInt(bits - 1));
  const value = integerWithin(a, lowest, -lowest - 1n, rounding, environment);
  return BigInt.asUintN(64, value ?? lowest);
}

/** The rounded value, or undefined (and the exception) where it is not between these. */
function integerWithin(
  a: Extended,
  lowest: bigint,
  highest: bigint,
  rounding: number,
  environment: FloatEnvironment,
): bigint | undefined {
  const operand = unpackExtended(a);
  if (operand.kind === "zero") return 0n;
  if (operand.kind === "finite" && operand.exponent <= 64) {
    const integral = roundToIntegral(operand, rounding);
    if (integral.value >= lowest && integral.value <= highest) {
      raiseIntegral(integral, environment);
      return integral.value;
    }
  }
  environment.raise(FloatFlag.invalidOperation);
  return undefined;
}

const DIGITS = 18;
const LARGEST_DECIMAL = 10n ** BigInt(DIGITS) - 1n;

/** Ten bytes: the lower eight, and the upper two with the sign. */
export interface Decimal {
  readonly low: bigint;
  readonly high: number;
}

const DECIMAL_INDEFINITE: Decimal = { low: 0xc000_0000_0000_0000n, high: 0xffff };

/** FBSTP. */
export function extendedToDecimal(a: Extended, environment: FloatEnvironment): Decimal {
  const value = integerWithin(a, -LARGEST_DECIMAL, LARGEST_DECIMAL, environment.rounding, environment);
  if (value === undefined) return DECIMAL_INDEFINITE;
  const digits = BigInt(`0x${(value < 0n ? -value : value).toString()}`);
  const sign = a.signExponent >> 15 === 1 ? 0x8000 : 0;
  return { low: BigInt.asUintN(64, digits), high: Number(digits >> 64n) | sign };
}

/** FBLD: a digit above 9 counts what its bits say. */
export function extendedFromDecimal({ low, high }: Decimal): Extended {
  let value = 0n;
  const packed = low | (BigInt(high & 0xff) << 64n);
  for (let digit = DIGITS - 1; digit >= 0; digit--) value = value * 10n + ((packed >> BigInt(4 * digit)) & 15n);
  const negative = (high & 0x8000) !== 0;
  if (value === 0n) return zero(negative ? 1 : 0);
  return extendedFromInteger(negative ? -value : value);
}
