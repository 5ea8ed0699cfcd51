/** Advanced SIMD on integers whose elements keep their size. Arm ARM C3.5, C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD". */
import { defineInstruction, type Instruction, type Stage } from "@hvjournal/engine";
import { vector } from "../operands.js";
import {
  absoluteDifference,
  addLongPairwise,
  and,
  andNot,
  bitselect,
  compareLanes,
  type Comparison,
  constantLanes,
  countLeadingSigns,
  countLeadingZeros,
  everySecond,
  halvingAdd,
  halvingSubtract,
  lanes,
  multiply,
  type NarrowBits,
  not,
  or,
  polynomialMultiply,
  reduceLanes,
  reverseBits,
  reverseElements,
  saturatingAbsolute,
  saturatingAdd,
  saturatingAddSignedToUnsigned,
  saturatingAddUnsignedToSigned,
  saturatingDoublingMultiplyHigh,
  saturatingNegate,
  saturatingSubtract,
  type Vector,
  xor,
} from "../vector-lanes.js";
import {
  ALL_SIZES,
  type BinaryLanes,
  BYTES_ONLY,
  DOUBLEWORDS_ONLY,
  type EncodingClass,
  HALFWORDS_AND_WORDS,
  threeSame,
  threeSameScalar,
  threeSameSized,
  twoRegister,
  twoRegisterScalar,
  type UnaryLanes,
  UP_TO_WORDS,
} from "../vector-families.js";
import { type LaneBits, laneBits, readVector, writeScalar, writeVector } from "../vector-registers.js";
import { scalarName, vectorName } from "../vector-text.js";

/** Elements of up to 32 bits; the encoding class allows no others. */
function narrow(bits: LaneBits): NarrowBits {
  if (bits === 64) throw new RangeError("the instruction has no elements of 64 bits");
  return bits;
}

function halfOrWord(bits: LaneBits): 16 | 32 {
  if (bits !== 16 && bits !== 32) throw new RangeError(`the instruction has no elements of ${bits} bits`);
  return bits;
}

/** The signed and the unsigned instruction of one opcode: SHADD, UHADD. */
function bothSigns(
  suffix: string,
  opcode: string,
  sizes: readonly number[],
  make: (encoding: EncodingClass, signed: boolean) => Instruction[],
): Instruction[] {
  return [
    ...make({ name: `s${suffix}`, u: 0, opcode, sizes }, true),
    ...make({ name: `u${suffix}`, u: 1, opcode, sizes }, false),
  ];
}

/** SQADD, UQADD: as vectors and as scalars of every size. */
function saturatingSum(suffix: string, opcode: string, operation: typeof saturatingAdd): Instruction[] {
  const make = (name: string, u: 0 | 1): Instruction[] => {
    const encoding: EncodingClass = { name, u, opcode, sizes: ALL_SIZES };
    const execute: BinaryLanes = (stage, bits, left, right) => operation(stage, bits, u === 0, left, right);
    return [threeSame(encoding, execute), threeSameScalar(encoding, execute)];
  };
  return [...make(`sq${suffix}`, 0), ...make(`uq${suffix}`, 1)];
}

/** As a vector of every size, and as a scalar of 64 bits. */
function withDoublewordScalar(encoding: EncodingClass, operation: BinaryLanes): Instruction[] {
  return [threeSame(encoding, operation), threeSameScalar({ ...encoding, sizes: DOUBLEWORDS_ONLY }, operation)];
}

function comparison(name: string, u: 0 | 1, opcode: string, kind: Comparison, signed: boolean): Instruction[] {
  return withDoublewordScalar({ name, u, opcode, sizes: ALL_SIZES }, (stage, bits, left, right) =>
    compareLanes(stage, bits, kind, signed, left, right),
  );
}

const testBits: BinaryLanes = (stage, bits, left, right) =>
  not(stage, lanes(stage, bits, "eq", and(stage, left, right), constantLanes(stage, 64, 0n)));

/** Combines neighbours of two vectors behind each other: ADDP, SMAXP ... */
function pairwise(encoding: EncodingClass, combine: BinaryLanes): Instruction {
  return threeSameSized(encoding, (stage, bits, q, left, right, destination) =>
    combine(
      stage,
      bits,
      everySecond(stage, bits, q, 0, left, right),
      everySecond(stage, bits, q, 1, left, right),
      destination,
    ),
  );
}

