/** Advanced SIMD that doubles or halves elements, and multiplications by one element. Arm ARM C4.1 "Advanced SIMD three different", "vector x indexed element". */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { vector } from "../operands.js";
import {
  type BinaryLanes,
  HALFWORDS_AND_WORDS,
  indexedHalfword,
  type IndexedElement,
  indexedOperands,
  indexedText,
  indexedWord,
  UP_TO_WORDS,
} from "../vector-families.js";
import {
  constantLanes,
  doubled,
  extend,
  halfOf,
  lanes,
  multiplyLong,
  type NarrowBits,
  narrowed,
  polynomialMultiply,
  saturatingAdd,
  saturatingDoublingMultiplyLong,
  type SaturatingShift,
  saturatingNarrow,
  saturatingSubtract,
  shift,
  type Vector,
} from "../vector-lanes.js";
import {
  laneBits,
  readPlacedElement,
  readScalar,
  readVector,
  splatElement,
  writeHalf,
  writeLow64,
  writeScalar,
  writeVector,
} from "../vector-registers.js";
import { scalarName, vectorName } from "../vector-text.js";
import { doublingMultiplyHigh, integerMultiplications } from "./simd-integer.js";

function narrowBits(size: number): NarrowBits {
  const bits = laneBits(size);
  if (bits === 64) throw new RangeError("elements of 64 bits can't be doubled");
  return bits;
}

/** Narrow elements (the half that the form takes) to wide ones; `destination` is wide. */
type LongLanes = (
  stage: Stage,
  bits: NarrowBits,
  half: "low" | "high",
  left: Vector,
  right: Vector,
  destination: Vector,
) => Vector;

interface LongEncoding {
  readonly name: string;
  readonly u: 0 | 1;
  readonly opcode: string;
  readonly sizes: readonly number[];
}

function secondPart(name: string, q: number): string {
  return q === 1 ? `${name}2` : name;
}

/** SADDL and the like: both operands narrow. */
function long({ name, u, opcode, sizes }: LongEncoding, operation: LongLanes): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2 (vector)`,
    reference: "C4.1 Advanced SIMD three different",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 1 Rm:5 ${opcode} 00 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ size }) => sizes.includes(size),
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, size, Rm, Rn, Rd }) =>
      `${secondPart(name, Q)} ${vectorName(Rd, size + 1, 1)}, ${vectorName(Rn, size, Q)}, ${vectorName(Rm, size, Q)}`,
    execute({ Q, size }, { rd, rn, rm }, stage) {
      const [left, right, destination] = [stage.readAt(128, rn), stage.readAt(128, rm), stage.readAt(128, rd)];
      stage.writeAt(rd, operation(stage, narrowBits(size), halfOf(Q), left, right, destination));
    },
  });
}

/** SADDW and the like: the first operand is wide. */
function wide({ name, u, opcode, sizes }: LongEncoding, op: "add" | "sub"): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2`,
    reference: "C4.1 Advanced SIMD three different",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 1 Rm:5 ${opcode} 00 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ size }) => sizes.includes(size),
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, size, Rm, Rn, Rd }) =>
      `${secondPart(name, Q)} ${vectorName(Rd, size + 1, 1)}, ${vectorName(Rn, size + 1, 1)}, ${vectorName(Rm, size, Q)}`,
    execute({ Q, size }, { rd, rn, rm }, stage) {
      const bits = narrowBits(size);
      stage.writeAt(
        rd,
        lanes(
          stage,
          doubled(bits),
          op,
          stage.readAt(128, rn),
          extend(stage, bits, halfOf(Q), u === 0, stage.readAt(128, rm)),
        ),
      );
    },
  });
}

