/** Scalar floating point. Arm ARM C3.4, C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD". Half precision is only converted (no FEAT_FP16). */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { conditionName, registerName } from "../assembly-text.js";
import { conditionHolds, setFlagsNzcv } from "../flags.js";
import { type FloatBits, type FloatValue } from "../float-fast-path.js";
import {
  type Arithmetic,
  type Extremum,
  floatAbsolute,
  floatArithmetic,
  floatCompareFlags,
  floatExtremum,
  floatMultiplyAdd,
  floatNegate,
  floatSquareRoot,
} from "../float-operations.js";
import {
  floatConvert,
  floatFromFixed,
  floatRoundToIntegral,
  floatToFixed,
  type IntegralRounding,
} from "../float-conversions.js";
import { constant, widthOf } from "../general-registers.js";
import { destinationX, sourceX, vector } from "../operands.js";
import { floatBitsOf, readElement, readFloat, writeElementAlone, writeFloat } from "../vector-registers.js";
import { elementName, floatImmediateText, scalarName } from "../vector-text.js";
import { expandFloatImmediate, floatImmediateValue } from "./simd-permute.js";

/** ptype: 0 is single, 1 double, 3 half. */
const TYPE_SIZES = [2, 3, undefined, 1] as const;

function floatName(type: number, register: number): string {
  return scalarName(TYPE_SIZES[type] ?? 4, register);
}

/** Single or double precision. */
const singleOrDouble = ({ type }: { readonly type: number }): boolean => type < 2;

// One source

