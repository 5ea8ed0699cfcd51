/** The 80-bit format behind `EngineFields.float*`: what the host function `extendedFloat` does. */
import type { EngineFields } from "../cpu-definition.js";
import { FloatEnvironment } from "./environment.js";
import { type Extended, extendedAdd, extendedFrom } from "./extended.js";
import { binary32, binary64 } from "./format.js";

/** The parameter of `extendedFloat`: what is added to a. */
export const ExtendedOperation = {
  /** b in the 80-bit format. */
  add: 0,
  /** b as binary32 or binary64 in `floatB`. */
  addBinary32: 1,
  addBinary64: 2,
} as const;

/**
 * Implementation of the host function for a linear memory: reads `floatA`, `floatB`, `floatHigh` and `floatControl`,
 * writes the result to `floatResult` and `floatHigh`, and adds exceptions to `floatFlags`. Throws RangeError for an
 * operation or rounding that does not exist.
 */
export function extendedFloatHost(buffer: ArrayBuffer, fields: EngineFields): (operation?: number) => number {
  const view = new DataView(buffer);
  const high = fields.floatHigh.offset;
  return (operation = ExtendedOperation.add) => {
    const environment = new FloatEnvironment(view.getUint32(fields.floatControl.offset, true));
    const a: Extended = {
      signExponent: view.getUint16(high, true),
      significand: view.getBigUint64(fields.floatA.offset, true),
    };
    const second = view.getBigUint64(fields.floatB.offset, true);
    const b = secondOperand(operation, view.getUint16(high + 2, true), second, environment);
    const result = extendedAdd(a, b, environment);
    view.setUint16(high + 4, result.signExponent, true);
    view.setBigUint64(fields.floatResult.offset, result.significand, true);
    view.setUint32(fields.floatFlags.offset, view.getUint32(fields.floatFlags.offset, true) | environment.flags, true);
    return 0;
  };
}

function secondOperand(operation: number, signExponent: number, bits: bigint, environment: FloatEnvironment): Extended {
  switch (operation) {
    case ExtendedOperation.add:
      return { signExponent, significand: bits };
    case ExtendedOperation.addBinary32:
      return extendedFrom(binary32, bits, environment);
    case ExtendedOperation.addBinary64:
      return extendedFrom(binary64, bits, environment);
    default:
      throw new RangeError(`no operation of the 80-bit format has code ${operation}`);
  }
}