/** ADDHN and the like: the high halves of wide sums. */
function highNarrow(name: string, u: 0 | 1, opcode: string, op: "add" | "sub"): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2`,
    reference: "C4.1 Advanced SIMD three different",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 1 Rm:5 ${opcode} 00 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ size }) => size !== 3,
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, size, Rm, Rn, Rd }) =>
      `${secondPart(name, Q)} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size + 1, 1)}, ${vectorName(Rm, size + 1, 1)}`,
    execute({ Q, size }, { rd, rn, rm }, stage) {
      const bits = narrowBits(size);
      const result = lanes(stage, doubled(bits), op, stage.readAt(128, rn), stage.readAt(128, rm));
      const half = constantLanes(stage, doubled(bits), 1n << BigInt(bits - 1));
      // u: rounded.
      writeHalf(
        stage,
        Q,
        rd,
        narrowed(stage, bits, 1, u === 1 ? lanes(stage, doubled(bits), "add", result, half) : result),
      );
    },
  });
}

const extendedSum =
  (op: "add" | "sub", signed: boolean): LongLanes =>
  (stage, bits, half, left, right) =>
    lanes(stage, doubled(bits), op, extend(stage, bits, half, signed, left), extend(stage, bits, half, signed, right));

const longDifference =
  (signed: boolean): LongLanes =>
  (stage, bits, half, left, right) =>
    lanes(
      stage,
      doubled(bits),
      "abs",
      lanes(
        stage,
        doubled(bits),
        "sub",
        extend(stage, bits, half, signed, left),
        extend(stage, bits, half, signed, right),
      ),
    );

const longProduct =
  (signed: boolean): LongLanes =>
  (stage, bits, half, left, right) =>
    multiplyLong(stage, bits, half, signed, left, right);

const accumulated =
  (op: "add" | "sub", term: LongLanes): LongLanes =>
  (stage, bits, half, left, right, destination) =>
    lanes(stage, doubled(bits), op, destination, term(stage, bits, half, left, right, destination));

function halfOrWord(bits: NarrowBits): 16 | 32 {
  if (bits === 8) throw new RangeError("the instruction has no elements of 8 bits");
  return bits;
}

const doublingProduct: LongLanes = (stage, bits, half, left, right) =>
  saturatingDoublingMultiplyLong(stage, halfOrWord(bits), half, left, right);

const doublingAccumulated =
  (operation: typeof saturatingAdd): LongLanes =>
  (stage, bits, half, left, right, destination) =>
    operation(stage, doubled(bits), true, destination, doublingProduct(stage, bits, half, left, right, destination));

const polynomialProduct: LongLanes = (stage, _bits, half, left, right) =>
  polynomialMultiply(stage, 16, extend(stage, 8, half, false, left), extend(stage, 8, half, false, right));

function bothSigns(
  suffix: string,
  opcode: string,
  make: (encoding: LongEncoding, signed: boolean) => Instruction,
): Instruction[] {
  return [
    make({ name: `s${suffix}`, u: 0, opcode, sizes: UP_TO_WORDS }, true),
    make({ name: `u${suffix}`, u: 1, opcode, sizes: UP_TO_WORDS }, false),
  ];
}

const threeDifferent: readonly Instruction[] = [
  ...bothSigns("addl", "0000", (encoding, signed) => long(encoding, extendedSum("add", signed))),
  ...bothSigns("addw", "0001", (encoding) => wide(encoding, "add")),
  ...bothSigns("subl", "0010", (encoding, signed) => long(encoding, extendedSum("sub", signed))),
  ...bothSigns("subw", "0011", (encoding) => wide(encoding, "sub")),
  highNarrow("addhn", 0, "0100", "add"),
  highNarrow("raddhn", 1, "0100", "add"),
  highNarrow("subhn", 0, "0110", "sub"),
  highNarrow("rsubhn", 1, "0110", "sub"),
  ...bothSigns("abal", "0101", (encoding, signed) => long(encoding, accumulated("add", longDifference(signed)))),
  ...bothSigns("abdl", "0111", (encoding, signed) => long(encoding, longDifference(signed))),
  ...bothSigns("mlal", "1000", (encoding, signed) => long(encoding, accumulated("add", longProduct(signed)))),
  ...bothSigns("mlsl", "1010", (encoding, signed) => long(encoding, accumulated("sub", longProduct(signed)))),
  ...bothSigns("mull", "1100", (encoding, signed) => long(encoding, longProduct(signed))),
  long({ name: "sqdmlal", u: 0, opcode: "1001", sizes: HALFWORDS_AND_WORDS }, doublingAccumulated(saturatingAdd)),
  long({ name: "sqdmlsl", u: 0, opcode: "1011", sizes: HALFWORDS_AND_WORDS }, doublingAccumulated(saturatingSubtract)),
  long({ name: "sqdmull", u: 0, opcode: "1101", sizes: HALFWORDS_AND_WORDS }, doublingProduct),
  // A product of 64-bit polynomials (size 3) belongs to the cryptographic extension.
  long({ name: "pmull", u: 0, opcode: "1110", sizes: [0] }, polynomialProduct),
];

/** SQDMULL and the like on scalars: the elements repeat, so that a wide vector repeats its first one. */
function longScalar({ name, opcode }: Pick<LongEncoding, "name" | "opcode">, operation: LongLanes): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar)`,
    reference: "C4.1 Advanced SIMD scalar three different",
    pattern: `01 0 11110 size:2 1 Rm:5 ${opcode} 00 Rn:5 Rd:5`,
    formFields: ["size"],
    where: ({ size }) => HALFWORDS_AND_WORDS.includes(size),
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ size, Rm, Rn, Rd }) =>
      `${name} ${scalarName(size + 1, Rd)}, ${scalarName(size, Rn)}, ${scalarName(size, Rm)}`,
    execute({ size }, { rd, rn, rm }, stage) {
      const bits = narrowBits(size);
      const destination = readScalar(stage, doubled(bits), rd);
      writeScalar(
        stage,
        doubled(bits),
        rd,
        operation(stage, bits, "low", readScalar(stage, bits, rn), readScalar(stage, bits, rm), destination),
      );
    },
  });
}

