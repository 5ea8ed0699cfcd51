/** Floating point of SSE: arithmetic, square root, minimum and maximum, comparison. References: Intel SDM volume 2. */
import {
  FloatOperation,
  floatOperationCode,
  FloatRelation,
  type Instruction,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { assembly } from "../../assembly-text.js";
import { accessMemory, type MemoryOperands } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import { writeStatusFlags } from "../../flags.js";
import { Flag } from "../../registers.js";
import { mxcsr } from "../../state.js";
import {
  type Arithmetic,
  arithmeticOperation,
  callFloatRoutine,
  constantOf,
  EXPONENT_MAX,
  type FloatBits,
  floatCompareAt,
  type FloatValue,
  FRACTION_BITS,
  HOST_NAME,
  hostModeHolds,
  isNoDenormal,
  isUnordered,
  Mxcsr,
  probingRoutine,
  reporting,
  scalarArithmetic,
  scalarSquareRoot,
  type SoftOperation,
  softly,
} from "../../vector-float-unit.js";
import {
  bitselect,
  constantLanes,
  fromSource,
  lanes,
  type OperandBytes,
  readSource,
  requireSse,
  sourceOperands,
  type Vector,
  vectorName,
  vectorText,
} from "../../vector-unit.js";
import { byteText } from "./shifts.js";

export function floatShape(bits: FloatBits): "f32x4" | "f64x2" {
  return bits === 64 ? "f64x2" : "f32x4";
}

export function laneOf(stage: Stage, bits: FloatBits, vector: Vector, lane: number): FloatValue {
  return bits === 64 ? stage.extractLane("i64x2", lane, vector) : stage.extractLane("i32x4", lane, vector);
}

/** A vector of elements, from the lowest on. */
export function vectorOf(stage: Stage, bits: FloatBits, elements: readonly FloatValue[]): Vector {
  return elements.reduce<Vector>(
    (vector, element, lane) =>
      bits === 64
        ? stage.replaceLane("i64x2", lane, vector, element as Value<64>)
        : stage.replaceLane("i32x4", lane, vector, element as Value<32>),
    stage.constant128(0n, 0n),
  );
}

export function forEachLane(
  stage: Stage,
  bits: FloatBits,
  vectors: readonly Vector[],
  operation: (...elements: readonly FloatValue[]) => FloatValue,
): Vector {
  const elements = Array.from({ length: 128 / bits }, (_, lane) =>
    operation(...vectors.map((vector) => laneOf(stage, bits, vector, lane))),
  );
  return vectorOf(stage, bits, elements);
}

/** The scalar operand: the low element of a register, or memory. */
export function scalarSource(
  stage: Stage,
  form: { readonly memory: number },
  bits: FloatBits,
  operands: MemoryOperands & { readonly rm: Value<32> },
): FloatValue {
  if (form.memory === 0) return stage.readAt(bits, operands.rm);
  return stage.load(bits, accessMemory(stage, operands, bits / 8, "read"), 0, bits);
}

// Packed arithmetic

function magnitudes(stage: Stage, bits: FloatBits, value: Vector): Vector {
  return stage.vector("v128.and", value, constantLanes(stage, bits, (1n << BigInt(bits - 1)) - 1n));
}

export function exponentLanes(stage: Stage, bits: FloatBits, exponent: number): Vector {
  return constantLanes(stage, bits, BigInt(exponent) << BigInt(FRACTION_BITS[bits]));
}

/** All ones in elements that are no denormals. */
export function noDenormals(stage: Stage, bits: FloatBits, value: Vector): Vector {
  const magnitude = magnitudes(stage, bits, value);
  return stage.vector(
    "v128.or",
    lanes(stage, bits, "ge_s", magnitude, exponentLanes(stage, bits, 1)),
    lanes(stage, bits, "eq", magnitude, stage.constant128(0n, 0n)),
  );
}

/** All ones in elements from exponent `low` to the largest numbers. */
export function numbersFrom(stage: Stage, bits: FloatBits, low: number, value: Vector): Vector {
  const magnitude = magnitudes(stage, bits, value);
  const finite = lanes(stage, bits, "lt_s", magnitude, exponentLanes(stage, bits, EXPONENT_MAX[bits]));
  if (low === 0) return finite;
  return stage.vector("v128.and", finite, lanes(stage, bits, "ge_s", magnitude, exponentLanes(stage, bits, low)));
}

export function all(stage: Stage, bits: FloatBits, mask: Vector): Value<32> {
  return stage.vectorToScalar(`${bits === 64 ? "i64x2" : "i32x4"}.all_true`, mask);
}

export function packedArithmetic(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  left: Vector,
  right: Vector,
): Vector {
  const result = stage.vector(`${floatShape(bits)}.${HOST_NAME[operation]}`, left, right);
  const operands = stage.vector("v128.and", noDenormals(stage, bits, left), noDenormals(stage, bits, right));
  const numbers = numbersInRange(stage, operation, bits, left, right, result);
  const holds = stage.and(hostModeHolds(stage), all(stage, bits, stage.vector("v128.and", operands, numbers)));
  return stage.choose(
    holds,
    () => result,
    () => reporting(stage, () => softLanes(stage, arithmeticOperation(operation, bits), left, right)),
  );
}

/** All ones in elements of a result whose only exception can be "inexact". */
function numbersInRange(
  stage: Stage,
  operation: Arithmetic,
  bits: FloatBits,
  left: Vector,
  right: Vector,
  result: Vector,
): Vector {
  if (operation === "add" || operation === "subtract") return numbersFrom(stage, bits, 0, result);
  const isZero = (value: Vector): Vector =>
    lanes(stage, bits, "eq", magnitudes(stage, bits, value), stage.constant128(0n, 0n));
  const zero = operation === "multiply" ? stage.vector("v128.or", isZero(left), isZero(right)) : isZero(left);
  const exact = stage.vector("v128.and", zero, isZero(result));
  return stage.vector("v128.or", exact, numbersFrom(stage, bits, 2, result));
}

function softLanes(stage: Stage, operation: SoftOperation, ...vectors: readonly Vector[]): Vector {
  return forEachLane(stage, operation.result, vectors, (...elements) => softly(stage, operation, ...elements));
}

export function packedSquareRoot(stage: Stage, bits: FloatBits, operand: Vector): Vector {
  const positive = lanes(stage, bits, "ge_s", operand, exponentLanes(stage, bits, 2));
  const plain = stage.vector("v128.and", positive, numbersFrom(stage, bits, 2, operand));
  return stage.choose(
    stage.and(hostModeHolds(stage), all(stage, bits, plain)),
    () => stage.vector(`${floatShape(bits)}.sqrt`, operand),
    () => reporting(stage, () => softLanes(stage, arithmeticOperation("squareRoot", bits), operand)),
  );
}

// Minimum and maximum: the source where the comparison does not hold, be it that operands are zeros or NaNs

type Extremum = "min" | "max";

function orderedExtremum(
  stage: Stage,
  bits: FloatBits,
  which: Extremum,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  return stage.select(floatCompareAt(stage, bits, which === "min" ? "lt" : "gt", left, right), left, right);
}

function compareOperation(bits: FloatBits, signalling: boolean): SoftOperation {
  const name = signalling ? "compareSignalling" : "compareQuiet";
  const code = floatOperationCode(FloatOperation[name], bits);
  return { name: `${name}${bits}`, code, operands: [bits, bits], result: 32 };
}

/** Zero of the same sign for a denormal number, if MXCSR.DAZ says so. */
function flushed(stage: Stage, bits: FloatBits, value: FloatValue): FloatValue {
  const keeps = stage.or(
    isNoDenormal(stage, bits, value),
    stage.isZero(stage.and(stage.read(mxcsr), stage.constant32(Mxcsr.DAZ))),
  );
  return stage.select(keeps, value, stage.and(value, constantOf(stage, bits, 1n << BigInt(bits - 1))));
}

/** With NaNs, denormals and their exceptions. */
function softExtremum(stage: Stage, bits: FloatBits, which: Extremum, left: FloatValue, right: FloatValue): FloatValue {
  const routine = probingRoutine(`${which}${bits}`, [bits, bits], bits, (inner, parameters) => {
    const [a, b] = parameters.map((value) => flushed(inner, bits, value));
    if (a === undefined || b === undefined) return;
    const relation = softly(inner, compareOperation(bits, true), a, b) as Value<32>;
    const wanted = which === "min" ? FloatRelation.less : FloatRelation.greater;
    const holds = inner.compare("eq", relation, inner.constant32(wanted));
    inner.return(inner.select(holds, a, b) as Value<32> | Value<64>);
  });
  return callFloatRoutine(stage, routine, left, right);
}

function isPlain(stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue): Value<32> {
  const normal = stage.and(isNoDenormal(stage, bits, left), isNoDenormal(stage, bits, right));
  return stage.and(normal, stage.isZero(isUnordered(stage, bits, left, right)));
}

function scalarExtremum(
  stage: Stage,
  bits: FloatBits,
  which: Extremum,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  return stage.choose(
    isPlain(stage, bits, left, right),
    () => orderedExtremum(stage, bits, which, left, right),
    () => reporting(stage, () => softExtremum(stage, bits, which, left, right)),
  );
}

/** All ones in elements that are neither denormal nor NaN, nor stand beside one. */
function plainLanes(stage: Stage, bits: FloatBits, left: Vector, right: Vector): Value<32> {
  const ordered = (value: Vector): Vector => stage.vector(`${floatShape(bits)}.eq`, value, value);
  const masks = [noDenormals(stage, bits, left), noDenormals(stage, bits, right), ordered(left), ordered(right)];
  return all(
    stage,
    bits,
    masks.reduce((sum, mask) => stage.vector("v128.and", sum, mask)),
  );
}

function packedExtremum(stage: Stage, bits: FloatBits, which: Extremum, left: Vector, right: Vector): Vector {
  return stage.choose(
    plainLanes(stage, bits, left, right),
    () => {
      const holds = stage.vector(`${floatShape(bits)}.${which === "min" ? "lt" : "gt"}`, left, right);
      return bitselect(stage, holds, left, right);
    },
    () =>
      reporting(stage, () =>
        forEachLane(stage, bits, [left, right], (a, b) =>
          softExtremum(stage, bits, which, a as FloatValue, b as FloatValue),
        ),
      ),
  );
}

// Definitions of the groups 51, 58 to 5F

interface FloatGroup {
  readonly name: string;
  readonly opcode: string;
  readonly scalar: (stage: Stage, bits: FloatBits, destination: FloatValue, source: FloatValue) => FloatValue;
  readonly packed: (stage: Stage, bits: FloatBits, destination: Vector, source: Vector) => Vector;
}

function arithmeticGroup(name: string, opcode: string, operation: Arithmetic): FloatGroup {
  return {
    name,
    opcode,
    scalar: (stage, bits, left, right) => scalarArithmetic(stage, operation, bits, left, right),
    packed: (stage, bits, left, right) => packedArithmetic(stage, operation, bits, left, right),
  };
}

function extremumGroup(name: Extremum, opcode: string): FloatGroup {
  return {
    name,
    opcode,
    scalar: (stage, bits, left, right) => scalarExtremum(stage, bits, name, left, right),
    packed: (stage, bits, left, right) => packedExtremum(stage, bits, name, left, right),
  };
}

const GROUPS: readonly FloatGroup[] = [
  {
    name: "sqrt",
    opcode: "0F 51",
    scalar: (stage, bits, _destination, source) => scalarSquareRoot(stage, bits, source),
    packed: (stage, bits, _destination, source) => packedSquareRoot(stage, bits, source),
  },
  arithmeticGroup("add", "0F 58", "add"),
  arithmeticGroup("mul", "0F 59", "multiply"),
  arithmeticGroup("sub", "0F 5C", "subtract"),
  extremumGroup("min", "0F 5D"),
  arithmeticGroup("div", "0F 5E", "divide"),
  extremumGroup("max", "0F 5F"),
];

export const SUFFIX = { 32: "s", 64: "d" } as const;

export function scalarFloat(
  name: string,
  opcode: string,
  prefix: "F2" | "F3",
  operation: (stage: Stage, bits: FloatBits, destination: FloatValue, source: FloatValue) => FloatValue,
): Instruction {
  const bits = prefix === "F2" ? 64 : 32;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: `3.3, 4.3 ${name.toUpperCase()}`,
    pattern: `${prefix} ${opcode} /r`,
    formFields: ["memory"],
    operands: sourceOperands("xmm"),
    text: (fields, pc) =>
      assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "xmm", (bits / 8) as OperandBytes)),
    execute(form, operands, stage) {
      requireSse(stage);
      const source = scalarSource(stage, form, bits, operands);
      stage.writeAt(operands.reg, operation(stage, bits, stage.readAt(bits, operands.reg), source));
    },
  });
}

