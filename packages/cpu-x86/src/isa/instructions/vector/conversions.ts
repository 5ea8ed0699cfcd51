/** Conversions of SSE between floats and integers, and rounding to integral values. References: Intel SDM volume 2. */
import {
  FloatOperation,
  floatOperationCode,
  type Instruction,
  Rounding,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { assembly, registerName } from "../../assembly-text.js";
import { accessMemory } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import type { DecodedFields } from "../../fields.js";
import { memoryOperand } from "../../operands.js";
import { gpr, mxcsr } from "../../state.js";
import {
  compareAt,
  constantOf,
  EXPONENT_MAX,
  type FloatBits,
  type FloatValue,
  FRACTION_BITS,
  hostModeHolds,
  isNoDenormal,
  isSafelyNormal,
  isZeroAt,
  Mxcsr,
  reporting,
  type SoftOperation,
  softly,
} from "../../vector-float-unit.js";
import {
  enterMmx,
  fromSource,
  lanes,
  low64,
  memoryText,
  type OperandBytes,
  readSource,
  referenceOf,
  requireMmx,
  requireSse,
  sourceOperands,
  type Vector,
  vectorName,
  vectorRegister,
  vectorText,
  writeMmx,
} from "../../vector-unit.js";
import {
  all,
  exponentLanes,
  floatShape,
  forEachLane,
  laneOf,
  noDenormals,
  numbersFrom,
  scalarSource,
  SUFFIX,
  vectorOf,
} from "./float.js";
import { byteText } from "./shifts.js";

type IntegerBits = 32 | 64;

function fromIntegerOperation(from: IntegerBits, to: FloatBits): SoftOperation {
  const options = { integer: { bits: from, signed: true } };
  const code = floatOperationCode(FloatOperation.fromFixed, to, options);
  return { name: `fromInteger${from}to${to}`, code, operands: [from], result: to };
}

/** Gives 32 bits, or 64; truncates, or rounds as MXCSR says. */
function toIntegerOperation(from: FloatBits, to: IntegerBits, truncates: boolean): SoftOperation {
  const options = { integer: { bits: to, signed: true } };
  return {
    name: `toInteger${from}to${to}${truncates ? "truncated" : ""}`,
    code: floatOperationCode(FloatOperation.toFixed, from, options),
    operands: [from],
    result: to,
    ...(truncates ? { rounding: Rounding.towardZero } : {}),
  };
}

function convertOperation(from: FloatBits, to: FloatBits): SoftOperation {
  const code = floatOperationCode(FloatOperation.convert, from, { target: to });
  return { name: `convert${from}to${to}`, code, operands: [from], result: to };
}

// Scalars

/** Truth: "inexact" is reported and has no handler, and (unless the rounding does not matter) it is to nearest. */
function inexactIsReported(stage: Stage, truncates: boolean): Value<32> {
  const needed = Mxcsr.PM | Mxcsr.PE;
  const mode = stage.and(stage.read(mxcsr), stage.constant32(needed | (truncates ? 0 : Mxcsr.RC)));
  return stage.compare("eq", mode, stage.constant32(needed));
}

/** Below 2 ** (bits - 1) in magnitude. */
function fitsInteger(stage: Stage, from: FloatBits, bits: IntegerBits, value: FloatValue): Value<32> {
  const limit = BigInt((EXPONENT_MAX[from] >> 1) + bits - 1) << BigInt(FRACTION_BITS[from] + 1);
  return compareAt(stage, from, "lt_u", stage.shiftLeft(value, 1), constantOf(stage, from, limit));
}

function scalarToInteger(
  stage: Stage,
  from: FloatBits,
  to: IntegerBits,
  truncates: boolean,
  value: FloatValue,
): FloatValue {
  const integral = truncates ? value : stage.floatUnary("nearest", value);
  const plain = stage.and(fitsInteger(stage, from, to, integral), isNoDenormal(stage, from, value));
  return stage.choose<FloatBits>(
    stage.and(inexactIsReported(stage, truncates), plain),
    () => stage.floatToInteger(to, true, integral as Value<32> | Value<64>),
    () => reporting(stage, () => softly(stage, toIntegerOperation(from, to, truncates), value)),
  );
}

function scalarFromInteger(stage: Stage, from: IntegerBits, to: FloatBits, value: Value<32> | Value<64>): FloatValue {
  const converted = (): FloatValue => stage.floatFromInteger(to, true, value);
  if (from < FRACTION_BITS[to]) return converted();
  return stage.choose<FloatBits>(hostModeHolds(stage), converted, () =>
    reporting(stage, () => softly(stage, fromIntegerOperation(from, to), value)),
  );
}

function scalarConvert(stage: Stage, from: FloatBits, value: FloatValue): FloatValue {
  const soft = (): FloatValue =>
    reporting(stage, () => softly(stage, convertOperation(from, from === 32 ? 64 : 32), value));
  const zero = isZeroAt(stage, from, value);
  if (from === 32)
    return stage.choose<FloatBits>(
      stage.or(zero, normalNumber(stage, value as Value<32>)),
      () => stage.floatPromote(value as Value<32>),
      soft,
    );
  const narrow = stage.floatDemote(value as Value<64>);
  const holds = stage.and(hostModeHolds(stage), isSafelyNormal(stage, 32, narrow));
  return stage.choose<FloatBits>(stage.or(zero, holds), () => narrow, soft);
}

function normalNumber(stage: Stage, value: Value<32>): Value<32> {
  const above = stage.sub(stage.shiftLeft(value, 1), stage.constant32(1 << 24));
  return stage.compare("lt_u", above, stage.constant32(254 << 24));
}

/** CVTSI2SS, CVTSI2SD. */
function fromGeneral(to: FloatBits, wide: boolean): Instruction {
  const name = `cvtsi2s${SUFFIX[to]}`;
  const bits = wide ? 64 : 32;
  const place = (fields: DecodedFields): string =>
    fields.memory === 1 ? memoryText(fields, wide ? 8 : 4) : registerName(fields.rm, wide ? 3 : 2);
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (r/m${bits})`,
    reference: `3.3 ${name.toUpperCase()}`,
    pattern: `${to === 64 ? "F2" : "F3"} w${wide ? 1 : 0} 0F 2A /r`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: { u16: ({ rm }) => gpr.offset + 8 * rm }, reg: vectorRegister("xmm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.reg), place(fields)),
    execute(form, operands, stage) {
      requireSse(stage);
      const value =
        form.memory === 0
          ? stage.readAt(bits, operands.rm)
          : stage.load(bits, accessMemory(stage, operands, bits / 8, "read"), 0, bits);
      stage.writeAt(operands.reg, scalarFromInteger(stage, bits, to, value as Value<32> | Value<64>));
    },
  });
}

/** CVTSS2SI, CVTTSS2SI, CVTSD2SI, CVTTSD2SI. */
function toGeneral(from: FloatBits, wide: boolean, truncates: boolean): Instruction {
  const name = `cvt${truncates ? "t" : ""}s${SUFFIX[from]}2si`;
  const bits = wide ? 64 : 32;
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (r${bits})`,
    reference: `3.3 ${name.toUpperCase()}`,
    pattern: `${from === 64 ? "F2" : "F3"} w${wide ? 1 : 0} 0F ${truncates ? "2C" : "2D"} /r`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: vectorRegister("xmm", "rm"), reg: { u16: ({ reg }) => gpr.offset + 8 * reg } },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name,
        registerName(fields.reg, wide ? 3 : 2),
        vectorText(fields, "xmm", (from / 8) as OperandBytes),
      ),
    execute(form, operands, stage) {
      requireSse(stage);
      const source = scalarSource(stage, form, from, operands);
      const result = scalarToInteger(stage, from, bits, truncates, source);
      stage.writeAt(operands.reg, wide ? (result as Value<64>) : stage.zeroExtend64(result as Value<32>));
    },
  });
}

