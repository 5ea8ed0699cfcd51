/** Shuffles, blends, insertion and extraction of elements by an immediate. References: Intel SDM volume 2. */
import { elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { assembly, registerName } from "../../assembly-text.js";
import { accessMemory, type MemoryOperands } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import type { DecodedFields } from "../../fields.js";
import { writeStatusFlags } from "../../flags.js";
import { memoryOperand } from "../../operands.js";
import { Flag } from "../../registers.js";
import { gpr, xmm } from "../../state.js";
import {
  type Bank,
  bankBytes,
  bitselect,
  constantBytes,
  enterMmx,
  fromSource,
  type LaneBits,
  lanes,
  loadVector,
  memoryText,
  type OperandBytes,
  readBank,
  readSource,
  referenceOf,
  requireBank,
  requireSse,
  shapeOf,
  sourceOperands,
  type Vector,
  vectorName,
  vectorRegister,
  vectorText,
  writeBank,
} from "../../vector-unit.js";
import { absoluteDifferences, blendBy } from "./integer.js";
import { byteText, bytesFrom } from "./shifts.js";

interface ImmediateEncoding {
  readonly name: string;
  readonly opcode: string;
  readonly prefix: "np" | "66" | "F2" | "F3";
  readonly bank?: Bank;
  readonly bytes?: OperandBytes;
  readonly reference?: string;
  /** What the operation gets of the immediate, where that is not its eight bits. */
  readonly control?: (immediate: number) => number;
}

export type ImmediateOperation = (
  stage: Stage,
  destination: Vector,
  source: Vector,
  control: Value<32>,
  bank: Bank,
) => Vector;

/** "xmm1, xmm2/m128, imm8" and the same for MMX. */
export function withImmediate(encoding: ImmediateEncoding, operation: ImmediateOperation): Instruction {
  const { name, opcode, prefix, bank = "xmm", reference = referenceOf(name) } = encoding;
  const { bytes = bankBytes(bank), control = (immediate: number): number => immediate & 0xff } = encoding;
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank}, imm8)`,
    reference,
    pattern: `${prefix} ${opcode} /r ib`,
    formFields: ["memory"],
    operands: { ...sourceOperands(bank), control: { i32: ({ immediate }) => control(immediate & 0xff) } },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name,
        vectorName(bank, fields.reg),
        vectorText(fields, bank, bytes),
        byteText(fields.immediate),
      ),
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const source = readSource(stage, form, bank, operands, bytes);
      const result = operation(stage, readBank(stage, bank, operands.reg), source, operands.control, bank);
      if (bank === "mm") enterMmx(stage);
      writeBank(stage, bank, operands.reg, result);
    },
  });
}

/** The four two-bit fields of an immediate, times `scale`, as bytes of a word. */
function fourFields(scale: number): (immediate: number) => number {
  return (immediate) =>
    [0, 1, 2, 3].reduce((word, index) => word | ((((immediate >> (2 * index)) & 3) * scale) << (8 * index)), 0);
}

/** Doublewords picked by the four bytes of `control`, which are offsets in the register. */
function pickDoublewords(stage: Stage, value: Vector, control: Value<32>): Vector {
  const offsets = stage.splat("i32x4", control);
  const spread = stage.shuffle(offsets, offsets, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
  const within = constantBytes(stage, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
  return lanes(stage, 8, "swizzle", value, lanes(stage, 8, "add", spread, within));
}

/** Words of the low (0) or high (1) half picked in the same way; the other half stays. */
function pickWords(half: 0 | 1): ImmediateOperation {
  return (stage, _destination, source, control) => {
    const offsets = stage.splat("i32x4", control);
    const spread = [0, 0, 1, 1, 2, 2, 3, 3];
    const zeros = [16, 16, 16, 16, 16, 16, 16, 16];
    const within = [0, 1, 0, 1, 0, 1, 0, 1];
    const others = [0, 1, 2, 3, 4, 5, 6, 7];
    const base = within.map((byte) => byte + 8 * half);
    const kept = others.map((byte) => byte + 8 * (1 - half));
    const moved = stage.shuffle(
      offsets,
      stage.constant128(0n, 0n),
      half === 0 ? [...spread, ...zeros] : [...zeros, ...spread],
    );
    const fixed = constantBytes(stage, half === 0 ? [...base, ...kept] : [...kept, ...base]);
    return lanes(stage, 8, "swizzle", source, lanes(stage, 8, "add", moved, fixed));
  };
}

const shufps: ImmediateOperation = (stage, destination, source, control) =>
  stage.shuffle(
    pickDoublewords(stage, destination, control),
    pickDoublewords(stage, source, control),
    [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31],
  );

const shufpd: ImmediateOperation = (stage, destination, source, control) => {
  const pick = (value: Vector, bit: number): Value<64> =>
    stage.select(
      stage.and(control, stage.constant32(bit)),
      stage.extractLane("i64x2", 1, value),
      stage.extractLane("i64x2", 0, value),
    );
  const low = stage.splat("i64x2", pick(destination, 1));
  return stage.replaceLane("i64x2", 1, low, pick(source, 2));
};

/** PALIGNR: bytes of destination and source behind each other, the source lowest. */
const alignRight: ImmediateOperation = (stage, destination, source, control, bank) => {
  const behind = stage.sub(control, stage.constant32(bankBytes(bank)));
  if (bank === "xmm")
    return stage.vector("v128.or", bytesFrom(stage, source, control), bytesFrom(stage, destination, behind));
  const both = stage.shuffle(source, destination, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
  return bytesFrom(stage, both, control);
};

/** All ones in the elements whose bit of the immediate is set. */
function immediateMask(stage: Stage, bits: 16 | 32 | 64, control: Value<32>): Vector {
  const flags = Array.from({ length: 128 / bits }, (_, lane) => 1 << lane);
  const pattern = flags.flatMap((flag) => [flag, ...Array.from({ length: bits / 8 - 1 }, () => 0)]);
  const wanted = constantBytes(stage, pattern);
  const spread = bits === 64 ? stage.splat("i64x2", stage.zeroExtend64(control)) : stage.splat(shapeOf(bits), control);
  return lanes(stage, bits, "eq", stage.vector("v128.and", spread, wanted), wanted);
}

function blend(bits: 16 | 32 | 64): ImmediateOperation {
  return (stage, destination, source, control) =>
    bitselect(stage, immediateMask(stage, bits, control), source, destination);
}

/** MPSADBW: eight sums of four absolute differences; the source's four bytes are picked, the destination's slide. */
const slidingDifferences: ImmediateOperation = (stage, destination, source, control) => {
  const from = stage.shiftLeft(stage.extractBits(control, 2, 1), 2);
  const block = stage.shiftLeft(stage.and(control, stage.constant32(3)), 2);
  let sum = stage.constant128(0n, 0n);
  for (let byte = 0; byte < 4; byte++) {
    const sliding = bytesFrom(stage, destination, stage.add(from, stage.constant32(byte)));
    const index = stage.splat("i8x16", stage.add(block, stage.constant32(byte)));
    const fixed = lanes(stage, 8, "swizzle", source, index);
    const differences = absoluteDifferences(stage, sliding, fixed);
    sum = lanes(stage, 16, "add", sum, stage.vector("i16x8.extend_low_i8x16_u", differences));
  }
  return sum;
};

const immediateShuffles: readonly Instruction[] = [
  withImmediate(
    { name: "pshufd", opcode: "0F 70", prefix: "66", control: fourFields(4) },
    (stage, _destination, source, control) => pickDoublewords(stage, source, control),
  ),
  withImmediate({ name: "pshuflw", opcode: "0F 70", prefix: "F2", control: fourFields(2) }, pickWords(0)),
  withImmediate({ name: "pshufhw", opcode: "0F 70", prefix: "F3", control: fourFields(2) }, pickWords(1)),
  withImmediate({ name: "pshufw", opcode: "0F 70", prefix: "np", bank: "mm", control: fourFields(2) }, pickWords(0)),
  withImmediate({ name: "shufps", opcode: "0F C6", prefix: "np", control: fourFields(4) }, shufps),
  withImmediate({ name: "shufpd", opcode: "0F C6", prefix: "66" }, shufpd),
  ...(["mm", "xmm"] as const).map((bank) =>
    withImmediate(
      {
        name: "palignr",
        opcode: "0F 3A 0F",
        prefix: bank === "mm" ? "np" : "66",
        bank,
        control: (immediate) => Math.min(immediate, 32),
      },
      alignRight,
    ),
  ),
  withImmediate({ name: "blendps", opcode: "0F 3A 0C", prefix: "66" }, blend(32)),
  withImmediate({ name: "blendpd", opcode: "0F 3A 0D", prefix: "66" }, blend(64)),
  withImmediate({ name: "pblendw", opcode: "0F 3A 0E", prefix: "66" }, blend(16)),
  withImmediate({ name: "mpsadbw", opcode: "0F 3A 42", prefix: "66" }, slidingDifferences),
];

/** PBLENDVB, BLENDVPS, BLENDVPD: the mask is XMM0. */
function variableBlend(name: string, opcode: string, bits: LaneBits): Instruction {
  return fromSource({ name, opcode, prefix: "66" }, (stage, destination, source) =>
    blendBy(stage, bits, stage.read(elementOf(xmm, 0)), destination, source),
  );
}

/** PTEST: ZF and CF; the others are clear. */
const ptest: Instruction = defineEncoded({
  mnemonic: "PTEST",
  reference: "4.3 PTEST",
  pattern: "66 0F 38 17 /r",
  formFields: ["memory"],
  operands: sourceOperands("xmm"),
  text: (fields, pc) => assembly(fields, pc, "ptest", vectorName("xmm", fields.reg), vectorText(fields, "xmm", 16)),
  execute(form, operands, stage) {
    requireSse(stage);
    const source = readSource(stage, form, "xmm", operands, 16);
    const destination = stage.readAt(128, operands.reg);
    const none = (value: Vector): Value<32> => stage.isZero(stage.vectorToScalar("v128.any_true", value));
    const zero = none(stage.vector("v128.and", source, destination));
    const carry = none(stage.vector("v128.andnot", source, destination));
    writeStatusFlags(stage, stage.or(carry, stage.shiftLeft(zero, Math.log2(Flag.ZF))));
  },
});

// Insertion and extraction

type ElementBits = 8 | 16 | 32 | 64;

/** All ones in the element of this number. */
function elementMask(stage: Stage, bits: ElementBits, index: Value<32>): Vector {
  const numbers = Array.from({ length: 16 }, (_, byte) => Math.floor((8 * byte) / bits));
  return lanes(stage, 8, "eq", constantBytes(stage, numbers), stage.splat("i8x16", index));
}

function elementCount(bits: ElementBits, bank: Bank): number {
  return (8 * bankBytes(bank)) / bits;
}

interface ElementEncoding {
  readonly name: string;
  readonly pattern: string;
  readonly bits: ElementBits;
  readonly bank: Bank;
  readonly reference: string;
}

function elementText(fields: DecodedFields, bits: ElementBits): string {
  if (fields.memory === 1) return memoryText(fields, (bits / 8) as OperandBytes);
  return registerName(fields.rm, bits === 64 ? 3 : 2);
}

/** PINSRB, PINSRW, PINSRD, PINSRQ: from a general register or memory. */
function insertElement({ name, pattern, bits, bank, reference }: ElementEncoding): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank})`,
    reference,
    pattern,
    formFields: ["memory"],
    operands: {
      ...memoryOperand,
      rm: { u16: ({ rm }) => gpr.offset + 8 * rm },
      reg: vectorRegister(bank, "reg"),
      element: { u16: ({ immediate }) => immediate & (elementCount(bits, bank) - 1) },
    },
    text: (fields, pc) =>
      assembly(fields, pc, name, vectorName(bank, fields.reg), elementText(fields, bits), byteText(fields.immediate)),
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const value =
        form.memory === 1
          ? stage.load(64, accessMemory(stage, operands, bits / 8, "read"), 0, bits)
          : stage.readAt(64, operands.rm);
      const spread = bits === 64 ? stage.splat("i64x2", value) : stage.splat(shapeOf(bits), stage.truncate32(value));
      const before = readBank(stage, bank, operands.reg);
      const result = bitselect(stage, elementMask(stage, bits, operands.element), spread, before);
      if (bank === "mm") enterMmx(stage);
      writeBank(stage, bank, operands.reg, result);
    },
  });
}