function oneSource(
  name: string,
  opcode: string,
  operation: (stage: Stage, bits: FloatBits, value: FloatValue) => FloatValue,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar)`,
    reference: "C4.1 Floating-point data-processing (1 source)",
    pattern: `00011110 type:2 1 ${opcode} 10000 Rn:5 Rd:5`,
    formFields: ["type"],
    where: singleOrDouble,
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ type, Rn, Rd }) => `${name} ${floatName(type, Rd)}, ${floatName(type, Rn)}`,
    execute({ type }, { rd, rn }, stage) {
      const bits = floatBitsOf(type);
      writeFloat(stage, bits, rd, operation(stage, bits, readFloat(stage, bits, rn)));
    },
  });
}

function roundToIntegral(name: string, opcode: string, rounding: IntegralRounding, exact: boolean): Instruction {
  return oneSource(name, opcode, (stage, bits, value) => floatRoundToIntegral(stage, bits, rounding, exact, value));
}

/** Bits of a ptype or of FCVT's opc. */
function formatBits(type: number): 16 | 32 | 64 {
  return type === 0 ? 32 : type === 1 ? 64 : 16;
}

const convert = defineInstruction({
  mnemonic: "FCVT",
  reference: "C4.1 Floating-point data-processing (1 source)",
  pattern: "00011110 type:2 1 0001 opc:2 10000 Rn:5 Rd:5",
  formFields: ["type", "opc"],
  where: ({ type, opc }) => type !== 2 && opc !== 2 && type !== opc,
  operands: { rd: vector("Rd"), rn: vector("Rn") },
  text: ({ type, opc, Rn, Rd }) => `fcvt ${floatName(opc, Rd)}, ${floatName(type, Rn)}`,
  execute({ type, opc }, { rd, rn }, stage) {
    const [from, to] = [formatBits(type), formatBits(opc)];
    const result = floatConvert(stage, from, to, readElement(stage, from, rn));
    writeElementAlone(stage, to, rd, result as Value<32> | Value<64>);
  },
});

const oneSourceOperations: readonly Instruction[] = [
  oneSource("fmov", "000000", (_stage, _bits, value) => value),
  oneSource("fabs", "000001", floatAbsolute),
  oneSource("fneg", "000010", floatNegate),
  oneSource("fsqrt", "000011", floatSquareRoot),
  convert,
  roundToIntegral("frintn", "001000", "nearestEven", false),
  roundToIntegral("frintp", "001001", "towardPositive", false),
  roundToIntegral("frintm", "001010", "towardNegative", false),
  roundToIntegral("frintz", "001011", "towardZero", false),
  roundToIntegral("frinta", "001100", "nearestAway", false),
  roundToIntegral("frintx", "001110", "current", true),
  roundToIntegral("frinti", "001111", "current", false),
];

// Two sources, three sources

function twoSources(
  name: string,
  opcode: string,
  operation: (stage: Stage, bits: FloatBits, left: FloatValue, right: FloatValue) => FloatValue,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar)`,
    reference: "C4.1 Floating-point data-processing (2 source)",
    pattern: `00011110 type:2 1 Rm:5 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["type"],
    where: singleOrDouble,
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ type, Rm, Rn, Rd }) => `${name} ${floatName(type, Rd)}, ${floatName(type, Rn)}, ${floatName(type, Rm)}`,
    execute({ type }, { rd, rn, rm }, stage) {
      const bits = floatBitsOf(type);
      writeFloat(stage, bits, rd, operation(stage, bits, readFloat(stage, bits, rn), readFloat(stage, bits, rm)));
    },
  });
}

const arithmetic = (name: string, opcode: string, operation: Arithmetic): Instruction =>
  twoSources(name, opcode, (stage, bits, left, right) => floatArithmetic(stage, operation, bits, left, right));

const extremum = (name: string, opcode: string, operation: Extremum): Instruction =>
  twoSources(name, opcode, (stage, bits, left, right) => floatExtremum(stage, operation, bits, left, right));

/** FMADD and its kin: the product, the addend, or both negated beforehand. */
function threeSources(
  name: string,
  o1: string,
  o0: string,
  negateProduct: boolean,
  negateAddend: boolean,
): Instruction {
  return defineInstruction({
    mnemonic: name.toUpperCase(),
    reference: "C4.1 Floating-point data-processing (3 source)",
    pattern: `00011111 type:2 ${o1} Rm:5 ${o0} Ra:5 Rn:5 Rd:5`,
    formFields: ["type"],
    where: singleOrDouble,
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm"), ra: vector("Ra") },
    text: ({ type, Rm, Ra, Rn, Rd }) =>
      `${name} ${floatName(type, Rd)}, ${floatName(type, Rn)}, ${floatName(type, Rm)}, ${floatName(type, Ra)}`,
    execute({ type }, { rd, rn, rm, ra }, stage) {
      const bits = floatBitsOf(type);
      const [left, right, addend] = [
        readFloat(stage, bits, rn),
        readFloat(stage, bits, rm),
        readFloat(stage, bits, ra),
      ];
      const factor = negateProduct ? floatNegate(stage, bits, left) : left;
      const sum = negateAddend ? floatNegate(stage, bits, addend) : addend;
      writeFloat(stage, bits, rd, floatMultiplyAdd(stage, bits, factor, right, sum));
    },
  });
}

const arithmeticOperations: readonly Instruction[] = [
  arithmetic("fmul", "0000", "multiply"),
  arithmetic("fdiv", "0001", "divide"),
  arithmetic("fadd", "0010", "add"),
  arithmetic("fsub", "0011", "subtract"),
  extremum("fmax", "0100", "maximum"),
  extremum("fmin", "0101", "minimum"),
  extremum("fmaxnm", "0110", "maximumNumber"),
  extremum("fminnm", "0111", "minimumNumber"),
  twoSources("fnmul", "1000", (stage, bits, left, right) =>
    floatNegate(stage, bits, floatArithmetic(stage, "multiply", bits, left, right)),
  ),
  threeSources("fmadd", "0", "0", false, false),
  threeSources("fmsub", "0", "1", true, false),
  threeSources("fnmadd", "1", "0", true, true),
  threeSources("fnmsub", "1", "1", false, true),
];

// Comparison and selection

function compare(name: "fcmp" | "fcmpe", withZero: boolean): Instruction {
  const signalling = name === "fcmpe";
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}${withZero ? " (zero)" : ""}`,
    reference: "C4.1 Floating-point compare",
    // Rm does not matter where zero is compared.
    pattern: `00011110 type:2 1 Rm:5 001000 Rn:5 ${signalling ? "1" : "0"}${withZero ? "1" : "0"}000`,
    formFields: ["type"],
    where: singleOrDouble,
    operands: { rn: vector("Rn"), rm: vector("Rm") },
    text: ({ type, Rm, Rn }) => `${name} ${floatName(type, Rn)}, ${withZero ? "#0.0" : floatName(type, Rm)}`,
    execute({ type }, { rn, rm }, stage) {
      const bits = floatBitsOf(type);
      const right = withZero ? constant(stage, bits, 0) : readFloat(stage, bits, rm);
      setFlagsNzcv(stage, floatCompareFlags(stage, bits, readFloat(stage, bits, rn), right, signalling));
    },
  });
}

