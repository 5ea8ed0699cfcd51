/** The software floats behind `EngineFields.float*`: what the host function `softFloat` does. */
import type { EngineFields } from "../cpu-definition.js";
import { runSoftFloat } from "./soft-float.js";

/**
 * Implementation of the host function for a linear memory: takes an operation code (`floatOperationCode`), reads
 * `floatA`, `floatB`, `floatC` and `floatControl`, writes `floatResult`, and adds exceptions to `floatFlags`.
 * Throws RangeError for a code or rounding that does not exist.
 */
export function softFloatHost(buffer: ArrayBuffer, fields: EngineFields): (code?: number) => number {
  const view = new DataView(buffer);
  return (code = 0) => {
    const { result, flags } = runSoftFloat(code, {
      a: view.getBigUint64(fields.floatA.offset, true),
      b: view.getBigUint64(fields.floatB.offset, true),
      c: view.getBigUint64(fields.floatC.offset, true),
      control: view.getUint32(fields.floatControl.offset, true),
    });
    view.setBigUint64(fields.floatResult.offset, result, true);
    view.setUint32(fields.floatFlags.offset, view.getUint32(fields.floatFlags.offset, true) | flags, true);
    return 0;
  };
}