const add: BinaryLanes = (stage, bits, left, right) => lanes(stage, bits, "add", left, right);
const subtract: BinaryLanes = (stage, bits, left, right) => lanes(stage, bits, "sub", left, right);

/** max_s and the like of elements of up to 32 bits. */
function extremum(op: "max" | "min", signed: boolean): BinaryLanes {
  return (stage, bits, left, right) => lanes(stage, bits, `${op}_${signed ? "s" : "u"}`, left, right);
}

const arithmetic: readonly Instruction[] = [
  ...withDoublewordScalar({ name: "add", u: 0, opcode: "10000", sizes: ALL_SIZES }, add),
  ...withDoublewordScalar({ name: "sub", u: 1, opcode: "10000", sizes: ALL_SIZES }, subtract),
  ...comparison("cmgt", 0, "00110", "gt", true),
  ...comparison("cmhi", 1, "00110", "gt", false),
  ...comparison("cmge", 0, "00111", "ge", true),
  ...comparison("cmhs", 1, "00111", "ge", false),
  ...comparison("cmeq", 1, "10001", "eq", true),
  ...withDoublewordScalar({ name: "cmtst", u: 0, opcode: "10001", sizes: ALL_SIZES }, testBits),
  pairwise({ name: "addp", u: 0, opcode: "10111", sizes: ALL_SIZES }, add),
  ...bothSigns("max", "01100", UP_TO_WORDS, (encoding, signed) => [threeSame(encoding, extremum("max", signed))]),
  ...bothSigns("min", "01101", UP_TO_WORDS, (encoding, signed) => [threeSame(encoding, extremum("min", signed))]),
  ...bothSigns("maxp", "10100", UP_TO_WORDS, (encoding, signed) => [pairwise(encoding, extremum("max", signed))]),
  ...bothSigns("minp", "10101", UP_TO_WORDS, (encoding, signed) => [pairwise(encoding, extremum("min", signed))]),
  ...bothSigns("abd", "01110", UP_TO_WORDS, (encoding, signed) => [
    threeSame(encoding, (stage, bits, left, right) => absoluteDifference(stage, narrow(bits), signed, left, right)),
  ]),
  ...bothSigns("aba", "01111", UP_TO_WORDS, (encoding, signed) => [
    threeSame(encoding, (stage, bits, left, right, sum) =>
      lanes(stage, bits, "add", sum, absoluteDifference(stage, narrow(bits), signed, left, right)),
    ),
  ]),
  ...bothSigns("hadd", "00000", UP_TO_WORDS, (encoding, signed) => [
    threeSame(encoding, (stage, bits, left, right) => halvingAdd(stage, bits, signed, false, left, right)),
  ]),
  ...bothSigns("rhadd", "00010", UP_TO_WORDS, (encoding, signed) => [
    threeSame(encoding, (stage, bits, left, right) => halvingAdd(stage, bits, signed, true, left, right)),
  ]),
  ...bothSigns("hsub", "00100", UP_TO_WORDS, (encoding, signed) => [
    threeSame(encoding, (stage, bits, left, right) => halvingSubtract(stage, bits, signed, left, right)),
  ]),
  ...saturatingSum("add", "00001", saturatingAdd),
  ...saturatingSum("sub", "00101", saturatingSubtract),
];

// Multiplication

const product: BinaryLanes = (stage, bits, left, right) => multiply(stage, narrow(bits), left, right);
const multiplyAdd: BinaryLanes = (stage, bits, left, right, sum) =>
  lanes(stage, bits, "add", sum, multiply(stage, narrow(bits), left, right));
const multiplySubtract: BinaryLanes = (stage, bits, left, right, sum) =>
  lanes(stage, bits, "sub", sum, multiply(stage, narrow(bits), left, right));

export const integerMultiplications = { product, multiplyAdd, multiplySubtract } as const;

/** SQDMULH, SQRDMULH. */
export function doublingMultiplyHigh(rounded: boolean): BinaryLanes {
  return (stage, bits, left, right) => saturatingDoublingMultiplyHigh(stage, halfOrWord(bits), rounded, left, right);
}

