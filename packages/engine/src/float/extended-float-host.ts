/** The 80-bit format behind `EngineFields.float*`: what the host function `extendedFloat` does. */
import type { EngineFields } from "../cpu-definition.js";
import { FloatEnvironment, Rounding } from "./environment.js";
import { type Extended, extendedAdd, extendedFrom, extendedSubtract } from "./extended.js";
import {
  extendedCompare,
  extendedDivide,
  extendedExtract,
  extendedFromInteger,
  extendedMultiply,
  type ExtendedPair,
  extendedRemainder,
  extendedRoundToIntegral,
  extendedScale,
  extendedSquareRoot,
  inFullPrecision,
  quieted,
} from "./extended-arithmetic.js";
import { extendedFromDecimal, extendedTo, extendedToDecimal, extendedToInteger } from "./extended-conversion.js";
import { binary32, binary64 } from "./format.js";
import {
  cosine,
  exponentialMinusOne,
  inverseTangentOf,
  isTooLargeToReduce,
  logarithmOfSuccessorTimes,
  logarithmTimes,
  sine,
  sineAndCosine,
  tangent,
} from "./transcendental.js";

/** What is done; the low six bits of the parameter of `extendedFloat`. */
export const ExtendedOperation = {
  add: 0,
  subtract: 1,
  /** b - a. */
  subtractFrom: 2,
  multiply: 3,
  divide: 4,
  /** b / a. */
  divideInto: 5,
  /** The host function gives a `FloatRelation`; `compareSignalling` finds a quiet NaN invalid too. */
  compareQuiet: 6,
  compareSignalling: 7,
  squareRoot: 8,
  roundToIntegral: 9,
  /** a * 2 ** trunc(b). */
  scale: 10,
  /** Gives two results: exponent in `floatC`, significand. */
  extract: 11,
  /** a - b * quotient; the host function gives the low three bits of the quotient, or 8 where it is not complete. */
  remainder: 12,
  remainderNearest: 13,
  /** b as it is: the loads. */
  load: 14,
  loadDecimal: 15,
  /** Results in `floatResult`: bits of a shorter format, integers with their sign. */
  toBinary32: 16,
  toBinary64: 17,
  toInteger16: 18,
  toInteger32: 19,
  toInteger64: 20,
  truncateTo16: 21,
  truncateTo32: 22,
  truncateTo64: 23,
  /** Ten bytes, in `floatResult` and `floatHigh`. */
  toDecimal: 24,
  exponentialMinusOne: 25,
  /** b * log2 a, b * log2(a + 1). */
  logarithmTimes: 26,
  logarithmOfSuccessorTimes: 27,
  /** The angle of the point (a, b). */
  inverseTangent: 28,
  /** The host function gives 8 where the operand is too large. */
  sine: 29,
  cosine: 30,
  /** Two results: sine (tangent) in `floatC`, cosine (1). */
  sineAndCosine: 31,
  tangent: 32,
} as const;

/** What b is, above the operation: 80 bits, or in `floatB` a shorter format or an integer with its sign. */
export const ExtendedOperand = { extended: 0, binary32: 1 << 6, binary64: 2 << 6, integer: 3 << 6 } as const;

/** The host function's result where an operation has not been completed. */
export const EXTENDED_INCOMPLETE = 8;
/** ... and of a remainder where there is no quotient. */
export const EXTENDED_NO_QUOTIENT = 16;

const OPERATION_MASK = 63;
const OPERAND_MASK = 3 << 6;

interface Outcome {
  readonly result: Extended;
  readonly second?: Extended;
  /** What the host function gives. */
  readonly value?: number;
}

/**
 * Implementation of the host function for a linear memory: reads `floatA`, `floatB`, `floatHigh` and `floatControl`,
 * writes the results to `floatResult`, `floatC` and `floatHigh` (sign and exponent in bits 47 to 32, and 63 to 48), and
 * adds exceptions to `floatFlags`. Throws RangeError for an operation or rounding that does not exist.
 */
export function extendedFloatHost(buffer: ArrayBuffer, fields: EngineFields): (code?: number) => number {
  const view = new DataView(buffer);
  const high = fields.floatHigh.offset;
  return (code = ExtendedOperation.add) => {
    const environment = new FloatEnvironment(view.getUint32(fields.floatControl.offset, true));
    const a: Extended = {
      signExponent: view.getUint16(high, true),
      significand: view.getBigUint64(fields.floatA.offset, true),
    };
    const second = view.getBigUint64(fields.floatB.offset, true);
    const b = secondOperand(code & OPERAND_MASK, view.getUint16(high + 2, true), second, environment);
    const outcome = compute(code & OPERATION_MASK, a, b, environment);
    view.setUint16(high + 4, outcome.result.signExponent, true);
    view.setBigUint64(fields.floatResult.offset, outcome.result.significand, true);
    if (outcome.second !== undefined) {
      view.setUint16(high + 6, outcome.second.signExponent, true);
      view.setBigUint64(fields.floatC.offset, outcome.second.significand, true);
    }
    view.setUint32(fields.floatFlags.offset, view.getUint32(fields.floatFlags.offset, true) | environment.flags, true);
    return outcome.value ?? 0;
  };
}

