/**
 * Dot products, and reciprocals that are estimates. References: Intel SDM volume 2.
 *
 * RCPPS and RSQRTPS are defined by their relative error (at most 1.5 * 2 ** -12) only, and CPUs differ. Here they are the
 * exact quotient or root, cut to 12 bits behind the point; below the smallest normal number they are 0.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import {
  arithmeticOperation,
  checkExceptions,
  clearFloatFlags,
  constantOf,
  type FloatBits,
  type FloatValue,
  softly,
  writeExceptions,
} from "../../vector-float-unit.js";
import { fromSource, type Vector } from "../../vector-unit.js";
import { forEachLane, laneOf, scalarFloat, SUFFIX, vectorOf } from "./float.js";
import { withImmediate } from "./shuffles.js";

const KEPT_BITS = 0xffff_f800;
const LEAST_NORMAL = 0x0080_0000;
const QUIET_BIT = 0x0040_0000;
const SIGN = 0x8000_0000;
const INFINITY = 0x7f80_0000;
const INDEFINITE = 0xffc0_0000;

/** No exceptions; a denormal operand counts as zero of its sign. */
function estimate(stage: Stage, root: boolean, operand: Value<32>): Value<32> {
  const constant = (value: number): Value<32> => stage.constant32(value);
  const magnitude = stage.and(operand, constant(~SIGN));
  const sign = stage.and(operand, constant(SIGN));
  const wide = stage.floatPromote(operand);
  const one = stage.constant64(0x3ff0_0000_0000_0000n);
  const exact = stage.floatBinary("div", one, root ? stage.floatUnary("sqrt", wide) : wide);
  const cut = stage.and(stage.floatDemote(exact), constant(KEPT_BITS));
  const tiny = stage.compare("lt_u", stage.and(cut, constant(~SIGN)), constant(LEAST_NORMAL));
  let result = stage.select(tiny, sign, cut);
  const isZero = stage.compare("lt_u", magnitude, constant(LEAST_NORMAL));
  if (root) result = stage.select(sign, constant(INDEFINITE), result);
  result = stage.select(isZero, stage.or(sign, constant(INFINITY)), result);
  const isNaN = stage.compare("gt_u", magnitude, constant(INFINITY));
  return stage.select(isNaN, stage.or(operand, constant(QUIET_BIT)), result);
}

function estimates(name: "rcp" | "rsqrt", opcode: string): readonly Instruction[] {
  const root = name === "rsqrt";
  return [
    fromSource({ name: `${name}ps`, opcode, prefix: "np" }, (stage, _destination, source) =>
      forEachLane(stage, 32, [source], (value) => estimate(stage, root, value as Value<32>)),
    ),
    scalarFloat(`${name}ss`, opcode, "F3", (stage, _bits, _destination, source) =>
      estimate(stage, root, source as Value<32>),
    ),
  ];
}

/** DPPS, DPPD: products that bits 7 to 4 name, summed in pairs; the sum goes to the elements of bits 3 to 0. */
function dotProduct(bits: FloatBits): Instruction {
  const count = 128 / bits;
  const zero = (stage: Stage): FloatValue => constantOf(stage, bits, 0n);
  return withImmediate(
    { name: `dpp${SUFFIX[bits]}`, opcode: `0F 3A ${bits === 64 ? "41" : "40"}`, prefix: "66" },
    (stage: Stage, destination: Vector, source: Vector, control: Value<32>) => {
      clearFloatFlags(stage);
      const multiply = arithmeticOperation("multiply", bits);
      const add = arithmeticOperation("add", bits);
      const products = Array.from({ length: count }, (_, lane) =>
        stage.choose<FloatBits>(
          stage.and(control, stage.constant32(16 << lane)),
          () => softly(stage, multiply, laneOf(stage, bits, destination, lane), laneOf(stage, bits, source, lane)),
          () => zero(stage),
        ),
      );
      let sums = products;
      let exceptions = checkExceptions(stage);
      while (sums.length > 1) {
        clearFloatFlags(stage);
        sums = pairs(sums).map(([left, right]) => softly(stage, add, left, right));
        exceptions = checkExceptions(stage, 0, exceptions);
      }
      const total = sums[0] ?? zero(stage);
      writeExceptions(stage, exceptions);
      const elements = Array.from({ length: count }, (_, lane) =>
        stage.select(stage.and(control, stage.constant32(1 << lane)), total, zero(stage)),
      );
      return vectorOf(stage, bits, elements);
    },
  );
}

function pairs(values: readonly FloatValue[]): (readonly [FloatValue, FloatValue])[] {
  const made: (readonly [FloatValue, FloatValue])[] = [];
  for (let index = 0; index + 1 < values.length; index += 2) {
    const [left, right] = values.slice(index, index + 2);
    if (left !== undefined && right !== undefined) made.push([left, right]);
  }
  return made;
}

export const vectorEstimateInstructions: readonly Instruction[] = [
  ...estimates("rsqrt", "0F 52"),
  ...estimates("rcp", "0F 53"),
  dotProduct(32),
  dotProduct(64),
];