function doublingHigh(name: string, u: 0 | 1, rounded: boolean): Instruction[] {
  const encoding: EncodingClass = { name, u, opcode: "10110", sizes: HALFWORDS_AND_WORDS };
  return [threeSame(encoding, doublingMultiplyHigh(rounded)), threeSameScalar(encoding, doublingMultiplyHigh(rounded))];
}

const multiplications: readonly Instruction[] = [
  threeSame({ name: "mul", u: 0, opcode: "10011", sizes: UP_TO_WORDS }, product),
  threeSame({ name: "mla", u: 0, opcode: "10010", sizes: UP_TO_WORDS }, multiplyAdd),
  threeSame({ name: "mls", u: 1, opcode: "10010", sizes: UP_TO_WORDS }, multiplySubtract),
  threeSame({ name: "pmul", u: 1, opcode: "10011", sizes: BYTES_ONLY }, (stage, _bits, left, right) =>
    polynomialMultiply(stage, 8, left, right),
  ),
  ...doublingHigh("sqdmulh", 0, false),
  ...doublingHigh("sqrdmulh", 1, true),
];

// Bitwise: the size field is part of the opcode, and the elements are bytes

function bitwise(name: string, u: 0 | 1, size: string, operation: BinaryLanes): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (vector)`,
    reference: "C4.1 Advanced SIMD three same",
    pattern: `0 Q:1 ${String(u)} 01110 ${size} 1 Rm:5 00011 1 Rn:5 Rd:5` as `0 Q:1 Rm:5 Rn:5 Rd:5`,
    formFields: ["Q"],
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, Rm, Rn, Rd }) =>
      name === "orr" && Rn === Rm
        ? `mov ${vectorName(Rd, 0, Q)}, ${vectorName(Rn, 0, Q)}`
        : `${name} ${vectorName(Rd, 0, Q)}, ${vectorName(Rn, 0, Q)}, ${vectorName(Rm, 0, Q)}`,
    execute({ Q }, { rd, rn, rm }, stage) {
      writeVector(
        stage,
        Q,
        rd,
        operation(stage, 8, readVector(stage, Q, rn), readVector(stage, Q, rm), readVector(stage, Q, rd)),
      );
    },
  });
}

const bitwiseOperations: readonly Instruction[] = [
  bitwise("and", 0, "00", (stage, _bits, left, right) => and(stage, left, right)),
  bitwise("bic", 0, "01", (stage, _bits, left, right) => andNot(stage, left, right)),
  bitwise("orr", 0, "10", (stage, _bits, left, right) => or(stage, left, right)),
  bitwise("orn", 0, "11", (stage, _bits, left, right) => or(stage, left, not(stage, right))),
  bitwise("eor", 1, "00", (stage, _bits, left, right) => xor(stage, left, right)),
  bitwise("bsl", 1, "01", (stage, _bits, left, right, mask) => bitselect(stage, mask, left, right)),
  bitwise("bit", 1, "10", (stage, _bits, left, mask, kept) => bitselect(stage, mask, left, kept)),
  bitwise("bif", 1, "11", (stage, _bits, left, mask, kept) => bitselect(stage, mask, kept, left)),
];

// Two-register miscellaneous

function reversal(name: string, u: 0 | 1, opcode: string, sizes: readonly number[], group: 16 | 32 | 64): Instruction {
  return twoRegister({ name, u, opcode, sizes }, (stage, bits, operand) =>
    reverseElements(stage, narrow(bits), group, operand),
  );
}

function unaryWithDoublewordScalar(encoding: EncodingClass, operation: UnaryLanes, suffix = ""): Instruction[] {
  return [
    twoRegister(encoding, operation, { suffix }),
    twoRegisterScalar({ ...encoding, sizes: DOUBLEWORDS_ONLY }, operation, { suffix }),
  ];
}

function unaryEverySize(encoding: EncodingClass, operation: UnaryLanes): Instruction[] {
  return [twoRegister(encoding, operation), twoRegisterScalar(encoding, operation)];
}

/** A comparison with zero; `reversed` puts zero first (CMLT, CMLE). */
function compareWithZero(name: string, u: 0 | 1, opcode: string, kind: Comparison, reversed = false): Instruction[] {
  const operation: UnaryLanes = (stage, bits, operand) => {
    const zero = constantLanes(stage, 64, 0n);
    return reversed
      ? compareLanes(stage, bits, kind, true, zero, operand)
      : compareLanes(stage, bits, kind, true, operand, zero);
  };
  return unaryWithDoublewordScalar({ name, u, opcode, sizes: ALL_SIZES }, operation, ", #0");
}

const miscellaneous: readonly Instruction[] = [
  reversal("rev64", 0, "00000", UP_TO_WORDS, 64),
  reversal("rev32", 1, "00000", [0, 1], 32),
  reversal("rev16", 0, "00001", BYTES_ONLY, 16),
  twoRegister({ name: "cls", u: 0, opcode: "00100", sizes: UP_TO_WORDS }, (stage, bits, operand) =>
    countLeadingSigns(stage, narrow(bits), operand),
  ),
  twoRegister({ name: "clz", u: 1, opcode: "00100", sizes: UP_TO_WORDS }, (stage, bits, operand) =>
    countLeadingZeros(stage, narrow(bits), operand),
  ),
  twoRegister({ name: "cnt", u: 0, opcode: "00101", sizes: BYTES_ONLY }, (stage, _bits, operand) =>
    stage.vector("i8x16.popcnt", operand),
  ),
  twoRegister({ name: "mvn", u: 1, opcode: "00101", sizes: BYTES_ONLY }, (stage, _bits, operand) =>
    not(stage, operand),
  ),
  bitReversal(),
  ...unaryEverySize({ name: "suqadd", u: 0, opcode: "00011", sizes: ALL_SIZES }, (stage, bits, operand, sum) =>
    saturatingAddUnsignedToSigned(stage, bits, sum, operand),
  ),
  ...unaryEverySize({ name: "usqadd", u: 1, opcode: "00011", sizes: ALL_SIZES }, (stage, bits, operand, sum) =>
    saturatingAddSignedToUnsigned(stage, bits, sum, operand),
  ),
  ...unaryEverySize({ name: "sqabs", u: 0, opcode: "00111", sizes: ALL_SIZES }, saturatingAbsolute),
  ...unaryEverySize({ name: "sqneg", u: 1, opcode: "00111", sizes: ALL_SIZES }, saturatingNegate),
  ...compareWithZero("cmgt", 0, "01000", "gt"),
  ...compareWithZero("cmge", 1, "01000", "ge"),
  ...compareWithZero("cmeq", 0, "01001", "eq"),
  ...compareWithZero("cmle", 1, "01001", "ge", true),
  ...compareWithZero("cmlt", 0, "01010", "gt", true),
  ...unaryWithDoublewordScalar({ name: "abs", u: 0, opcode: "01011", sizes: ALL_SIZES }, (stage, bits, operand) =>
    lanes(stage, bits, "abs", operand),
  ),
  ...unaryWithDoublewordScalar({ name: "neg", u: 1, opcode: "01011", sizes: ALL_SIZES }, (stage, bits, operand) =>
    lanes(stage, bits, "neg", operand),
  ),
  ...longPairwise("addlp", "00010", (_stage, _bits, sums) => sums),
  ...longPairwise("adalp", "00110", (stage, bits, sums, destination) => lanes(stage, bits, "add", destination, sums)),
];

/** RBIT: encoded as size 1, on bytes. */
function bitReversal(): Instruction {
  return defineInstruction({
    mnemonic: "RBIT (vector)",
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: "0 Q:1 1 01110 01 10000 00101 10 Rn:5 Rd:5",
    formFields: ["Q"],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, Rn, Rd }) => `rbit ${vectorName(Rd, 0, Q)}, ${vectorName(Rn, 0, Q)}`,
    execute({ Q }, { rd, rn }, stage) {
      writeVector(stage, Q, rd, reverseBits(stage, readVector(stage, Q, rn)));
    },
  });
}

/** SADDLP, SADALP: sums of neighbours; `finish` gets them with their width. */
function longPairwise(
  suffix: string,
  opcode: string,
  finish: (stage: Stage, bits: LaneBits, sums: Vector, destination: Vector) => Vector,
): Instruction[] {
  return bothSigns(suffix, opcode, UP_TO_WORDS, ({ name, u }, signed) => [
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (vector)`,
      reference: "C4.1 Advanced SIMD two-register miscellaneous",
      pattern: `0 Q:1 ${String(u)} 01110 size:2 10000 ${opcode} 10 Rn:5 Rd:5`,
      formFields: ["Q", "size"],
      where: ({ size }) => size !== 3,
      operands: { rd: vector("Rd"), rn: vector("Rn") },
      text: ({ Q, size, Rn, Rd }) => `${name} ${vectorName(Rd, size + 1, Q)}, ${vectorName(Rn, size, Q)}`,
      execute({ Q, size }, { rd, rn }, stage) {
        const sums = addLongPairwise(stage, narrow(laneBits(size)), signed, readVector(stage, Q, rn));
        writeVector(stage, Q, rd, finish(stage, laneBits(size + 1), sums, readVector(stage, Q, rd)));
      },
    }),
  ]);
}