function definitionsOf({ name, opcode, scalar, packed }: FloatGroup): readonly Instruction[] {
  return [
    ...([32, 64] as const).map((bits) =>
      fromSource(
        { name: `${name}p${SUFFIX[bits]}`, opcode, prefix: bits === 64 ? "66" : "np" },
        (stage, destination, source) => packed(stage, bits, destination, source),
      ),
    ),
    ...([32, 64] as const).map((bits) =>
      scalarFloat(`${name}s${SUFFIX[bits]}`, opcode, bits === 64 ? "F2" : "F3", scalar),
    ),
  ];
}

// Comparison

/** Predicates 0 to 3 of CMPPS and its like; 4 to 7 are their opposites. Those of `signalling` find a quiet NaN invalid. */
const PREDICATES = [
  { host: "eq", relations: [FloatRelation.equal], signalling: false },
  { host: "lt", relations: [FloatRelation.less], signalling: true },
  { host: "le", relations: [FloatRelation.less, FloatRelation.equal], signalling: true },
  { host: undefined, relations: [FloatRelation.unordered], signalling: false },
] as const;

/** All ones or 0, with exceptions to be reported. */
function softPredicate(
  stage: Stage,
  bits: FloatBits,
  predicate: number,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const { relations, signalling } = PREDICATES[predicate & 3] ?? PREDICATES[0];
  const relation = softly(stage, compareOperation(bits, signalling), left, right) as Value<32>;
  const set = relations.reduce<number>((sum, one) => sum | (1 << one), 0);
  const holds = stage.and(stage.binary("shr_u", stage.constant32(set), relation), stage.constant32(1));
  const truth = predicate < 4 ? holds : stage.xor(holds, stage.constant32(1));
  return stage.select(truth, constantOf(stage, bits, -1n), constantOf(stage, bits, 0n));
}