/** CVTSS2SD, CVTSD2SS. */
function betweenFloats(from: FloatBits): Instruction {
  const to = from === 32 ? 64 : 32;
  const name = `cvts${SUFFIX[from]}2s${SUFFIX[to]}`;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: `3.3 ${name.toUpperCase()}`,
    pattern: `${from === 64 ? "F2" : "F3"} 0F 5A /r`,
    formFields: ["memory"],
    operands: sourceOperands("xmm"),
    text: (fields, pc) =>
      assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "xmm", (from / 8) as OperandBytes)),
    execute(form, operands, stage) {
      requireSse(stage);
      stage.writeAt(operands.reg, scalarConvert(stage, from, scalarSource(stage, form, from, operands)));
    },
  });
}

// Packed

/** `count` elements of `from` converted one by one; the rest of the vector is 0. */
function softPacked(stage: Stage, operation: SoftOperation, from: FloatBits, count: number, source: Vector): Vector {
  return reporting(stage, () =>
    vectorOf(
      stage,
      operation.result,
      Array.from({ length: count }, (_, lane) => softly(stage, operation, laneOf(stage, from, source, lane))),
    ),
  );
}

function packedToIntegers(stage: Stage, from: FloatBits, truncates: boolean, source: Vector): Vector {
  const shape = floatShape(from);
  const integral = truncates ? source : stage.vector(`${shape}.nearest`, source);
  const bits = (1n << BigInt(from - 1)) - 1n;
  const magnitude = stage.vector("v128.and", integral, constantMask(stage, from, bits));
  const fits = lanes(stage, from, "lt_s", magnitude, exponentLanes(stage, from, (EXPONENT_MAX[from] >> 1) + 31));
  const plain = stage.vector("v128.and", fits, noDenormals(stage, from, source));
  return stage.choose(
    stage.and(inexactIsReported(stage, truncates), all(stage, from, plain)),
    () => stage.vector(from === 32 ? "i32x4.trunc_sat_f32x4_s" : "i32x4.trunc_sat_f64x2_s_zero", integral),
    () => softPacked(stage, toIntegerOperation(from, 32, truncates), from, 128 / from, source),
  );
}