// Across all elements

function acrossLanes(
  name: string,
  u: 0 | 1,
  opcode: string,
  long: boolean,
  reduce: (stage: Stage, bits: LaneBits, q: number, operand: Vector) => Vector,
): Instruction {
  return defineInstruction({
    mnemonic: name.toUpperCase(),
    reference: "C4.1 Advanced SIMD across lanes",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 11000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ Q, size }) => size < 2 || (size === 2 && Q === 1),
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, size, Rn, Rd }) => `${name} ${scalarName(long ? size + 1 : size, Rd)}, ${vectorName(Rn, size, Q)}`,
    execute({ Q, size }, { rd, rn }, stage) {
      writeScalar(
        stage,
        laneBits(long ? size + 1 : size),
        rd,
        reduce(stage, laneBits(size), Q, readVector(stage, Q, rn)),
      );
    },
  });
}

function extremumAcross(name: string, u: 0 | 1, opcode: string, op: "max" | "min"): Instruction {
  const combine = extremum(op, u === 0);
  return acrossLanes(name, u, opcode, false, (stage, bits, q, operand) =>
    reduceLanes(stage, bits, q, operand, (left, right) => combine(stage, bits, left, right, left)),
  );
}

function addLongAcross(name: string, u: 0 | 1): Instruction {
  return acrossLanes(name, u, "00011", true, (stage, bits, q, operand) => {
    const sums = addLongPairwise(stage, narrow(bits), u === 0, operand);
    const wide = laneBits(Math.log2(bits / 8) + 1);
    return reduceLanes(stage, wide, q, sums, (left, right) => lanes(stage, wide, "add", left, right));
  });
}