function hostPredicate(stage: Stage, bits: FloatBits, predicate: number, left: Vector, right: Vector): Vector {
  const { host } = PREDICATES[predicate & 3] ?? PREDICATES[0];
  const holds =
    host === undefined ? stage.constant128(0n, 0n) : stage.vector(`${floatShape(bits)}.${host}`, left, right);
  return predicate < 4 ? holds : stage.vector("v128.not", holds);
}

const PREDICATE_NAMES = ["eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord"] as const;

/** One definition a predicate: the immediate belongs to the opcode. Its upper bits are ignored. */
function comparison(bits: FloatBits, scalar: boolean, predicate: number): Instruction {
  const suffix = `${scalar ? "s" : "p"}${SUFFIX[bits]}`;
  const prefix = scalar ? (bits === 64 ? "F2" : "F3") : bits === 64 ? "66" : "np";
  const name = `cmp${PREDICATE_NAMES[predicate] ?? ""}${suffix}`;
  const bytes = (scalar ? bits / 8 : 16) as OperandBytes;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: `3.3 CMP${suffix.toUpperCase()}`,
    pattern: `${prefix} 0F C2 /r ib`,
    where: ({ immediate }) => (immediate & 7) === predicate,
    formFields: ["memory"],
    operands: sourceOperands("xmm"),
    text: (fields, pc) =>
      (fields.immediate & 0xff) < 8
        ? assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "xmm", bytes))
        : assembly(
            fields,
            pc,
            `cmp${suffix}`,
            vectorName("xmm", fields.reg),
            vectorText(fields, "xmm", bytes),
            byteText(fields.immediate),
          ),
    execute(form, operands, stage) {
      requireSse(stage);
      if (scalar) {
        const source = scalarSource(stage, form, bits, operands);
        const destination = stage.readAt(bits, operands.reg);
        const result = stage.choose(
          isPlain(stage, bits, destination, source),
          () => plainPredicate(stage, bits, predicate, destination, source),
          () => reporting(stage, () => softPredicate(stage, bits, predicate, destination, source)),
        );
        stage.writeAt(operands.reg, result);
        return;
      }
      const source = readSource(stage, form, "xmm", operands, 16);
      const destination = stage.readAt(128, operands.reg);
      const result = stage.choose(
        plainLanes(stage, bits, destination, source),
        () => hostPredicate(stage, bits, predicate, destination, source),
        () =>
          reporting(stage, () =>
            forEachLane(stage, bits, [destination, source], (a, b) =>
              softPredicate(stage, bits, predicate, a as FloatValue, b as FloatValue),
            ),
          ),
      );
      stage.writeAt(operands.reg, result);
    },
  });
}