/** The element of this number, zero-extended. */
function elementAt(stage: Stage, bits: ElementBits, value: Vector, index: Value<32>): Value<64> {
  const first = bytesFrom(stage, value, stage.shiftLeft(index, Math.log2(bits / 8)));
  return stage.zeroExtendFrom(bits, stage.extractLane("i64x2", 0, first));
}

/** PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: to a general register, zero-extended, or to memory. */
function extractElement({ name, pattern, bits, bank, reference }: ElementEncoding): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (r/m, ${bank})`,
    reference,
    pattern,
    formFields: ["memory"],
    operands: {
      ...memoryOperand,
      rm: { u16: ({ rm }) => gpr.offset + 8 * rm },
      reg: vectorRegister(bank, "reg"),
      element: { u16: ({ immediate }) => immediate & (elementCount(bits, bank) - 1) },
    },
    text: (fields, pc) =>
      assembly(fields, pc, name, elementText(fields, bits), vectorName(bank, fields.reg), byteText(fields.immediate)),
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const value = elementAt(stage, bits, readBank(stage, bank, operands.reg), operands.element);
      if (form.memory === 1) stage.store(accessMemory(stage, operands, bits / 8, "write"), 0, bits, value);
      else stage.writeAt(operands.rm, value);
    },
  });
}

/** PEXTRW of SSE and MMX: ModRM.reg is the general register. */
function extractWord(bank: Bank): Instruction {
  return defineEncoded({
    mnemonic: `PEXTRW (r, ${bank})`,
    reference: "4.3 PEXTRW",
    pattern: `${bank === "xmm" ? "66" : "np"} 0F C5 /r ib reg`,
    formFields: [],
    operands: {
      rm: vectorRegister(bank, "rm"),
      reg: { u16: ({ reg }) => gpr.offset + 8 * reg },
      element: { u16: ({ immediate }) => immediate & (elementCount(16, bank) - 1) },
    },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        "pextrw",
        registerName(fields.reg, 2),
        vectorName(bank, fields.rm),
        byteText(fields.immediate),
      ),
    execute(_form, operands, stage) {
      requireBank(stage, bank);
      const value = elementAt(stage, 16, readBank(stage, bank, operands.rm), operands.element);
      if (bank === "mm") enterMmx(stage);
      stage.writeAt(operands.reg, value);
    },
  });
}

/** INSERTPS: an element of the source (bits 7 and 6; of memory, the one), to a place (5 and 4), and places that become 0. */
const insertps: Instruction = defineEncoded({
  mnemonic: "INSERTPS",
  reference: "3.3 INSERTPS",
  pattern: "66 0F 3A 21 /r ib",
  formFields: ["memory"],
  operands: {
    ...sourceOperands("xmm"),
    control: { i32: ({ immediate, memory }) => (memory === 1 ? immediate & 0x3f : immediate & 0xff) },
  },
  text: (fields, pc) =>
    assembly(
      fields,
      pc,
      "insertps",
      vectorName("xmm", fields.reg),
      vectorText(fields, "xmm", 4),
      byteText(fields.immediate),
    ),
  execute(form, operands, stage) {
    requireSse(stage);
    const { control } = operands;
    const source = sourceOrWord(stage, form, operands);
    const value = stage.truncate32(elementAt(stage, 32, source, stage.extractBits(control, 6, 2)));
    const place = elementMask(stage, 32, stage.extractBits(control, 4, 2));
    const placed = bitselect(stage, place, stage.splat("i32x4", value), stage.readAt(128, operands.reg));
    stage.writeAt(operands.reg, stage.vector("v128.andnot", placed, immediateMask(stage, 32, control)));
  },
});

function sourceOrWord(
  stage: Stage,
  form: { readonly memory: number },
  operands: MemoryOperands & { readonly rm: Value<32> },
): Vector {
  if (form.memory === 0) return stage.readAt(128, operands.rm);
  return loadVector(stage, "xmm", accessMemory(stage, operands, 4, "read"), 4);
}

const insertions: readonly ElementEncoding[] = [
  { name: "pinsrw", pattern: "np 0F C4 /r ib", bits: 16, bank: "mm", reference: "4.3 PINSRW" },
  { name: "pinsrw", pattern: "66 0F C4 /r ib", bits: 16, bank: "xmm", reference: "4.3 PINSRW" },
  { name: "pinsrb", pattern: "66 0F 3A 20 /r ib", bits: 8, bank: "xmm", reference: "4.3 PINSRB/PINSRD/PINSRQ" },
  { name: "pinsrd", pattern: "66 w0 0F 3A 22 /r ib", bits: 32, bank: "xmm", reference: "4.3 PINSRB/PINSRD/PINSRQ" },
  { name: "pinsrq", pattern: "66 w1 0F 3A 22 /r ib", bits: 64, bank: "xmm", reference: "4.3 PINSRB/PINSRD/PINSRQ" },
];

const extractions: readonly ElementEncoding[] = [
  { name: "pextrb", pattern: "66 0F 3A 14 /r ib", bits: 8, bank: "xmm", reference: "4.3 PEXTRB/PEXTRD/PEXTRQ" },
  { name: "pextrw", pattern: "66 0F 3A 15 /r ib", bits: 16, bank: "xmm", reference: "4.3 PEXTRW" },
  { name: "pextrd", pattern: "66 w0 0F 3A 16 /r ib", bits: 32, bank: "xmm", reference: "4.3 PEXTRB/PEXTRD/PEXTRQ" },
  { name: "pextrq", pattern: "66 w1 0F 3A 16 /r ib", bits: 64, bank: "xmm", reference: "4.3 PEXTRB/PEXTRD/PEXTRQ" },
  { name: "extractps", pattern: "66 0F 3A 17 /r ib", bits: 32, bank: "xmm", reference: "3.3 EXTRACTPS" },
];

export const vectorShuffleInstructions: readonly Instruction[] = [
  ...immediateShuffles,
  variableBlend("pblendvb", "0F 38 10", 8),
  variableBlend("blendvps", "0F 38 14", 32),
  variableBlend("blendvpd", "0F 38 15", 64),
  ptest,
  ...insertions.map(insertElement),
  ...extractions.map(extractElement),
  extractWord("mm"),
  extractWord("xmm"),
  insertps,
];