const across: readonly Instruction[] = [
  acrossLanes("addv", 0, "11011", false, (stage, bits, q, operand) =>
    reduceLanes(stage, bits, q, operand, (left, right) => lanes(stage, bits, "add", left, right)),
  ),
  extremumAcross("smaxv", 0, "01010", "max"),
  extremumAcross("umaxv", 1, "01010", "max"),
  extremumAcross("sminv", 0, "11010", "min"),
  extremumAcross("uminv", 1, "11010", "min"),
  addLongAcross("saddlv", 0),
  addLongAcross("uaddlv", 1),
  addPairScalar(),
];

function addPairScalar(): Instruction {
  return defineInstruction({
    mnemonic: "ADDP (scalar)",
    reference: "C4.1 Advanced SIMD scalar pairwise",
    pattern: "01 0 11110 11 11000 11011 10 Rn:5 Rd:5",
    formFields: [],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Rn, Rd }) => `addp d${Rd}, v${Rn}.2d`,
    execute(_form, { rd, rn }, stage) {
      stage.writeAt(rd, stage.add(stage.readAt(64, rn), stage.readAt(64, rn, 8)));
      stage.writeAt(rd, stage.constant64(0), 8);
    },
  });
}

export const simdInteger: readonly Instruction[] = [
  ...bitwiseOperations,
  ...arithmetic,
  ...across,
  ...miscellaneous,
  ...multiplications,
];