function plainPredicate(
  stage: Stage,
  bits: FloatBits,
  predicate: number,
  left: FloatValue,
  right: FloatValue,
): FloatValue {
  const { host } = PREDICATES[predicate & 3] ?? PREDICATES[0];
  const holds = host === undefined ? stage.constant32(0) : floatCompareAt(stage, bits, host, left, right);
  const truth = predicate < 4 ? holds : stage.isZero(holds);
  return stage.select(truth, constantOf(stage, bits, -1n), constantOf(stage, bits, 0n));
}

/** UCOMISS, COMISS and their like: ZF, PF, CF; the others are clear. */
function orderedComparison(bits: FloatBits, signalling: boolean): Instruction {
  const name = `${signalling ? "" : "u"}comis${SUFFIX[bits]}`;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: `${signalling ? "3.3" : "4.3"} ${name.toUpperCase()}`,
    pattern: `${bits === 64 ? "66" : "np"} 0F ${signalling ? "2F" : "2E"} /r`,
    formFields: ["memory"],
    operands: sourceOperands("xmm"),
    text: (fields, pc) =>
      assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "xmm", (bits / 8) as OperandBytes)),
    execute(form, operands, stage) {
      requireSse(stage);
      const source = scalarSource(stage, form, bits, operands);
      const destination = stage.readAt(bits, operands.reg);
      const image = stage.choose(
        isPlain(stage, bits, destination, source),
        () => {
          const less = floatCompareAt(stage, bits, "lt", destination, source);
          const equal = floatCompareAt(stage, bits, "eq", destination, source);
          return stage.or(less, stage.shiftLeft(equal, Math.log2(Flag.ZF)));
        },
        () => {
          const operation = compareOperation(bits, signalling);
          const relation = reporting(stage, () => softly(stage, operation, destination, source) as Value<32>);
          return relationFlags(stage, relation);
        },
      );
      writeStatusFlags(stage, image);
    },
  });
}

