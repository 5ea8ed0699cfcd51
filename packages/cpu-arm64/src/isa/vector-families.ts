/**
 * Families of Advanced SIMD encodings: the classes of Arm ARM C4.1, each as a function from an opcode and an
 * operation on elements to a definition. In `size` lists, 0 to 3 are elements of 8 to 64 bits.
 */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { vector } from "./operands.js";
import type { Vector } from "./vector-lanes.js";
import {
  elementShift,
  elementWord,
  type LaneBits,
  laneBits,
  readScalar,
  readVector,
  writeScalar,
  writeVector,
} from "./vector-registers.js";
import { elementName, scalarName, vectorName } from "./vector-text.js";

/** Elements in, elements out. `destination` is what the register held before, for instructions that accumulate. */
export type UnaryLanes = (stage: Stage, bits: LaneBits, operand: Vector, destination: Vector) => Vector;
export type BinaryLanes = (stage: Stage, bits: LaneBits, left: Vector, right: Vector, destination: Vector) => Vector;
/** Like `BinaryLanes` for instructions that see the length of the vector: pairwise ones. */
export type SizedBinaryLanes = (
  stage: Stage,
  bits: LaneBits,
  q: number,
  left: Vector,
  right: Vector,
  destination: Vector,
) => Vector;

export const ALL_SIZES: readonly number[] = [0, 1, 2, 3];
export const UP_TO_WORDS: readonly number[] = [0, 1, 2];
export const HALFWORDS_AND_WORDS: readonly number[] = [1, 2];
export const BYTES_ONLY: readonly number[] = [0];
export const DOUBLEWORDS_ONLY: readonly number[] = [3];

export interface EncodingClass {
  /** In lower case, as in assembly text. */
  readonly name: string;
  readonly u: 0 | 1;
  readonly opcode: string;
  readonly sizes: readonly number[];
}

function heading({ name }: EncodingClass, form: string): string {
  return `${name.toUpperCase()} (${form})`;
}

/** A vector of one doubleword is not an arrangement of these instructions. */
function validVector(sizes: readonly number[], fields: { readonly Q: number; readonly size: number }): boolean {
  return sizes.includes(fields.size) && (fields.size !== 3 || fields.Q === 1);
}

export function threeSameSized(encoding: EncodingClass, operation: SizedBinaryLanes, form = "vector"): Instruction {
  const { name, u, opcode, sizes } = encoding;
  return defineInstruction({
    mnemonic: heading(encoding, form),
    reference: "C4.1 Advanced SIMD three same",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 1 Rm:5 ${opcode} 1 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: (fields) => validVector(sizes, fields),
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, size, Rm, Rn, Rd }) =>
      `${name} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size, Q)}, ${vectorName(Rm, size, Q)}`,
    execute({ Q, size }, { rd, rn, rm }, stage) {
      const read = (register: Value<32>): Vector => readVector(stage, Q, register);
      writeVector(stage, Q, rd, operation(stage, laneBits(size), Q, read(rn), read(rm), read(rd)));
    },
  });
}

export function threeSame(encoding: EncodingClass, operation: BinaryLanes): Instruction {
  return threeSameSized(encoding, (stage, bits, _q, left, right, destination) =>
    operation(stage, bits, left, right, destination),
  );
}

export function threeSameScalar(encoding: EncodingClass, operation: BinaryLanes): Instruction {
  const { name, u, opcode, sizes } = encoding;
  return defineInstruction({
    mnemonic: heading(encoding, "scalar"),
    reference: "C4.1 Advanced SIMD scalar three same",
    pattern: `01 ${String(u)} 11110 size:2 1 Rm:5 ${opcode} 1 Rn:5 Rd:5`,
    formFields: ["size"],
    where: ({ size }) => sizes.includes(size),
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ size, Rm, Rn, Rd }) => `${name} ${scalarName(size, Rd)}, ${scalarName(size, Rn)}, ${scalarName(size, Rm)}`,
    execute({ size }, { rd, rn, rm }, stage) {
      const bits = laneBits(size);
      const read = (register: Value<32>): Vector => readScalar(stage, bits, register);
      writeScalar(stage, bits, rd, operation(stage, bits, read(rn), read(rm), read(rd)));
    },
  });
}

