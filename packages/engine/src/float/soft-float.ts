/**
 * The software floats as one function of an operation code, for generated code: bit patterns in, bit
 * pattern and exceptions out. Exact in every rounding; knows nothing of a host's arithmetic.
 */
import {
  floatAdd,
  floatDivide,
  floatMultiply,
  floatMultiplyAdd,
  floatMultiplyExtended,
  floatSquareRoot,
  floatStep,
  floatSubtract,
} from "./arithmetic.js";
import { floatCompare, floatExtremum, floatExtremumNumber } from "./comparison.js";
import { floatConvert, floatFromFixed, floatRoundToIntegral, floatToFixed } from "./conversion.js";
import { FloatEnvironment } from "./environment.js";
import {
  floatReciprocalEstimate,
  floatReciprocalExponent,
  floatReciprocalRootEstimate,
  unsignedReciprocalEstimate,
  unsignedReciprocalRootEstimate,
} from "./estimate.js";
import { binary16, binary32, binary64, type FloatFormat } from "./format.js";

/** What is done; the low six bits of an operation code. */
export const FloatOperation = {
  add: 0,
  subtract: 1,
  multiply: 2,
  multiplyExtended: 3,
  divide: 4,
  squareRoot: 5,
  /** `c + a * b`. */
  multiplyAdd: 6,
  /** `2 - a * b`, `(3 - a * b) / 2`. */
  reciprocalStep: 7,
  reciprocalRootStep: 8,
  maximum: 9,
  minimum: 10,
  maximumNumber: 11,
  minimumNumber: 12,
  /** A `FloatRelation`; `compareSignalling` finds a quiet NaN invalid too. */
  compareQuiet: 13,
  compareSignalling: 14,
  /** To the format in `target`. */
  convert: 15,
  roundToIntegral: 16,
  /** Reports a change as inexact. */
  roundToIntegralExact: 17,
  /** Between the format and the integer that `integer` and `fractionBits` describe. */
  toFixed: 18,
  fromFixed: 19,
  reciprocalEstimate: 20,
  reciprocalRootEstimate: 21,
  reciprocalExponent: 22,
  unsignedReciprocalEstimate: 23,
  unsignedReciprocalRootEstimate: 24,
} as const;

export interface FloatOperationOptions {
  /** The format that `convert` gives. */
  readonly target?: 16 | 32 | 64;
  readonly integer?: { readonly bits: 16 | 32 | 64; readonly signed: boolean };
  readonly fractionBits?: number;
}

const OPERATION_MASK = 63;
const FORMAT_SHIFT = 6;
const TARGET_SHIFT = 8;
const INTEGER_SHIFT = 10;
const SIGNED_BIT = 1 << 12;
/** Where an operation code has the count of fraction bits (0 to 64) of a fixed-point number. */
export const FRACTION_BITS_SHIFT = 16;

const formats: readonly (FloatFormat | undefined)[] = [binary16, binary32, binary64];
const integerBits = [16, 32, 64] as const;

/** The code of a `FloatOperation` on operands of `bits`. */
export function floatOperationCode(operation: number, bits: 16 | 32 | 64, options: FloatOperationOptions = {}): number {
  const index = (width: 16 | 32 | 64): number => integerBits.indexOf(width);
  const { target = bits, integer = { bits: 64, signed: false }, fractionBits = 0 } = options;
  return (
    operation |
    (index(bits) << FORMAT_SHIFT) |
    (index(target) << TARGET_SHIFT) |
    (index(integer.bits) << INTEGER_SHIFT) |
    (integer.signed ? SIGNED_BIT : 0) |
    (fractionBits << FRACTION_BITS_SHIFT)
  );
}

export interface SoftFloatOperands {
  readonly a: bigint;
  readonly b: bigint;
  readonly c: bigint;
  /** Bits of `FloatControl`. */
  readonly control: number;
}

export interface SoftFloatResult {
  /** Zero-extended to 64 bits. */
  readonly result: bigint;
  /** Bits of `FloatFlag`. */
  readonly flags: number;
}

