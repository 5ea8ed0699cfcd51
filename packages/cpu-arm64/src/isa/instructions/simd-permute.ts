/** Moving elements: DUP, INS, UMOV, SMOV, constants, EXT, TBL, ZIP. Arm ARM C3.5, C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD". */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { hexImmediate, registerName } from "../assembly-text.js";
import { destinationX, sourceX, vector } from "../operands.js";
import { and, or, type Vector } from "../vector-lanes.js";
import {
  elementShift,
  elementWord,
  type LaneBits,
  readPlacedElement,
  readVector,
  splatElement,
  writeElementAlone,
  writePlacedElement,
  writeVector,
} from "../vector-registers.js";
import { arrangement, elementName, floatImmediateText, scalarName, vectorList, vectorName } from "../vector-text.js";

const COPY = "C4.1 Advanced SIMD copy";

/** imm5: the lowest set bit tells the element size, the bits above it are the index. */
interface CopySize {
  readonly bits: LaneBits;
  /** Size as in arrangements. */
  readonly size: number;
  /** Pattern of imm5 with its index bits. */
  readonly pattern: string;
}

const copySizes: readonly CopySize[] = [
  { bits: 8, size: 0, pattern: "index:4 1" },
  { bits: 16, size: 1, pattern: "index:3 10" },
  { bits: 32, size: 2, pattern: "index:2 100" },
  { bits: 64, size: 3, pattern: "index:1 1000" },
];

function elementOperands<Names extends string>(bits: LaneBits, register: Names, index: Names) {
  return {
    word: { u16: (fields: Readonly<Record<Names, number>>) => elementWord(fields[register], bits, fields[index]) },
    shift: { u16: (fields: Readonly<Record<Names, number>>) => elementShift(bits, fields[index]) },
  };
}

function duplicateElement({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `DUP (element, ${bits}-bit, vector)`,
    reference: COPY,
    pattern: `0 Q:1 0 01110000 ${pattern} 0 0000 1 Rn:5 Rd:5` as `0 Q:1 index:1 Rn:5 Rd:5`,
    formFields: ["Q"],
    where: ({ Q }) => size !== 3 || Q === 1,
    operands: { rd: vector("Rd"), ...elementOperands(bits, "Rn", "index") },
    text: ({ Q, index, Rn, Rd }) => `dup ${vectorName(Rd, size, Q)}, ${elementName(Rn, size, index)}`,
    execute({ Q }, { rd, word, shift }, stage) {
      writeVector(stage, Q, rd, splatElement(stage, bits, readPlacedElement(stage, bits, word, shift)));
    },
  });
}

function duplicateElementScalar({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `DUP (element, ${bits}-bit, scalar)`,
    reference: "C4.1 Advanced SIMD scalar copy",
    pattern: `01 0 11110000 ${pattern} 0 0000 1 Rn:5 Rd:5` as `index:1 Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: vector("Rd"), ...elementOperands(bits, "Rn", "index") },
    text: ({ index, Rn, Rd }) => `mov ${scalarName(size, Rd)}, ${elementName(Rn, size, index)}`,
    execute(_form, { rd, word, shift }, stage) {
      writeElementAlone(stage, bits, rd, readPlacedElement(stage, bits, word, shift));
    },
  });
}

function duplicateGeneral({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `DUP (general, ${bits}-bit)`,
    reference: COPY,
    // The index bits do not matter.
    pattern: `0 Q:1 0 01110000 ${pattern} 0 0001 1 Rn:5 Rd:5` as `0 Q:1 index:1 Rn:5 Rd:5`,
    formFields: ["Q"],
    where: ({ Q }) => size !== 3 || Q === 1,
    operands: { rd: vector("Rd"), rn: sourceX("Rn") },
    text: ({ Q, Rn, Rd }) => `dup ${vectorName(Rd, size, Q)}, ${registerName(size === 3 ? 1 : 0, Rn)}`,
    execute({ Q }, { rd, rn }, stage) {
      writeVector(stage, Q, rd, splatElement(stage, bits, stage.readAt(bits === 64 ? 64 : 32, rn)));
    },
  });
}

function moveToGeneral({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `UMOV (${bits}-bit)`,
    reference: COPY,
    pattern: `0 ${size === 3 ? "1" : "0"} 0 01110000 ${pattern} 0 0111 1 Rn:5 Rd:5` as `index:1 Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: destinationX("Rd"), ...elementOperands(bits, "Rn", "index") },
    text: ({ index, Rn, Rd }) =>
      `${size >= 2 ? "mov" : "umov"} ${registerName(size === 3 ? 1 : 0, Rd)}, ${elementName(Rn, size, index)}`,
    execute(_form, { rd, word, shift }, stage) {
      const element = readPlacedElement(stage, bits, word, shift);
      stage.writeAt(rd, bits === 64 ? (element as Value<64>) : stage.zeroExtend64(element as Value<32>));
    },
  });
}