function secondOperand(kind: number, signExponent: number, bits: bigint, environment: FloatEnvironment): Extended {
  switch (kind) {
    case ExtendedOperand.binary32:
      return extendedFrom(binary32, bits, environment);
    case ExtendedOperand.binary64:
      return extendedFrom(binary64, bits, environment);
    case ExtendedOperand.integer:
      return extendedFromInteger(BigInt.asIntN(64, bits));
    default:
      return { signExponent, significand: bits };
  }
}

function compute(operation: number, a: Extended, b: Extended, environment: FloatEnvironment): Outcome {
  switch (operation) {
    case ExtendedOperation.add:
      return { result: extendedAdd(a, b, environment) };
    case ExtendedOperation.subtract:
      return { result: extendedSubtract(a, b, environment) };
    case ExtendedOperation.subtractFrom:
      return { result: extendedSubtract(b, a, environment) };
    case ExtendedOperation.multiply:
      return { result: extendedMultiply(a, b, environment) };
    case ExtendedOperation.divide:
      return { result: extendedDivide(a, b, environment) };
    case ExtendedOperation.divideInto:
      return { result: extendedDivide(b, a, environment) };
    case ExtendedOperation.squareRoot:
      return { result: extendedSquareRoot(a, environment) };
    case ExtendedOperation.compareQuiet:
      return { result: a, value: extendedCompare(a, b, false, environment) };
    case ExtendedOperation.compareSignalling:
      return { result: a, value: extendedCompare(a, b, true, environment) };
    case ExtendedOperation.load:
      return { result: quieted(b, environment) };
    case ExtendedOperation.loadDecimal:
      return { result: extendedFromDecimal({ low: b.significand, high: b.signExponent }) };
    default:
      return inFullPrecision(environment, (full) => computeInFull(operation, a, b, full));
  }
}

/** Operations that the control word's precision does not touch. */
function computeInFull(operation: number, a: Extended, b: Extended, environment: FloatEnvironment): Outcome {
  switch (operation) {
    case ExtendedOperation.roundToIntegral:
      return { result: extendedRoundToIntegral(a, environment) };
    case ExtendedOperation.scale:
      return { result: extendedScale(a, b, environment) };
    case ExtendedOperation.extract:
      return pair(extendedExtract(a, environment));
    case ExtendedOperation.remainder:
    case ExtendedOperation.remainderNearest: {
      const nearest = operation === ExtendedOperation.remainderNearest;
      const { result, quotient } = extendedRemainder(a, b, nearest, environment);
      return { result, value: quotient === "none" ? EXTENDED_NO_QUOTIENT : (quotient ?? EXTENDED_INCOMPLETE) };
    }
    case ExtendedOperation.exponentialMinusOne:
      return { result: exponentialMinusOne(a, environment) };
    case ExtendedOperation.logarithmTimes:
      return { result: logarithmTimes(a, b, environment) };
    case ExtendedOperation.logarithmOfSuccessorTimes:
      return { result: logarithmOfSuccessorTimes(a, b, environment) };
    case ExtendedOperation.inverseTangent:
      return { result: inverseTangentOf(a, b, environment) };
    case ExtendedOperation.sine:
    case ExtendedOperation.cosine:
    case ExtendedOperation.sineAndCosine:
    case ExtendedOperation.tangent:
      return computeAngle(operation, a, environment);
    default:
      return convert(operation, a, environment);
  }
}

function pair({ first, second }: ExtendedPair): Outcome {
  return { result: first, second };
}

function computeAngle(operation: number, a: Extended, environment: FloatEnvironment): Outcome {
  if (isTooLargeToReduce(a)) return { result: a, value: EXTENDED_INCOMPLETE };
  switch (operation) {
    case ExtendedOperation.sine:
      return { result: sine(a, environment) };
    case ExtendedOperation.cosine:
      return { result: cosine(a, environment) };
    case ExtendedOperation.sineAndCosine:
      return pair(sineAndCosine(a, environment));
    default:
      return pair(tangent(a, environment));
  }
}

function convert(operation: number, a: Extended, environment: FloatEnvironment): Outcome {
  const bits = (significand: bigint): Outcome => ({ result: { signExponent: 0, significand } });
  switch (operation) {
    case ExtendedOperation.toBinary32:
      return bits(extendedTo(binary32, a, environment));
    case ExtendedOperation.toBinary64:
      return bits(extendedTo(binary64, a, environment));
    case ExtendedOperation.toInteger16:
      return bits(extendedToInteger(a, 16, environment.rounding, environment));
    case ExtendedOperation.toInteger32:
      return bits(extendedToInteger(a, 32, environment.rounding, environment));
    case ExtendedOperation.toInteger64:
      return bits(extendedToInteger(a, 64, environment.rounding, environment));
    case ExtendedOperation.truncateTo16:
      return bits(extendedToInteger(a, 16, Rounding.towardZero, environment));
    case ExtendedOperation.truncateTo32:
      return bits(extendedToInteger(a, 32, Rounding.towardZero, environment));
    case ExtendedOperation.truncateTo64:
      return bits(extendedToInteger(a, 64, Rounding.towardZero, environment));
    case ExtendedOperation.toDecimal: {
      const { low, high } = extendedToDecimal(a, environment);
      return { result: { signExponent: high, significand: low } };
    }
    default:
      throw new RangeError(`no operation of the 80-bit format has code ${operation}`);
  }
}