function conditionalCompare(name: "fccmp" | "fccmpe"): Instruction {
  const signalling = name === "fccmpe";
  return defineInstruction({
    mnemonic: name.toUpperCase(),
    reference: "C4.1 Floating-point conditional compare",
    pattern: `00011110 type:2 1 Rm:5 cond:4 01 Rn:5 ${signalling ? "1" : "0"} nzcv:4`,
    formFields: ["type", "cond"],
    where: singleOrDouble,
    operands: { rn: vector("Rn"), rm: vector("Rm"), nzcv: { u16: (fields) => fields.nzcv } },
    text: ({ type, Rm, cond, Rn, nzcv }) =>
      `${name} ${floatName(type, Rn)}, ${floatName(type, Rm)}, #0x${nzcv.toString(16)}, ${conditionName(cond)}`,
    execute({ type, cond }, { rn, rm, nzcv }, stage) {
      const bits = floatBitsOf(type);
      const compared = (): Value<32> =>
        floatCompareFlags(stage, bits, readFloat(stage, bits, rn), readFloat(stage, bits, rm), signalling);
      setFlagsNzcv(
        stage,
        stage.choose(conditionHolds(stage, cond), compared, () => nzcv),
      );
    },
  });
}

const conditionalSelect = defineInstruction({
  mnemonic: "FCSEL",
  reference: "C4.1 Floating-point conditional select",
  pattern: "00011110 type:2 1 Rm:5 cond:4 11 Rn:5 Rd:5",
  formFields: ["type", "cond"],
  where: singleOrDouble,
  operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
  text: ({ type, Rm, cond, Rn, Rd }) =>
    `fcsel ${floatName(type, Rd)}, ${floatName(type, Rn)}, ${floatName(type, Rm)}, ${conditionName(cond)}`,
  execute({ type, cond }, { rd, rn, rm }, stage) {
    const bits = floatBitsOf(type);
    writeFloat(
      stage,
      bits,
      rd,
      stage.select(conditionHolds(stage, cond), readFloat(stage, bits, rn), readFloat(stage, bits, rm)),
    );
  },
});

const moveImmediate = defineInstruction({
  mnemonic: "FMOV (scalar, immediate)",
  reference: "C4.1 Floating-point immediate",
  pattern: "00011110 type:2 1 imm8:8 100 00000 Rd:5",
  formFields: [],
  where: singleOrDouble,
  operands: {
    rd: vector("Rd"),
    immediate: { i64: ({ type, imm8 }) => BigInt.asIntN(64, expandFloatImmediate(imm8, type === 1 ? 64 : 32)) },
  },
  text: ({ type, imm8, Rd }) => `fmov ${floatName(type, Rd)}, ${floatImmediateText(floatImmediateValue(imm8))}`,
  execute(_form, { rd, immediate }, stage) {
    stage.writeAt(rd, immediate);
    stage.writeAt(rd, stage.constant64(0), 8);
  },
});

// Between registers

interface GeneralMove {
  readonly mnemonic: string;
  readonly pattern: string;
  readonly bits: 32 | 64;
  /** Bytes into the vector register. */
  readonly byte: 0 | 8;
}