function moveToGeneralSigned({ bits, size, pattern }: CopySize & { readonly bits: 8 | 16 | 32 }): Instruction {
  return defineInstruction({
    mnemonic: `SMOV (${bits}-bit)`,
    reference: COPY,
    pattern: `0 Q:1 0 01110000 ${pattern} 0 0101 1 Rn:5 Rd:5` as `0 Q:1 index:1 Rn:5 Rd:5`,
    formFields: ["Q"],
    where: ({ Q }) => size !== 2 || Q === 1,
    operands: { rd: destinationX("Rd"), ...elementOperands(bits, "Rn", "index") },
    text: ({ Q, index, Rn, Rd }) => `smov ${registerName(Q, Rd)}, ${elementName(Rn, size, index)}`,
    execute({ Q }, { rd, word, shift }, stage) {
      const element = stage.signExtendFrom(bits, readPlacedElement(stage, bits, word, shift) as Value<32>);
      stage.writeAt(rd, Q === 1 ? stage.signExtend64(element) : stage.zeroExtend64(element));
    },
  });
}

function insertGeneral({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `INS (general, ${bits}-bit)`,
    reference: COPY,
    pattern: `0 1 0 01110000 ${pattern} 0 0011 1 Rn:5 Rd:5` as `index:1 Rn:5 Rd:5`,
    formFields: [],
    operands: { rn: sourceX("Rn"), ...elementOperands(bits, "Rd", "index") },
    text: ({ index, Rn, Rd }) => `mov ${elementName(Rd, size, index)}, ${registerName(size === 3 ? 1 : 0, Rn)}`,
    execute(_form, { rn, word, shift }, stage) {
      writePlacedElement(stage, bits, word, shift, stage.readAt(bits === 64 ? 64 : 32, rn));
    },
  });
}

/** imm4 without the bits below the element size. */
const SOURCE_INDEX = { 8: "from:4", 16: "from:3 x", 32: "from:2 xx", 64: "from:1 xxx" } as const;

function insertElement({ bits, size, pattern }: CopySize): Instruction {
  return defineInstruction({
    mnemonic: `INS (element, ${bits}-bit)`,
    reference: COPY,
    pattern: `0 1 1 01110000 ${pattern} 0 ${SOURCE_INDEX[bits]} 1 Rn:5 Rd:5` as `index:1 from:1 Rn:5 Rd:5`,
    formFields: [],
    operands: {
      ...elementOperands(bits, "Rd", "index"),
      sourceWord: { u16: ({ Rn, from }) => elementWord(Rn, bits, from) },
      sourceShift: { u16: ({ from }) => elementShift(bits, from) },
    },
    text: ({ index, from, Rn, Rd }) => `mov ${elementName(Rd, size, index)}, ${elementName(Rn, size, from)}`,
    execute(_form, { word, shift, sourceWord, sourceShift }, stage) {
      writePlacedElement(stage, bits, word, shift, readPlacedElement(stage, bits, sourceWord, sourceShift));
    },
  });
}

// Constants

const repeated = (value: bigint, bits: number): bigint => {
  let result = value;
  for (let width = bits; width < 64; width *= 2) result |= result << BigInt(width);
  return result;
};