// By one element

function readIndexed(stage: Stage, element: IndexedElement, word: Value<32>, shiftCount: Value<32>): Vector {
  return splatElement(stage, element.bits, readPlacedElement(stage, element.bits, word, shiftCount));
}

type NarrowElement = IndexedElement & { readonly bits: 16 | 32 };

const narrowElements = [indexedHalfword, indexedWord] as readonly NarrowElement[];

function byElement(name: string, u: 0 | 1, opcode: string, operation: BinaryLanes): Instruction[] {
  return narrowElements.map((element) =>
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (by element, ${element.bits}-bit, vector)`,
      reference: "C4.1 Advanced SIMD vector x indexed element",
      pattern: `0 Q:1 ${String(u)} 01111 ${element.upper} ${opcode} ${element.lower} 0 Rn:5 Rd:5` as `0 Q:1 Rn:5 Rd:5`,
      formFields: ["Q"],
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${name} ${vectorName(fields.Rd, element.size, fields.Q)}, ${vectorName(fields.Rn, element.size, fields.Q)}, ${indexedText(element, fields)}`,
      execute({ Q }, { rd, rn, word, shift: place }, stage) {
        const right = readIndexed(stage, element, word, place);
        writeVector(
          stage,
          Q,
          rd,
          operation(stage, element.bits, readVector(stage, Q, rn), right, readVector(stage, Q, rd)),
        );
      },
    }),
  );
}