/** FMOV between a general register and the low word, the low half or the high half of a vector register. */
const generalMoves: readonly GeneralMove[] = [
  { mnemonic: "32-bit", pattern: "0 0011110 00 1 00", bits: 32, byte: 0 },
  { mnemonic: "64-bit", pattern: "1 0011110 01 1 00", bits: 64, byte: 0 },
  { mnemonic: "top half", pattern: "1 0011110 10 1 01", bits: 64, byte: 8 },
];

function vectorText({ bits, byte }: GeneralMove, register: number): string {
  return byte === 8 ? elementName(register, 3, 1) : scalarName(bits === 64 ? 3 : 2, register);
}

const moves: readonly Instruction[] = generalMoves.flatMap((move) => [
  defineInstruction({
    mnemonic: `FMOV (to general, ${move.mnemonic})`,
    reference: "C4.1 Conversion between floating-point and integer",
    pattern: `${move.pattern} 110 000000 Rn:5 Rd:5` as `Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: destinationX("Rd"), rn: vector("Rn") },
    text: ({ Rn, Rd }) => `fmov ${registerName(move.bits === 64 ? 1 : 0, Rd)}, ${vectorText(move, Rn)}`,
    execute(_form, { rd, rn }, stage) {
      stage.writeAt(rd, move.bits === 64 ? stage.readAt(64, rn, move.byte) : stage.zeroExtend64(stage.readAt(32, rn)));
    },
  }),
  defineInstruction({
    mnemonic: `FMOV (from general, ${move.mnemonic})`,
    reference: "C4.1 Conversion between floating-point and integer",
    pattern: `${move.pattern} 111 000000 Rn:5 Rd:5` as `Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: vector("Rd"), rn: sourceX("Rn") },
    text: ({ Rn, Rd }) => `fmov ${vectorText(move, Rd)}, ${registerName(move.bits === 64 ? 1 : 0, Rn)}`,
    execute(_form, { rd, rn }, stage) {
      // Only the move to the top half leaves the rest as it is.
      if (move.byte === 8) stage.writeAt(rd, stage.readAt(64, rn), 8);
      else writeFloat(stage, move.bits, rd, stage.readAt(move.bits, rn));
    },
  }),
]);

// Conversions to and from general registers

type IntegerFields = Readonly<Record<"sf" | "type" | "Rn" | "Rd", number>>;

function toIntegerText(name: string, { sf, type, Rn, Rd }: IntegerFields): string {
  return `${name} ${registerName(sf, Rd)}, ${floatName(type, Rn)}`;
}

function fromIntegerText(name: string, { sf, type, Rn, Rd }: IntegerFields): string {
  return `${name} ${floatName(type, Rd)}, ${registerName(sf, Rn)}`;
}

function writeInteger(stage: Stage, bits: 32 | 64, register: Value<32>, value: FloatValue): void {
  stage.writeAt(register, bits === 64 ? (value as Value<64>) : stage.zeroExtend64(value as Value<32>));
}

function toInteger(
  name: string,
  rmode: string,
  opcode: string,
  signed: boolean,
  rounding: Exclude<IntegralRounding, "current">,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar, integer)`,
    reference: "C4.1 Conversion between floating-point and integer",
    pattern: `sf:1 0011110 type:2 1 ${rmode} ${opcode} 000000 Rn:5 Rd:5`,
    formFields: ["sf", "type"],
    where: singleOrDouble,
    operands: { rd: destinationX("Rd"), rn: vector("Rn") },
    text: (fields) => toIntegerText(name, fields),
    execute({ sf, type }, { rd, rn }, stage) {
      const bits = floatBitsOf(type);
      const width = widthOf(sf);
      writeInteger(
        stage,
        width,
        rd,
        floatToFixed(stage, bits, rounding, { bits: width, signed }, readFloat(stage, bits, rn)),
      );
    },
  });
}

function fromInteger(name: string, opcode: string, signed: boolean): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar, integer)`,
    reference: "C4.1 Conversion between floating-point and integer",
    pattern: `sf:1 0011110 type:2 1 00 ${opcode} 000000 Rn:5 Rd:5`,
    formFields: ["sf", "type"],
    where: singleOrDouble,
    operands: { rd: vector("Rd"), rn: sourceX("Rn") },
    text: (fields) => fromIntegerText(name, fields),
    execute({ sf, type }, { rd, rn }, stage) {
      const bits = floatBitsOf(type);
      const width = widthOf(sf);
      writeFloat(stage, bits, rd, floatFromFixed(stage, bits, { bits: width, signed }, stage.readAt(width, rn)));
    },
  });
}