function constantMask(stage: Stage, bits: FloatBits, pattern: bigint): Vector {
  return bits === 64
    ? stage.splat("i64x2", stage.constant64(pattern))
    : stage.splat("i32x4", stage.constant32(Number(pattern)));
}

function packedFromIntegers(stage: Stage, source: Vector): Vector {
  return stage.choose(
    hostModeHolds(stage),
    () => stage.vector("f32x4.convert_i32x4_s", source),
    () => softPacked(stage, fromIntegerOperation(32, 32), 32, 4, source),
  );
}

function packedWiden(stage: Stage, source: Vector): Vector {
  const both = low64(stage, stage.extractLane("i64x2", 0, source));
  const plain = stage.vector("v128.and", noDenormals(stage, 32, both), numbersFrom(stage, 32, 0, both));
  return stage.choose(
    all(stage, 32, plain),
    () => stage.vector("f64x2.promote_low_f32x4", both),
    () => softPacked(stage, convertOperation(32, 64), 32, 2, source),
  );
}

function packedNarrow(stage: Stage, source: Vector): Vector {
  const narrow = stage.vector("f32x4.demote_f64x2_zero", source);
  // The upper elements of the result are zeros, which are no safe ones: look at copies of the lower.
  const copies = stage.splat("i64x2", stage.extractLane("i64x2", 0, narrow));
  return stage.choose(
    stage.and(hostModeHolds(stage), all(stage, 32, numbersFrom(stage, 32, 2, copies))),
    () => narrow,
    () => softPacked(stage, convertOperation(64, 32), 64, 2, source),
  );
}