/** The float of eight bits that FMOV (immediate) takes, as single or double precision. Arm ARM: pseudocode VFPExpandImm. */
export function expandFloatImmediate(imm8: number, bits: 32 | 64): bigint {
  const sign = BigInt(imm8 >> 7);
  const exponentBits = bits === 64 ? 11 : 8;
  const inverted = (imm8 >> 6) & 1;
  const low = BigInt((imm8 >> 4) & 3);
  const middle = inverted === 1 ? (1n << BigInt(exponentBits - 3)) - 1n : 0n;
  const exponent = (BigInt(1 - inverted) << BigInt(exponentBits - 1)) | (middle << 2n) | low;
  const fractionBits = BigInt(bits - 1 - exponentBits);
  return (sign << BigInt(bits - 1)) | (exponent << fractionBits) | (BigInt(imm8 & 15) << (fractionBits - 4n));
}

/** The number that FMOV's eight bits stand for. */
export function floatImmediateValue(imm8: number): number {
  const exponent = (((imm8 >> 6) & 1) === 1 ? -3 : 1) + ((imm8 >> 4) & 3);
  return ((imm8 & 0x80) === 0 ? 1 : -1) * (1 + (imm8 & 15) / 16) * 2 ** exponent;
}

type ImmediateFields = Readonly<Record<"op" | "cmode" | "abc" | "defgh", number>>;

function imm8Of({ abc, defgh }: ImmediateFields): number {
  return (abc << 5) | defgh;
}

/** Arm ARM: pseudocode AdvSIMDExpandImm, before MVNI and BIC invert it. */
function expandImmediate(fields: ImmediateFields): bigint {
  const imm8 = BigInt(imm8Of(fields));
  const { op, cmode } = fields;
  if (cmode < 8) return repeated(imm8 << BigInt(8 * (cmode >> 1)), 32);
  if (cmode < 12) return repeated(imm8 << BigInt(8 * ((cmode >> 1) & 1)), 16);
  if (cmode === 12) return repeated((imm8 << 8n) | 0xffn, 32);
  if (cmode === 13) return repeated((imm8 << 16n) | 0xffffn, 32);
  if (cmode === 15)
    return op === 1 ? expandFloatImmediate(Number(imm8), 64) : repeated(expandFloatImmediate(Number(imm8), 32), 32);
  if (op === 0) return repeated(imm8, 8);
  let mask = 0n;
  for (let byte = 0n; byte < 8n; byte++) if (((imm8 >> byte) & 1n) === 1n) mask |= 0xffn << (8n * byte);
  return mask;
}

/** The last bit of cmode below 12 says ORR or BIC. */
function isLogical({ cmode }: Pick<ImmediateFields, "cmode">): boolean {
  return cmode < 12 && (cmode & 1) === 1;
}

const invertible = ({ op, cmode }: Pick<ImmediateFields, "op" | "cmode">): boolean => op === 1 && cmode < 14;

function immediateOperand(fields: ImmediateFields): bigint {
  const immediate = expandImmediate(fields);
  return BigInt.asIntN(64, invertible(fields) ? ~immediate : immediate);
}

function shiftedText(fields: ImmediateFields): string {
  const { cmode } = fields;
  const imm8 = hexImmediate(imm8Of(fields));
  if (cmode === 12 || cmode === 13) return `${imm8}, msl #${8 * (cmode - 11)}`;
  const amount = cmode < 8 ? 8 * (cmode >> 1) : 8 * ((cmode >> 1) & 1);
  return amount === 0 ? imm8 : `${imm8}, lsl #${amount}`;
}