/** Runs an operation. Operands narrower than 64 bits are taken from the low bits. Throws RangeError for a code that does not exist. */
export function runSoftFloat(code: number, operands: SoftFloatOperands): SoftFloatResult {
  const environment = new FloatEnvironment(operands.control);
  const result = compute(code, operands, environment);
  return { result, flags: environment.flags };
}

function formatAt(code: number, shift: number): FloatFormat {
  const format = formats[(code >> shift) & 3];
  if (format === undefined) throw new RangeError(`no float format in operation code ${code}`);
  return format;
}

function compute(
  code: number,
  { a: wideA, b: wideB, c: wideC }: SoftFloatOperands,
  environment: FloatEnvironment,
): bigint {
  const format = formatAt(code, FORMAT_SHIFT);
  const a = BigInt.asUintN(format.bits, wideA);
  const b = BigInt.asUintN(format.bits, wideB);
  switch (code & OPERATION_MASK) {
    case FloatOperation.add:
      return floatAdd(format, a, b, environment);
    case FloatOperation.subtract:
      return floatSubtract(format, a, b, environment);
    case FloatOperation.multiply:
      return floatMultiply(format, a, b, environment);
    case FloatOperation.multiplyExtended:
      return floatMultiplyExtended(format, a, b, environment);
    case FloatOperation.divide:
      return floatDivide(format, a, b, environment);
    case FloatOperation.squareRoot:
      return floatSquareRoot(format, a, environment);
    case FloatOperation.multiplyAdd:
      return floatMultiplyAdd(format, a, b, BigInt.asUintN(format.bits, wideC), environment);
    case FloatOperation.reciprocalStep:
      return floatStep(format, a, b, 2, environment);
    case FloatOperation.reciprocalRootStep:
      return floatStep(format, a, b, 3, environment);
    case FloatOperation.maximum:
      return floatExtremum(format, a, b, 1, environment);
    case FloatOperation.minimum:
      return floatExtremum(format, a, b, -1, environment);
    case FloatOperation.maximumNumber:
      return floatExtremumNumber(format, a, b, 1, environment);
    case FloatOperation.minimumNumber:
      return floatExtremumNumber(format, a, b, -1, environment);
    case FloatOperation.compareQuiet:
      return floatCompare(format, a, b, false, environment);
    case FloatOperation.compareSignalling:
      return floatCompare(format, a, b, true, environment);
    default:
      return computeUnary(code, format, a, wideA, environment);
  }
}

function computeUnary(
  code: number,
  format: FloatFormat,
  a: bigint,
  wideA: bigint,
  environment: FloatEnvironment,
): bigint {
  const integer = integerBits[(code >> INTEGER_SHIFT) & 3] ?? 64;
  const signed = (code & SIGNED_BIT) !== 0;
  const fractionBits = code >>> FRACTION_BITS_SHIFT;
  switch (code & OPERATION_MASK) {
    case FloatOperation.convert:
      return floatConvert(format, formatAt(code, TARGET_SHIFT), a, environment);
    case FloatOperation.roundToIntegral:
      return floatRoundToIntegral(format, a, false, environment);
    case FloatOperation.roundToIntegralExact:
      return floatRoundToIntegral(format, a, true, environment);
    case FloatOperation.toFixed:
      return floatToFixed(format, a, integer, signed, fractionBits, environment);
    case FloatOperation.fromFixed:
      return floatFromFixed(format, wideA, integer, signed, fractionBits, environment);
    case FloatOperation.reciprocalEstimate:
      return floatReciprocalEstimate(format, a, environment);
    case FloatOperation.reciprocalRootEstimate:
      return floatReciprocalRootEstimate(format, a, environment);
    case FloatOperation.reciprocalExponent:
      return floatReciprocalExponent(format, a, environment);
    case FloatOperation.unsignedReciprocalEstimate:
      return unsignedReciprocalEstimate(wideA);
    case FloatOperation.unsignedReciprocalRootEstimate:
      return unsignedReciprocalRootEstimate(wideA);
    default:
      throw new RangeError(`no float operation has code ${code}`);
  }
}