/** A `FloatRelation` as ZF, PF, CF. */
export function relationFlags(stage: Stage, relation: Value<32>): Value<32> {
  const is = (wanted: number): Value<32> => stage.compare("eq", relation, stage.constant32(wanted));
  const unordered = is(FloatRelation.unordered);
  const carry = stage.or(is(FloatRelation.less), unordered);
  const zero = stage.or(is(FloatRelation.equal), unordered);
  return stage.or(
    carry,
    stage.or(stage.shiftLeft(unordered, Math.log2(Flag.PF)), stage.shiftLeft(zero, Math.log2(Flag.ZF))),
  );
}

// Horizontal and mixed

/** Elements of both vectors in this order. */
function picked(stage: Stage, bits: FloatBits, low: Vector, high: Vector, order: readonly number[]): Vector {
  const bytes = bits / 8;
  return stage.shuffle(
    low,
    high,
    order.flatMap((element) => Array.from({ length: bytes }, (_, byte) => element * bytes + byte)),
  );
}

function horizontal(operation: "add" | "subtract", bits: FloatBits) {
  const even = bits === 64 ? [0, 2] : [0, 2, 4, 6];
  return (stage: Stage, destination: Vector, source: Vector): Vector =>
    packedArithmetic(
      stage,
      operation,
      bits,
      picked(stage, bits, destination, source, even),
      picked(
        stage,
        bits,
        destination,
        source,
        even.map((element) => element + 1),
      ),
    );
}

/** ADDSUBPS, ADDSUBPD: even elements are subtracted, odd ones added. */
function addSubtract(bits: FloatBits) {
  return (stage: Stage, destination: Vector, source: Vector): Vector => {
    // Subtracting is adding the negated operand, but for NaNs, which keep their sign.
    const negative = constantLanes(stage, 64, bits === 64 ? 0n : 1n << 31n);
    const signs = bits === 64 ? stage.constant128(1n << 63n, 0n) : negative;
    const isNaN = stage.vector(`${floatShape(bits)}.ne`, source, source);
    const turned = stage.vector("v128.xor", source, stage.vector("v128.andnot", signs, isNaN));
    return packedArithmetic(stage, "add", bits, destination, turned);
  };
}

const mixed: readonly Instruction[] = ([32, 64] as const).flatMap((bits) => {
  const prefix = bits === 64 ? "66" : "F2";
  const suffix = `p${SUFFIX[bits]}`;
  return [
    fromSource({ name: `hadd${suffix}`, opcode: "0F 7C", prefix }, horizontal("add", bits)),
    fromSource({ name: `hsub${suffix}`, opcode: "0F 7D", prefix }, horizontal("subtract", bits)),
    fromSource({ name: `addsub${suffix}`, opcode: "0F D0", prefix }, addSubtract(bits)),
  ];
});

export const vectorFloatInstructions: readonly Instruction[] = [
  ...GROUPS.flatMap(definitionsOf),
  ...([32, 64] as const).flatMap((bits) =>
    [true, false].flatMap((scalar) => PREDICATE_NAMES.map((_, predicate) => comparison(bits, scalar, predicate))),
  ),
  ...([32, 64] as const).flatMap((bits) => [orderedComparison(bits, true), orderedComparison(bits, false)]),
  ...mixed,
];