const packed: readonly Instruction[] = [
  fromSource({ name: "cvtps2pd", opcode: "0F 5A", prefix: "np", bytes: 8 }, (stage, _old, source) =>
    packedWiden(stage, source),
  ),
  fromSource({ name: "cvtpd2ps", opcode: "0F 5A", prefix: "66" }, (stage, _old, source) => packedNarrow(stage, source)),
  fromSource({ name: "cvtdq2ps", opcode: "0F 5B", prefix: "np" }, (stage, _old, source) =>
    packedFromIntegers(stage, source),
  ),
  fromSource({ name: "cvtps2dq", opcode: "0F 5B", prefix: "66" }, (stage, _old, source) =>
    packedToIntegers(stage, 32, false, source),
  ),
  fromSource({ name: "cvttps2dq", opcode: "0F 5B", prefix: "F3" }, (stage, _old, source) =>
    packedToIntegers(stage, 32, true, source),
  ),
  fromSource({ name: "cvttpd2dq", opcode: "0F E6", prefix: "66" }, (stage, _old, source) =>
    packedToIntegers(stage, 64, true, source),
  ),
  fromSource({ name: "cvtpd2dq", opcode: "0F E6", prefix: "F2" }, (stage, _old, source) =>
    packedToIntegers(stage, 64, false, source),
  ),
  fromSource({ name: "cvtdq2pd", opcode: "0F E6", prefix: "F3", bytes: 8 }, (stage, _old, source) =>
    stage.vector("f64x2.convert_low_i32x4_s", source),
  ),
];

// With MMX registers

/** CVTPI2PS, CVTPI2PD: only a register makes them MMX instructions. */
function fromMmx(to: FloatBits): Instruction {
  const name = `cvtpi2p${SUFFIX[to]}`;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `${to === 64 ? "66" : "np"} 0F 2A /r`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: vectorRegister("mm", "rm"), reg: vectorRegister("xmm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "mm", 8)),
    execute(form, operands, stage) {
      const entersMmx = form.memory === 0;
      requireSse(stage);
      if (entersMmx) requireMmx(stage);
      const source = readSource(stage, form, "mm", operands, 8);
      const result =
        to === 64
          ? stage.vector("f64x2.convert_low_i32x4_s", source)
          : stage.choose(
              hostModeHolds(stage),
              () => stage.vector("f32x4.convert_i32x4_s", source),
              () => softPacked(stage, fromIntegerOperation(32, 32), 32, 2, source),
            );
      if (entersMmx) enterMmx(stage);
      if (to === 64) stage.writeAt(operands.reg, result);
      else stage.writeAt(operands.reg, stage.extractLane("i64x2", 0, result));
    },
  });
}

/** CVTPS2PI, CVTTPS2PI, CVTPD2PI, CVTTPD2PI. */
function toMmx(from: FloatBits, truncates: boolean): Instruction {
  const name = `cvt${truncates ? "t" : ""}p${SUFFIX[from]}2pi`;
  const bytes = from === 64 ? 16 : 8;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `${from === 64 ? "66" : "np"} 0F ${truncates ? "2C" : "2D"} /r`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: vectorRegister("xmm", "rm"), reg: vectorRegister("mm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("mm", fields.reg), vectorText(fields, "xmm", bytes)),
    execute(form, operands, stage) {
      requireSse(stage);
      requireMmx(stage);
      const source = readSource(stage, form, "xmm", operands, bytes);
      const operation = toIntegerOperation(from, 32, truncates);
      const result = softPacked(stage, operation, from, 2, source);
      enterMmx(stage);
      writeMmx(stage, operands.reg, stage.extractLane("i64x2", 0, result));
    },
  });
}

// ROUND

const ROUNDINGS = [
  { name: "nearest", rounding: Rounding.nearestEven, host: "nearest" },
  { name: "down", rounding: Rounding.towardNegative, host: "floor" },
  { name: "up", rounding: Rounding.towardPositive, host: "ceil" },
  { name: "truncated", rounding: Rounding.towardZero, host: "trunc" },
  { name: "by MXCSR", rounding: undefined, host: undefined },
] as const;