/** What stands behind the operands in assembly text, such as ", #0". */
export interface TwoRegisterText {
  readonly suffix?: string;
}

export function twoRegister(
  encoding: EncodingClass,
  operation: UnaryLanes,
  { suffix = "" }: TwoRegisterText = {},
): Instruction {
  const { name, u, opcode, sizes } = encoding;
  return defineInstruction({
    mnemonic: heading(encoding, suffix === "" ? "vector" : "zero, vector"),
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: (fields) => validVector(sizes, fields),
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, size, Rn, Rd }) => `${name} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size, Q)}${suffix}`,
    execute({ Q, size }, { rd, rn }, stage) {
      writeVector(stage, Q, rd, operation(stage, laneBits(size), readVector(stage, Q, rn), readVector(stage, Q, rd)));
    },
  });
}

export function twoRegisterScalar(
  encoding: EncodingClass,
  operation: UnaryLanes,
  { suffix = "" }: TwoRegisterText = {},
): Instruction {
  const { name, u, opcode, sizes } = encoding;
  return defineInstruction({
    mnemonic: heading(encoding, suffix === "" ? "scalar" : "zero, scalar"),
    reference: "C4.1 Advanced SIMD scalar two-register miscellaneous",
    pattern: `01 ${String(u)} 11110 size:2 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["size"],
    where: ({ size }) => sizes.includes(size),
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ size, Rn, Rd }) => `${name} ${scalarName(size, Rd)}, ${scalarName(size, Rn)}${suffix}`,
    execute({ size }, { rd, rn }, stage) {
      const bits = laneBits(size);
      writeScalar(stage, bits, rd, operation(stage, bits, readScalar(stage, bits, rn), readScalar(stage, bits, rd)));
    },
  });
}

/** One element of Vm by its index, as the class "vector x indexed element" encodes it. */
export interface IndexedElement {
  readonly bits: 16 | 32 | 64;
  /** Size of the element. */
  readonly size: 1 | 2 | 3;
  /** Bits 23 to 16, and bit 11. */
  readonly upper: string;
  readonly lower: string;
  readonly register: (fields: Readonly<Record<string, number>>) => number;
  readonly index: (fields: Readonly<Record<string, number>>) => number;
}

const field = (fields: Readonly<Record<string, number>>, name: string): number => fields[name] ?? 0;

export const indexedHalfword: IndexedElement = {
  bits: 16,
  size: 1,
  upper: "01 L:1 M:1 Rm:4",
  lower: "H:1",
  register: (fields) => field(fields, "Rm"),
  index: (fields) => (field(fields, "H") << 2) | (field(fields, "L") << 1) | field(fields, "M"),
};

export const indexedWord: IndexedElement = {
  bits: 32,
  size: 2,
  upper: "10 L:1 Rm:5",
  lower: "H:1",
  register: (fields) => field(fields, "Rm"),
  index: (fields) => (field(fields, "H") << 1) | field(fields, "L"),
};

export const indexedDoubleword: IndexedElement = {
  bits: 64,
  size: 3,
  upper: "11 0 Rm:5",
  lower: "H:1",
  register: (fields) => field(fields, "Rm"),
  index: (fields) => field(fields, "H"),
};

/** Where the element lies: see `readPlacedElement`. */
export function indexedOperands(element: IndexedElement) {
  type Names = Readonly<Record<string, number>>;
  return {
    word: { u16: (fields: Names) => elementWord(element.register(fields), element.bits, element.index(fields)) },
    shift: { u16: (fields: Names) => elementShift(element.bits, element.index(fields)) },
  };
}

/** "v3.s[1]". */
export function indexedText(element: IndexedElement, fields: Readonly<Record<string, number>>): string {
  return elementName(element.register(fields), element.size, element.index(fields));
}