function moveImmediateText(fields: ImmediateFields & Readonly<Record<"Q" | "Rd", number>>): string {
  const { op, cmode, Q, Rd } = fields;
  if (cmode === 15)
    return `fmov ${vectorName(Rd, op === 1 ? 3 : 2, Q)}, ${floatImmediateText(floatImmediateValue(imm8Of(fields)))}`;
  if (cmode === 14 && op === 1)
    return `movi ${Q === 1 ? vectorName(Rd, 3, 1) : scalarName(3, Rd)}, ${hexImmediate(expandImmediate(fields))}`;
  if (cmode === 14) return `movi ${vectorName(Rd, 0, Q)}, ${hexImmediate(imm8Of(fields))}`;
  const size = cmode >= 8 && cmode < 12 ? 1 : 2;
  return `${op === 1 ? "mvni" : "movi"} ${vectorName(Rd, size, Q)}, ${shiftedText(fields)}`;
}

const IMMEDIATE = "C4.1 Advanced SIMD modified immediate";

const moveImmediate = defineInstruction({
  mnemonic: "MOVI, MVNI, FMOV (vector, immediate)",
  reference: IMMEDIATE,
  pattern: "0 Q:1 op:1 0111100000 abc:3 cmode:4 01 defgh:5 Rd:5",
  formFields: ["Q"],
  where: (fields) => !isLogical(fields) && !(fields.cmode === 15 && fields.op === 1 && fields.Q === 0),
  operands: { rd: vector("Rd"), immediate: { i64: immediateOperand } },
  text: moveImmediateText,
  execute({ Q }, { rd, immediate }, stage) {
    stage.writeAt(rd, immediate);
    stage.writeAt(rd, Q === 1 ? immediate : stage.constant64(0), 8);
  },
});

const logicalImmediate = defineInstruction({
  mnemonic: "ORR, BIC (vector, immediate)",
  reference: IMMEDIATE,
  pattern: "0 Q:1 op:1 0111100000 abc:3 cmode:4 01 defgh:5 Rd:5",
  formFields: ["Q", "op"],
  where: isLogical,
  operands: { rd: vector("Rd"), immediate: { i64: immediateOperand } },
  text: (fields) =>
    `${fields.op === 1 ? "bic" : "orr"} ${vectorName(fields.Rd, fields.cmode >= 8 ? 1 : 2, fields.Q)}, ${shiftedText(fields)}`,
  execute({ Q, op }, { rd, immediate }, stage) {
    const combined = (bytes: number): Value<64> =>
      op === 1 ? stage.and(stage.readAt(64, rd, bytes), immediate) : stage.or(stage.readAt(64, rd, bytes), immediate);
    stage.writeAt(rd, combined(0));
    stage.writeAt(rd, Q === 1 ? combined(8) : stage.constant64(0), 8);
  },
});

// Whole vectors

const extract = defineInstruction({
  mnemonic: "EXT",
  reference: "C4.1 Advanced SIMD extract",
  pattern: "0 Q:1 101110 00 0 Rm:5 0 imm4:4 0 Rn:5 Rd:5",
  formFields: ["Q", "imm4"],
  where: ({ Q, imm4 }) => Q === 1 || imm4 < 8,
  operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
  text: ({ Q, imm4, Rm, Rn, Rd }) =>
    `ext ${vectorName(Rd, 0, Q)}, ${vectorName(Rn, 0, Q)}, ${vectorName(Rm, 0, Q)}, #${imm4}`,
  execute({ Q, imm4 }, { rd, rn, rm }, stage) {
    const bytes = 8 << Q;
    const indices = Array.from({ length: 16 }, (_unused, byte) => {
      const position = imm4 + (byte % bytes);
      return position < bytes ? position : 16 + position - bytes;
    });
    writeVector(stage, Q, rd, stage.shuffle(readVector(stage, Q, rn), readVector(stage, Q, rm), indices));
  },
});

/** Bytes of the table that the indices choose; an index beyond it gives 0. */
function lookUp(stage: Stage, table: readonly Vector[], indices: Vector): Vector {
  return table
    .map((part, position) => {
      // Indices below the part wrap to large ones, and swizzle gives 0 for those.
      const local =
        position === 0
          ? indices
          : stage.vector("i8x16.sub", indices, splatElement(stage, 8, stage.constant32(16 * position)));
      return stage.vector("i8x16.swizzle", part, local);
    })
    .reduce((found, part) => or(stage, found, part));
}