interface RoundForm {
  readonly bits: FloatBits;
  /** An index of `ROUNDINGS`. */
  readonly mode: number;
  /** A change is reported as inexact. */
  readonly exact: boolean;
}

function roundOperation({ bits, mode, exact }: RoundForm): SoftOperation {
  const rounding = ROUNDINGS[mode]?.rounding;
  return {
    name: `round${bits}${exact ? "exact" : ""}${mode}`,
    code: floatOperationCode(exact ? FloatOperation.roundToIntegralExact : FloatOperation.roundToIntegral, bits),
    operands: [bits],
    result: bits,
    ...(rounding === undefined ? {} : { rounding }),
  };
}

function roundScalar(stage: Stage, form: RoundForm, value: FloatValue): FloatValue {
  const host = ROUNDINGS[form.mode]?.host;
  const soft = (): FloatValue => reporting(stage, () => softly(stage, roundOperation(form), value), Mxcsr.DE);
  if (host === undefined) return soft();
  const normal = stage.or(isSafelyNormal(stage, form.bits, value), isZeroAt(stage, form.bits, value));
  const silent = form.exact ? inexactIsReported(stage, true) : stage.constant32(1);
  return stage.choose<FloatBits>(stage.and(normal, silent), () => stage.floatUnary(host, value), soft);
}

function roundPacked(stage: Stage, form: RoundForm, source: Vector): Vector {
  return reporting(
    stage,
    () => forEachLane(stage, form.bits, [source], (value) => softly(stage, roundOperation(form), value as FloatValue)),
    Mxcsr.DE,
  );
}

/** Bits 1 and 0 are the rounding, 2 takes MXCSR's, 3 keeps "inexact" quiet. */
function matchesImmediate({ mode, exact }: RoundForm, immediate: number): boolean {
  const wanted = (immediate & 4) === 0 ? immediate & 3 : 4;
  return wanted === mode && ((immediate & 8) === 0) === exact;
}

function round(form: RoundForm, scalar: boolean): Instruction {
  const { bits } = form;
  const name = `round${scalar ? "s" : "p"}${SUFFIX[bits]}`;
  const bytes = (scalar ? bits / 8 : 16) as OperandBytes;
  const opcode = 8 + (bits === 64 ? 1 : 0) + (scalar ? 2 : 0);
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${ROUNDINGS[form.mode]?.name ?? ""}${form.exact ? ", exact" : ""})`,
    reference: referenceOf(name),
    pattern: `66 0F 3A 0${opcode.toString(16).toUpperCase()} /r ib`,
    where: ({ immediate }) => matchesImmediate(form, immediate),
    formFields: ["memory"],
    operands: sourceOperands("xmm"),
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name,
        vectorName("xmm", fields.reg),
        vectorText(fields, "xmm", bytes),
        byteText(fields.immediate),
      ),
    execute(place, operands, stage) {
      requireSse(stage);
      if (scalar) stage.writeAt(operands.reg, roundScalar(stage, form, scalarSource(stage, place, bits, operands)));
      else stage.writeAt(operands.reg, roundPacked(stage, form, readSource(stage, place, "xmm", operands, 16)));
    },
  });
}

const rounds: readonly Instruction[] = ([32, 64] as const).flatMap((bits) =>
  ROUNDINGS.flatMap((_, mode) =>
    [true, false].flatMap((exact) => [true, false].map((scalar) => round({ bits, mode, exact }, scalar))),
  ),
);

export const vectorConversionInstructions: readonly Instruction[] = [
  ...([32, 64] as const).flatMap((bits) => [
    fromGeneral(bits, false),
    fromGeneral(bits, true),
    ...[true, false].flatMap((wide) => [toGeneral(bits, wide, true), toGeneral(bits, wide, false)]),
    betweenFloats(bits),
    fromMmx(bits),
    toMmx(bits, true),
    toMmx(bits, false),
  ]),
  ...packed,
  ...rounds,
];
