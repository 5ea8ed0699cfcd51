/** Floating point on the elements of vectors: each element by itself (`float-operations.ts`), or all at once where the host's result holds for all. */
import { type Stage, type Value } from "@hvjournal/engine";
import { elementRoutine, type FloatBits, type FloatValue, hostArithmeticHolds } from "./float-fast-path.js";
import { type Arithmetic, floatArithmetic } from "./float-operations.js";
import { and, constantLanes, lanes, type Vector } from "./vector-lanes.js";
import { laneCount, mapLanes } from "./vector-registers.js";

/** An operation on elements of single or double precision. Integers of the same width are also `FloatValue`s. */
export type ElementOperation = (stage: Stage, bits: FloatBits, ...elements: readonly FloatValue[]) => FloatValue;

/** The operation on every element, as calls of one routine; `name` must tell it from all others. */
export function forEachElement(
  stage: Stage,
  name: string,
  bits: FloatBits,
  q: number,
  operation: ElementOperation,
  ...vectors: readonly Vector[]
): Vector {
  const parameters = vectors.map(() => bits);
  const callElement = elementRoutine(`${name}${bits}`, parameters, bits, (inner, ...elements) =>
    operation(inner, bits, ...elements),
  );
  return mapLanes(stage, bits, laneCount(bits, q), vectors, (...elements) =>
    callElement(stage, ...(elements as readonly FloatValue[])),
  );
}

const EXPONENT_SHIFT = { 32: 23n, 64: 52n } as const;
const EXPONENT_MAX = { 32: 255n, 64: 2047n } as const;
const hostName = { add: "add", subtract: "sub", multiply: "mul", divide: "div" } as const;

/** The same test of a result as for one element, for all of them. */
function allHold(stage: Stage, operation: Arithmetic, bits: FloatBits, result: Vector): Value<32> {
  const magnitude = and(stage, result, constantLanes(stage, bits, (1n << BigInt(bits - 1)) - 1n));
  const finite = lanes(
    stage,
    bits,
    "lt_s",
    magnitude,
    constantLanes(stage, bits, EXPONENT_MAX[bits] << EXPONENT_SHIFT[bits]),
  );
  const normal = (): Vector =>
    lanes(stage, bits, "ge_s", magnitude, constantLanes(stage, bits, 2n << EXPONENT_SHIFT[bits]));
  const holds = operation === "add" || operation === "subtract" ? finite : and(stage, finite, normal());
  return stage.vectorToScalar(`${bits === 64 ? "i64x2" : "i32x4"}.all_true`, holds);
}

/** FADD, FSUB, FMUL, FDIV (vector). Vectors of 64 bits repeat their elements (`readVector`). */
export function vectorArithmetic(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  q: number,
  left: Vector,
  right: Vector,
): Vector {
  const result = stage.vector(`${bits === 64 ? "f64x2" : "f32x4"}.${hostName[operation]}`, left, right);
  const holds = stage.and(hostArithmeticHolds(stage), allHold(stage, operation, bits, result));
  const element: ElementOperation = (inner, width, a, b) =>
    floatArithmetic(inner, operation, width, a as FloatValue, b as FloatValue);
  return stage.choose(
    holds,
    () => result,
    () => forEachElement(stage, operation, bits, q, element, left, right),
  );
}