const tableLookup = defineInstruction({
  mnemonic: "TBL, TBX",
  reference: "C4.1 Advanced SIMD table lookup",
  pattern: "0 Q:1 001110 00 0 Rm:5 0 len:2 op:1 00 Rn:5 Rd:5",
  formFields: ["Q", "len", "op"],
  operands: {
    rd: vector("Rd"),
    rm: vector("Rm"),
    table0: vector("Rn"),
    table1: vector("Rn", 1),
    table2: vector("Rn", 2),
    table3: vector("Rn", 3),
  },
  text: ({ Q, len, op, Rm, Rn, Rd }) =>
    `${op === 1 ? "tbx" : "tbl"} ${vectorName(Rd, 0, Q)}, ${vectorList(Rn, len + 1, "16b")}, ${vectorName(Rm, 0, Q)}`,
  execute({ Q, len, op }, { rd, rm, table0, table1, table2, table3 }, stage) {
    const table = [table0, table1, table2, table3].slice(0, len + 1).map((register) => stage.readAt(128, register));
    const indices = stage.readAt(128, rm);
    const found = lookUp(stage, table, indices);
    if (op === 0) return writeVector(stage, Q, rd, found);
    const limit = splatElement(stage, 8, stage.constant32(16 * (len + 1)));
    const beyond = stage.vector("i8x16.ge_u", indices, limit);
    writeVector(stage, Q, rd, or(stage, found, and(stage, stage.readAt(128, rd), beyond)));
  },
});

type Permutation = (element: number, part: 0 | 1, count: number) => readonly [vector: number, element: number];

/** Where each element of the result comes from: (element, first or second form, elements in a vector). */
const permutations: Readonly<Record<string, Permutation>> = {
  UZP: (element, part, count) => [Math.floor((2 * element) / count), (2 * element + part) % count],
  TRN: (element, part) => [element % 2, element - (element % 2) + part],
  ZIP: (element, part, count) => [element % 2, (part * count) / 2 + Math.floor(element / 2)],
};

function permute(name: string, opcode: string, part: 0 | 1): Instruction {
  const mnemonic = `${name}${part + 1}`;
  const source = permutations[name];
  if (source === undefined) throw new RangeError(`no permutation is called ${name}`);
  return defineInstruction({
    mnemonic,
    reference: "C4.1 Advanced SIMD permute",
    pattern: `0 Q:1 001110 size:2 0 Rm:5 0 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["Q", "size"],
    where: ({ Q, size }) => size !== 3 || Q === 1,
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, size, Rm, Rn, Rd }) =>
      `${mnemonic.toLowerCase()} v${Rd}.${arrangement(size, Q)}, ${vectorName(Rn, size, Q)}, ${vectorName(Rm, size, Q)}`,
    execute({ Q, size }, { rd, rn, rm }, stage) {
      const bytes = 1 << size;
      const count = (8 << Q) / bytes;
      const indices = Array.from({ length: 16 }, (_unused, byte) => {
        const [from, element] = source(Math.floor(byte / bytes) % count, part, count);
        return from * 16 + element * bytes + (byte % bytes);
      });
      writeVector(stage, Q, rd, stage.shuffle(stage.readAt(128, rn), stage.readAt(128, rm), indices));
    },
  });
}

function isSmall(size: CopySize): size is CopySize & { readonly bits: 8 | 16 | 32 } {
  return size.bits !== 64;
}

export const simdPermute: readonly Instruction[] = [
  ...copySizes.flatMap((size) => [
    duplicateElement(size),
    duplicateElementScalar(size),
    duplicateGeneral(size),
    moveToGeneral(size),
    insertGeneral(size),
    insertElement(size),
  ]),
  ...copySizes.filter(isSmall).map((size) => moveToGeneralSigned(size)),
  moveImmediate,
  logicalImmediate,
  extract,
  tableLookup,
  permute("UZP", "001", 0),
  permute("TRN", "010", 0),
  permute("ZIP", "011", 0),
  permute("UZP", "101", 1),
  permute("TRN", "110", 1),
  permute("ZIP", "111", 1),
];