function byElementScalar(name: string, u: 0 | 1, opcode: string, operation: BinaryLanes): Instruction[] {
  return narrowElements.map((element) =>
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (by element, ${element.bits}-bit, scalar)`,
      reference: "C4.1 Advanced SIMD scalar x indexed element",
      pattern: `01 ${String(u)} 11111 ${element.upper} ${opcode} ${element.lower} 0 Rn:5 Rd:5` as `Rn:5 Rd:5`,
      formFields: [],
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${name} ${scalarName(element.size, fields.Rd)}, ${scalarName(element.size, fields.Rn)}, ${indexedText(element, fields)}`,
      execute(_form, { rd, rn, word, shift: place }, stage) {
        const right = readIndexed(stage, element, word, place);
        writeScalar(
          stage,
          element.bits,
          rd,
          operation(
            stage,
            element.bits,
            readScalar(stage, element.bits, rn),
            right,
            readScalar(stage, element.bits, rd),
          ),
        );
      },
    }),
  );
}

function longByElement(name: string, u: 0 | 1, opcode: string, operation: LongLanes): Instruction[] {
  return narrowElements.map((element) =>
    defineInstruction({
      mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2 (by element, ${element.bits}-bit)`,
      reference: "C4.1 Advanced SIMD vector x indexed element",
      pattern: `0 Q:1 ${String(u)} 01111 ${element.upper} ${opcode} ${element.lower} 0 Rn:5 Rd:5` as `0 Q:1 Rn:5 Rd:5`,
      formFields: ["Q"],
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${secondPart(name, fields.Q)} ${vectorName(fields.Rd, element.size + 1, 1)}, ${vectorName(fields.Rn, element.size, fields.Q)}, ${indexedText(element, fields)}`,
      execute({ Q }, { rd, rn, word, shift: place }, stage) {
        const right = readIndexed(stage, element, word, place);
        stage.writeAt(
          rd,
          operation(stage, element.bits, halfOf(Q), stage.readAt(128, rn), right, stage.readAt(128, rd)),
        );
      },
    }),
  );
}

function longByElementScalar(name: string, opcode: string, operation: LongLanes): Instruction[] {
  return narrowElements.map((element) =>
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (by element, ${element.bits}-bit, scalar)`,
      reference: "C4.1 Advanced SIMD scalar x indexed element",
      pattern: `01 0 11111 ${element.upper} ${opcode} ${element.lower} 0 Rn:5 Rd:5` as `Rn:5 Rd:5`,
      formFields: [],
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${name} ${scalarName(element.size + 1, fields.Rd)}, ${scalarName(element.size, fields.Rn)}, ${indexedText(element, fields)}`,
      execute(_form, { rd, rn, word, shift: place }, stage) {
        const right = readIndexed(stage, element, word, place);
        const width = doubled(element.bits);
        writeScalar(
          stage,
          width,
          rd,
          operation(
            stage,
            element.bits,
            "low",
            readScalar(stage, element.bits, rn),
            right,
            readScalar(stage, width, rd),
          ),
        );
      },
    }),
  );
}

const indexed: readonly Instruction[] = [
  ...byElement("mul", 0, "1000", integerMultiplications.product),
  ...byElement("mla", 1, "0000", integerMultiplications.multiplyAdd),
  ...byElement("mls", 1, "0100", integerMultiplications.multiplySubtract),
  ...byElement("sqdmulh", 0, "1100", doublingMultiplyHigh(false)),
  ...byElement("sqrdmulh", 0, "1101", doublingMultiplyHigh(true)),
  ...byElementScalar("sqdmulh", 0, "1100", doublingMultiplyHigh(false)),
  ...byElementScalar("sqrdmulh", 0, "1101", doublingMultiplyHigh(true)),
  ...longByElement("smlal", 0, "0010", accumulated("add", longProduct(true))),
  ...longByElement("umlal", 1, "0010", accumulated("add", longProduct(false))),
  ...longByElement("smlsl", 0, "0110", accumulated("sub", longProduct(true))),
  ...longByElement("umlsl", 1, "0110", accumulated("sub", longProduct(false))),
  ...longByElement("smull", 0, "1010", longProduct(true)),
  ...longByElement("umull", 1, "1010", longProduct(false)),
  ...longByElement("sqdmlal", 0, "0011", doublingAccumulated(saturatingAdd)),
  ...longByElement("sqdmlsl", 0, "0111", doublingAccumulated(saturatingSubtract)),
  ...longByElement("sqdmull", 0, "1011", doublingProduct),
  ...longByElementScalar("sqdmlal", "0011", doublingAccumulated(saturatingAdd)),
  ...longByElementScalar("sqdmlsl", "0111", doublingAccumulated(saturatingSubtract)),
  ...longByElementScalar("sqdmull", "1011", doublingProduct),
];