type FixedFields = IntegerFields & Readonly<Record<"scale", number>>;

/** Bits behind the point: 64 - scale; at most the width of the general register. */
const fractionBits = { u16: ({ scale }: Readonly<Record<"scale", number>>): number => 64 - scale };
const validScale = ({ sf, type, scale }: Pick<FixedFields, "sf" | "type" | "scale">): boolean =>
  type < 2 && (sf === 1 || scale >= 32);

function toFixedPoint(name: string, opcode: string, signed: boolean): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar, fixed-point)`,
    reference: "C4.1 Conversion between floating-point and fixed-point",
    pattern: `sf:1 0011110 type:2 0 11 ${opcode} scale:6 Rn:5 Rd:5`,
    formFields: ["sf", "type"],
    where: validScale,
    operands: { rd: destinationX("Rd"), rn: vector("Rn"), fraction: fractionBits },
    text: (fields) => `${toIntegerText(name, fields)}, #${64 - fields.scale}`,
    execute({ sf, type }, { rd, rn, fraction }, stage) {
      const bits = floatBitsOf(type);
      const width = widthOf(sf);
      const fixed = { bits: width, signed, fractionBits: fraction };
      writeInteger(stage, width, rd, floatToFixed(stage, bits, "towardZero", fixed, readFloat(stage, bits, rn)));
    },
  });
}

function fromFixedPoint(name: string, opcode: string, signed: boolean): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar, fixed-point)`,
    reference: "C4.1 Conversion between floating-point and fixed-point",
    pattern: `sf:1 0011110 type:2 0 00 ${opcode} scale:6 Rn:5 Rd:5`,
    formFields: ["sf", "type"],
    where: validScale,
    operands: { rd: vector("Rd"), rn: sourceX("Rn"), fraction: fractionBits },
    text: (fields) => `${fromIntegerText(name, fields)}, #${64 - fields.scale}`,
    execute({ sf, type }, { rd, rn, fraction }, stage) {
      const bits = floatBitsOf(type);
      const width = widthOf(sf);
      writeFloat(
        stage,
        bits,
        rd,
        floatFromFixed(stage, bits, { bits: width, signed, fractionBits: fraction }, stage.readAt(width, rn)),
      );
    },
  });
}

const conversions: readonly Instruction[] = [
  toInteger("fcvtns", "00", "000", true, "nearestEven"),
  toInteger("fcvtnu", "00", "001", false, "nearestEven"),
  toInteger("fcvtps", "01", "000", true, "towardPositive"),
  toInteger("fcvtpu", "01", "001", false, "towardPositive"),
  toInteger("fcvtms", "10", "000", true, "towardNegative"),
  toInteger("fcvtmu", "10", "001", false, "towardNegative"),
  toInteger("fcvtzs", "11", "000", true, "towardZero"),
  toInteger("fcvtzu", "11", "001", false, "towardZero"),
  toInteger("fcvtas", "00", "100", true, "nearestAway"),
  toInteger("fcvtau", "00", "101", false, "nearestAway"),
  fromInteger("scvtf", "010", true),
  fromInteger("ucvtf", "011", false),
  toFixedPoint("fcvtzs", "000", true),
  toFixedPoint("fcvtzu", "001", false),
  fromFixedPoint("scvtf", "010", true),
  fromFixedPoint("ucvtf", "011", false),
];

export const floatingPoint: readonly Instruction[] = [
  ...moves,
  ...arithmeticOperations,
  ...oneSourceOperations,
  ...conversions,
  compare("fcmp", false),
  compare("fcmp", true),
  compare("fcmpe", false),
  compare("fcmpe", true),
  conditionalCompare("fccmp"),
  conditionalCompare("fccmpe"),
  conditionalSelect,
  moveImmediate,
];