// Narrowing

type NarrowingLanes = (stage: Stage, bits: NarrowBits, wideElements: Vector) => Value<64>;

function narrowing(name: string, u: 0 | 1, opcode: string, operation: NarrowingLanes): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2`,
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: `0 Q:1 ${String(u)} 01110 size:2 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ size }) => size !== 3,
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, size, Rn, Rd }) => `${secondPart(name, Q)} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size + 1, 1)}`,
    execute({ Q, size }, { rd, rn }, stage) {
      writeHalf(stage, Q, rd, operation(stage, narrowBits(size), stage.readAt(128, rn)));
    },
  });
}

function narrowingScalar(name: string, u: 0 | 1, opcode: string, operation: NarrowingLanes): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar)`,
    reference: "C4.1 Advanced SIMD scalar two-register miscellaneous",
    pattern: `01 ${String(u)} 11110 size:2 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["size"],
    where: ({ size }) => size !== 3,
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ size, Rn, Rd }) => `${name} ${scalarName(size, Rd)}, ${scalarName(size + 1, Rn)}`,
    execute({ size }, { rd, rn }, stage) {
      const bits = narrowBits(size);
      writeLow64(stage, rd, stage.zeroExtendFrom(bits, operation(stage, bits, readScalar(stage, doubled(bits), rn))));
    },
  });
}

function saturatingNarrowing(name: string, u: 0 | 1, opcode: string, kind: SaturatingShift): Instruction[] {
  const operation: NarrowingLanes = (stage, bits, wideElements) => saturatingNarrow(stage, bits, kind, wideElements);
  return [narrowing(name, u, opcode, operation), narrowingScalar(name, u, opcode, operation)];
}

/** SHLL: by the width of the narrow element. */
const shiftLeftLong = defineInstruction({
  mnemonic: "SHLL, SHLL2",
  reference: "C4.1 Advanced SIMD two-register miscellaneous",
  pattern: "0 Q:1 1 01110 size:2 10000 10011 10 Rn:5 Rd:5",
  formFields: ["Q", "size"],
  where: ({ size }) => size !== 3,
  operands: { rd: vector("Rd"), rn: vector("Rn") },
  text: ({ Q, size, Rn, Rd }) =>
    `${secondPart("shll", Q)} ${vectorName(Rd, size + 1, 1)}, ${vectorName(Rn, size, Q)}, #${8 << size}`,
  execute({ Q, size }, { rd, rn }, stage) {
    const bits = narrowBits(size);
    stage.writeAt(
      rd,
      shift(stage, doubled(bits), "shl", extend(stage, bits, halfOf(Q), false, stage.readAt(128, rn)), bits),
    );
  },
});

export const simdWidening: readonly Instruction[] = [
  ...threeDifferent,
  longScalar({ name: "sqdmlal", opcode: "1001" }, doublingAccumulated(saturatingAdd)),
  longScalar({ name: "sqdmlsl", opcode: "1011" }, doublingAccumulated(saturatingSubtract)),
  longScalar({ name: "sqdmull", opcode: "1101" }, doublingProduct),
  ...indexed,
  narrowing("xtn", 0, "10010", (stage, bits, wideElements) => narrowed(stage, bits, 0, wideElements)),
  ...saturatingNarrowing("sqxtn", 0, "10100", "signed"),
  ...saturatingNarrowing("uqxtn", 1, "10100", "unsigned"),
  ...saturatingNarrowing("sqxtun", 1, "10010", "signedToUnsigned"),
  shiftLeftLong,
];
