/**
 * Data processing with an immediate. References name the encoding class of Arm ARM C4.1,
 * whose names are stable over the manual's issues; each instruction has its page in C6.2.
 */
import { defineInstruction, type Instruction } from "@hvjournal/engine";
import {
  ADD_SUBTRACT,
  ADD_SUBTRACT_WITH_FLAGS,
  type AddSubtract,
  addOrSubtract,
  comparisonName,
} from "../add-subtract.js";
import { addressText, assembly, hexImmediate, registerName, registerNameOrSp, shiftText } from "../assembly-text.js";
import { bitfieldMask, bitmaskImmediate, isWideImmediate, validBitmaskImmediate } from "../bitmask-immediate.js";
import { narrow, widen, widthOf, writeResult } from "../general-registers.js";
import { LOGICAL, type Logical, logical } from "../logical.js";
import { destinationX, sourceX, xOrSp } from "../operands.js";
import { signedImmediate } from "../signed-immediate.js";

const ADD_SUBTRACT_CLASS = "C4.1 Add/subtract (immediate)";
const LOGICAL_CLASS = "C4.1 Logical (immediate)";
const MOVE_WIDE_CLASS = "C4.1 Move wide (immediate)";
const BITFIELD_CLASS = "C4.1 Bitfield";

type AddSubtractFields = Readonly<Record<"sf" | "sh" | "imm12" | "Rn", number>>;

const shiftedImmediate12 = {
  i64: ({ sh, imm12 }: AddSubtractFields): bigint => BigInt(sh === 1 ? imm12 << 12 : imm12),
};

function immediate12Text({ sf, sh, imm12, Rn }: AddSubtractFields): string {
  return `${registerNameOrSp(sf, Rn)}, ${hexImmediate(imm12)}${sh === 1 ? shiftText(0, 12) : ""}`;
}

function compareImmediate(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${comparisonName(operation)} (immediate)`,
    reference: ADD_SUBTRACT_CLASS,
    pattern: `sf:1 ${operation.opcode} 100010 sh:1 imm12:12 Rn:5 11111`,
    formFields: ["sf"],
    operands: { rn: xOrSp("Rn"), immediate: shiftedImmediate12 },
    text: (fields) => assembly(comparisonName(operation).toLowerCase(), immediate12Text(fields)),
    execute({ sf }, { rn, immediate }, stage) {
      const width = widthOf(sf);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), narrow(stage, width, immediate));
    },
  });
}

function addSubtractImmediate(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (immediate)`,
    reference: ADD_SUBTRACT_CLASS,
    pattern: `sf:1 ${operation.opcode} 100010 sh:1 imm12:12 Rn:5 Rd:5`,
    formFields: ["sf"],
    operands: {
      rn: xOrSp("Rn"),
      rd: operation.setsFlags ? destinationX("Rd") : xOrSp("Rd"),
      immediate: shiftedImmediate12,
    },
    text(fields) {
      const { sf, sh, imm12, Rn, Rd } = fields;
      const rd = operation.setsFlags ? registerName(sf, Rd) : registerNameOrSp(sf, Rd);
      const isMove = operation.mnemonic === "ADD" && (Rn === 31 || Rd === 31) && imm12 === 0 && sh === 0;
      if (isMove) return assembly("mov", rd, registerNameOrSp(sf, Rn));
      return assembly(operation.mnemonic.toLowerCase(), rd, immediate12Text(fields));
    },
    execute({ sf }, { rn, rd, immediate }, stage) {
      const width = widthOf(sf);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), narrow(stage, width, immediate), rd);
    },
  });
}

type BitmaskFields = Readonly<Record<"sf" | "N" | "immr" | "imms", number>>;

function isBitmask({ sf, N, immr, imms }: BitmaskFields): boolean {
  return bitmaskImmediate(N, immr, imms, widthOf(sf)) !== undefined;
}

const bitmask = {
  i64: ({ sf, N, immr, imms }: BitmaskFields): bigint => validBitmaskImmediate(N, immr, imms, widthOf(sf)),
};

/** ORR with the zero register: the immediate itself. */
const moveBitmask = defineInstruction({
  mnemonic: "MOV (bitmask immediate)",
  reference: LOGICAL_CLASS,
  pattern: "sf:1 01 100100 N:1 immr:6 imms:6 11111 Rd:5",
  formFields: [],
  where: isBitmask,
  operands: { rd: xOrSp("Rd"), immediate: bitmask },
  text(fields) {
    const { sf, Rd } = fields;
    const rd = registerNameOrSp(sf, Rd);
    const value = bitmask.i64(fields);
    const isMove = Rd === 31 || !isWideImmediate(value, widthOf(sf));
    if (isMove) return assembly("mov", rd, hexImmediate(value));
    return assembly("orr", rd, registerName(sf, 31), hexImmediate(value));
  },
  execute(_form, { rd, immediate }, stage) {
    stage.writeAt(rd, immediate);
  },
});

const testImmediate = defineInstruction({
  mnemonic: "TST (immediate)",
  reference: LOGICAL_CLASS,
  pattern: "sf:1 11 100100 N:1 immr:6 imms:6 Rn:5 11111",
  formFields: ["sf"],
  where: isBitmask,
  operands: { rn: sourceX("Rn"), immediate: bitmask },
  text: (fields) => assembly("tst", registerName(fields.sf, fields.Rn), hexImmediate(bitmask.i64(fields))),
  execute({ sf }, { rn, immediate }, stage) {
    const width = widthOf(sf);
    logical(stage, LOGICAL_ANDS, width, stage.readAt(width, rn), narrow(stage, width, immediate));
  },
});

const LOGICAL_WITH_IMMEDIATE = LOGICAL.filter(({ inverts }) => inverts === "0");
const LOGICAL_ANDS: Logical = { mnemonic: "ANDS", opcode: "11", inverts: "0", operation: "and", setsFlags: true };

function logicalImmediate(operation: Logical): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (immediate)`,
    reference: LOGICAL_CLASS,
    pattern: `sf:1 ${operation.opcode} 100100 N:1 immr:6 imms:6 Rn:5 Rd:5`,
    formFields: ["sf"],
    where: isBitmask,
    operands: {
      rn: sourceX("Rn"),
      rd: operation.setsFlags ? destinationX("Rd") : xOrSp("Rd"),
      immediate: bitmask,
    },
    text(fields) {
      const { sf, Rn, Rd } = fields;
      const rd = operation.setsFlags ? registerName(sf, Rd) : registerNameOrSp(sf, Rd);
      return assembly(operation.mnemonic.toLowerCase(), rd, registerName(sf, Rn), hexImmediate(bitmask.i64(fields)));
    },
    execute({ sf }, { rn, rd, immediate }, stage) {
      const width = widthOf(sf);
      logical(stage, operation, width, stage.readAt(width, rn), narrow(stage, width, immediate), rd);
    },
  });
}

type MoveWideFields = Readonly<Record<"sf" | "hw" | "imm16", number>>;

/** A 32-bit register has two halfwords only. */
function hasHalfword({ sf, hw }: MoveWideFields): boolean {
  return sf === 1 || hw < 2;
}

function placedImmediate({ hw, imm16 }: MoveWideFields): bigint {
  return BigInt(imm16) << BigInt(16 * hw);
}

function moveWideText(mnemonic: string, { sf, hw, imm16 }: MoveWideFields, Rd: number): string {
  return assembly(mnemonic, registerName(sf, Rd), `${hexImmediate(imm16)}${shiftText(0, 16 * hw)}`);
}

const moveWideZero = defineInstruction({
  mnemonic: "MOVZ",
  reference: MOVE_WIDE_CLASS,
  pattern: "sf:1 10 100101 hw:2 imm16:16 Rd:5",
  formFields: [],
  where: hasHalfword,
  operands: { rd: destinationX("Rd"), immediate: { i64: placedImmediate } },
  text(fields) {
    const isMove = fields.imm16 !== 0 || fields.hw === 0;
    if (isMove) return assembly("mov", registerName(fields.sf, fields.Rd), hexImmediate(placedImmediate(fields)));
    return moveWideText("movz", fields, fields.Rd);
  },
  execute(_form, { rd, immediate }, stage) {
    stage.writeAt(rd, immediate);
  },
});

function invertedImmediate(fields: MoveWideFields): bigint {
  return BigInt.asUintN(widthOf(fields.sf), ~placedImmediate(fields));
}

const moveWideNot = defineInstruction({
  mnemonic: "MOVN",
  reference: MOVE_WIDE_CLASS,
  pattern: "sf:1 00 100101 hw:2 imm16:16 Rd:5",
  formFields: [],
  where: hasHalfword,
  operands: { rd: destinationX("Rd"), immediate: { i64: invertedImmediate } },
  text(fields) {
    const { sf, hw, imm16, Rd } = fields;
    const isMove = (imm16 !== 0 || hw === 0) && (sf === 1 || imm16 !== 0xffff);
    if (isMove) return assembly("mov", registerName(sf, Rd), hexImmediate(invertedImmediate(fields)));
    return moveWideText("movn", fields, Rd);
  },
  execute(_form, { rd, immediate }, stage) {
    stage.writeAt(rd, immediate);
  },
});

/** Rd may be the discarded one of register 31: what is read there only goes back there. */
const moveWideKeep = defineInstruction({
  mnemonic: "MOVK",
  reference: MOVE_WIDE_CLASS,
  pattern: "sf:1 11 100101 hw:2 imm16:16 Rd:5",
  formFields: ["sf", "hw"],
  where: hasHalfword,
  operands: { rd: destinationX("Rd"), immediate: { i64: placedImmediate } },
  text: (fields) => moveWideText("movk", fields, fields.Rd),
  execute({ sf, hw }, { rd, immediate }, stage) {
    const kept = BigInt.asUintN(widthOf(sf), ~(0xffffn << BigInt(16 * hw)));
    stage.writeAt(rd, stage.or(stage.and(stage.readAt(64, rd), stage.constant64(kept)), immediate));
  },
});

const pcRelativeImmediate = ({ immhi, immlo }: Readonly<Record<"immhi" | "immlo", number>>): number =>
  signedImmediate((immhi << 2) | immlo, 21);

const PAGE_BITS = 12n;
const PAGE_MASK = -1n << PAGE_BITS;

const address = defineInstruction({
  mnemonic: "ADR",
  reference: "C4.1 PC-rel. addressing",
  pattern: "0 immlo:2 10000 immhi:19 Rd:5",
  formFields: [],
  operands: { rd: destinationX("Rd"), displacement: { i64: (fields) => BigInt(pcRelativeImmediate(fields)) } },
  text: (fields, pc) =>
    assembly("adr", registerName(1, fields.Rd), addressText(pc, BigInt(pcRelativeImmediate(fields)))),
  execute(_form, { rd, displacement }, stage) {
    stage.writeAt(rd, stage.add(stage.pc(), displacement));
  },
});

const addressOfPage = defineInstruction({
  mnemonic: "ADRP",
  reference: "C4.1 PC-rel. addressing",
  pattern: "1 immlo:2 10000 immhi:19 Rd:5",
  formFields: [],
  operands: {
    rd: destinationX("Rd"),
    displacement: { i64: (fields) => BigInt(pcRelativeImmediate(fields)) << PAGE_BITS },
  },
  text: (fields, pc) =>
    assembly(
      "adrp",
      registerName(1, fields.Rd),
      addressText(pc & PAGE_MASK, BigInt(pcRelativeImmediate(fields)) << PAGE_BITS),
    ),
  execute(_form, { rd, displacement }, stage) {
    stage.writeAt(rd, stage.add(stage.and(stage.pc(), stage.constant64(PAGE_MASK)), displacement));
  },
});

type BitfieldFields = Readonly<Record<"sf" | "N" | "immr" | "imms", number>>;

function isBitfield({ sf, N, immr, imms }: BitfieldFields): boolean {
  return N === sf && (sf === 1 || (immr < 32 && imms < 32));
}

function topBit(sf: number): number {
  return widthOf(sf) - 1;
}

/** Imms is the top bit: a plain shift right by immr. */
function shiftsRight(fields: BitfieldFields): boolean {
  return isBitfield(fields) && fields.imms === topBit(fields.sf);
}

function shiftsLeft(fields: BitfieldFields): boolean {
  return isBitfield(fields) && fields.imms + 1 === fields.immr;
}

function shiftImmediate(
  name: "LSL" | "LSR" | "ASR",
  opcode: "00" | "10",
  op: "shl" | "shr_u" | "shr_s",
  where: (fields: BitfieldFields) => boolean,
): Instruction {
  const amountOf = ({ sf, immr }: Readonly<Record<"sf" | "immr", number>>): number =>
    op === "shl" ? widthOf(sf) - immr : immr;
  return defineInstruction({
    mnemonic: `${name} (immediate)`,
    reference: BITFIELD_CLASS,
    pattern: `sf:1 ${opcode} 100110 N:1 immr:6 imms:6 Rn:5 Rd:5`,
    formFields: ["sf"],
    where,
    operands: { rn: sourceX("Rn"), rd: destinationX("Rd"), amount: { u16: amountOf } },
    text: (fields) =>
      assembly(
        name.toLowerCase(),
        registerName(fields.sf, fields.Rd),
        registerName(fields.sf, fields.Rn),
        `#${amountOf(fields)}`,
      ),
    execute({ sf }, { rn, rd, amount }, stage) {
      const width = widthOf(sf);
      writeResult(stage, width, rd, stage.binary(op, stage.readAt(width, rn), widen(stage, width, amount)));
    },
  });
}

/** UBFX, SBFX and BFXIL, or UBFIZ, SBFIZ and BFI. */
function bitfieldText(
  extract: string,
  insert: string,
  { sf, immr, imms, Rn, Rd }: BitfieldFields & Readonly<Record<"Rn" | "Rd", number>>,
): string {
  const registers = [registerName(sf, Rd), registerName(sf, Rn)];
  if (imms >= immr) return assembly(extract, ...registers, `#${immr}`, `#${imms - immr + 1}`);
  return assembly(insert, ...registers, `#${widthOf(sf) - immr}`, `#${imms + 1}`);
}

function unsignedBitfieldText(fields: BitfieldFields & Readonly<Record<"Rn" | "Rd", number>>): string {
  const { sf, immr, imms, Rn, Rd } = fields;
  if (sf === 0 && immr === 0 && (imms === 7 || imms === 15)) {
    return assembly(imms === 7 ? "uxtb" : "uxth", registerName(0, Rd), registerName(0, Rn));
  }
  return bitfieldText("ubfx", "ubfiz", fields);
}

const bitfieldBits = {
  i64: ({ sf, immr, imms }: BitfieldFields): bigint => bitfieldMask(immr, imms, widthOf(sf)),
};

/** UBFM from bit 0 on: UXTB, UXTH and the like. Both widths compute in 64 bits: the mask has no bit that a W register lacks. */
const zeroExtendBitfield = defineInstruction({
  mnemonic: "UBFX (from bit 0)",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 10 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: [],
  where: (fields) => isBitfield(fields) && fields.immr === 0,
  operands: { rn: sourceX("Rn"), rd: destinationX("Rd"), mask: bitfieldBits },
  text: unsignedBitfieldText,
  execute(_form, { rn, rd, mask }, stage) {
    stage.writeAt(rd, stage.and(stage.readAt(64, rn), mask));
  },
});

const unsignedBitfieldExtract = defineInstruction({
  mnemonic: "UBFX",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 10 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: [],
  where: (fields) => isBitfield(fields) && fields.imms >= fields.immr,
  operands: {
    rn: sourceX("Rn"),
    rd: destinationX("Rd"),
    amount: { u16: ({ immr }) => immr },
    mask: bitfieldBits,
  },
  text: unsignedBitfieldText,
  execute(_form, { rn, rd, amount, mask }, stage) {
    const shifted = stage.binary("shr_u", stage.readAt(64, rn), stage.zeroExtend64(amount));
    stage.writeAt(rd, stage.and(shifted, mask));
  },
});

const unsignedBitfieldInsertInZero = defineInstruction({
  mnemonic: "UBFIZ",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 10 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: [],
  where: isBitfield,
  operands: {
    rn: sourceX("Rn"),
    rd: destinationX("Rd"),
    amount: { u16: ({ sf, immr }) => widthOf(sf) - immr },
    mask: bitfieldBits,
  },
  text: unsignedBitfieldText,
  execute(_form, { rn, rd, amount, mask }, stage) {
    const shifted = stage.binary("shl", stage.readAt(64, rn), stage.zeroExtend64(amount));
    stage.writeAt(rd, stage.and(shifted, mask));
  },
});

const SIGN_EXTENSIONS: ReadonlyMap<number, { readonly name: string; readonly bits: 8 | 16 | 32 }> = new Map([
  [7, { name: "sxtb", bits: 8 }],
  [15, { name: "sxth", bits: 16 }],
  [31, { name: "sxtw", bits: 32 }],
]);

/** SBFM of a whole byte, halfword or word from bit 0 on. */
const signExtend = defineInstruction({
  mnemonic: "SXTB, SXTH, SXTW",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 00 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: ["sf", "imms"],
  where: (fields) => isBitfield(fields) && fields.immr === 0 && SIGN_EXTENSIONS.has(fields.imms),
  operands: { rn: sourceX("Rn"), rd: destinationX("Rd") },
  text: ({ sf, imms, Rn, Rd }) =>
    assembly(SIGN_EXTENSIONS.get(imms)?.name ?? "", registerName(sf, Rd), registerName(0, Rn)),
  execute({ sf, imms }, { rn, rd }, stage) {
    const width = widthOf(sf);
    const bits = SIGN_EXTENSIONS.get(imms)?.bits ?? 8;
    writeResult(stage, width, rd, stage.signExtendFrom(bits, stage.readAt(width, rn)));
  },
});

/** Shifts the field's top bit into the register's, then down to the field's new place. */
const signedBitfield = defineInstruction({
  mnemonic: "SBFM",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 00 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: ["sf"],
  where: isBitfield,
  operands: {
    rn: sourceX("Rn"),
    rd: destinationX("Rd"),
    left: { u16: ({ sf, imms }) => topBit(sf) - imms },
    right: { u16: ({ sf, immr, imms }) => (imms >= immr ? topBit(sf) - imms + immr : immr - imms - 1) },
  },
  text: (fields) => bitfieldText("sbfx", "sbfiz", fields),
  execute({ sf }, { rn, rd, left, right }, stage) {
    const width = widthOf(sf);
    const atTop = stage.binary("shl", stage.readAt(width, rn), widen(stage, width, left));
    writeResult(stage, width, rd, stage.binary("shr_s", atTop, widen(stage, width, right)));
  },
});

/** BFI and BFXIL. As with MOVK, a discarded Rd may be read. */
const bitfieldMove = defineInstruction({
  mnemonic: "BFM",
  reference: BITFIELD_CLASS,
  pattern: "sf:1 01 100110 N:1 immr:6 imms:6 Rn:5 Rd:5",
  formFields: ["sf"],
  where: isBitfield,
  operands: {
    rn: sourceX("Rn"),
    rd: destinationX("Rd"),
    rotation: { u16: ({ immr }) => immr },
    mask: bitfieldBits,
  },
  text(fields) {
    const { sf, immr, imms, Rn, Rd } = fields;
    const clears = Rn === 31 && imms < immr;
    if (clears) return assembly("bfc", registerName(sf, Rd), `#${widthOf(sf) - immr}`, `#${imms + 1}`);
    return bitfieldText("bfxil", "bfi", fields);
  },
  execute({ sf }, { rn, rd, rotation, mask }, stage) {
    const width = widthOf(sf);
    const rotated = stage.binary("rotr", stage.readAt(width, rn), widen(stage, width, rotation));
    const old = stage.readAt(width, rd);
    const changed = stage.and(stage.xor(old, rotated), narrow(stage, width, mask));
    writeResult(stage, width, rd, stage.xor(old, changed));
  },
});

type ExtractFields = Readonly<Record<"sf" | "N" | "imms", number>>;

function isExtract({ sf, N, imms }: ExtractFields): boolean {
  return N === sf && (sf === 1 || imms < 32);
}

const rotateRightImmediate = defineInstruction({
  mnemonic: "ROR (immediate)",
  reference: "C4.1 Extract",
  pattern: "sf:1 00 100111 N:1 0 Rm:5 imms:6 Rn:5 Rd:5",
  formFields: ["sf"],
  where: (fields) => isExtract(fields) && fields.Rn === fields.Rm,
  operands: { rn: sourceX("Rn"), rd: destinationX("Rd"), amount: { u16: ({ imms }) => imms } },
  text: ({ sf, Rn, Rd, imms }) => assembly("ror", registerName(sf, Rd), registerName(sf, Rn), `#${imms}`),
  execute({ sf }, { rn, rd, amount }, stage) {
    const width = widthOf(sf);
    writeResult(stage, width, rd, stage.binary("rotr", stage.readAt(width, rn), widen(stage, width, amount)));
  },
});

const extractRegister = defineInstruction({
  mnemonic: "EXTR",
  reference: "C4.1 Extract",
  pattern: "sf:1 00 100111 N:1 0 Rm:5 imms:6 Rn:5 Rd:5",
  formFields: ["sf"],
  where: isExtract,
  operands: {
    rn: sourceX("Rn"),
    rm: sourceX("Rm"),
    rd: destinationX("Rd"),
    low: { u16: ({ imms }) => imms },
    /** With the one bit that is always shifted: up to the whole width, which no single shift can do. */
    highLessOne: { u16: ({ sf, imms }) => topBit(sf) - imms },
  },
  text: ({ sf, Rm, Rn, Rd, imms }) =>
    assembly("extr", registerName(sf, Rd), registerName(sf, Rn), registerName(sf, Rm), `#${imms}`),
  execute({ sf }, { rn, rm, rd, low, highLessOne }, stage) {
    const width = widthOf(sf);
    const high = stage.binary("shl", stage.shiftLeft(stage.readAt(width, rn), 1), widen(stage, width, highLessOne));
    const lowPart = stage.binary("shr_u", stage.readAt(width, rm), widen(stage, width, low));
    writeResult(stage, width, rd, stage.or(high, lowPart));
  },
});

/** In order of precedence: the cheap special cases of an encoding stand before the general one. */
export const dataProcessingImmediate: readonly Instruction[] = [
  ...ADD_SUBTRACT_WITH_FLAGS.map(compareImmediate),
  ...ADD_SUBTRACT.map(addSubtractImmediate),
  moveBitmask,
  testImmediate,
  ...LOGICAL_WITH_IMMEDIATE.map(logicalImmediate),
  moveWideZero,
  moveWideNot,
  moveWideKeep,
  address,
  addressOfPage,
  shiftImmediate("LSR", "10", "shr_u", shiftsRight),
  shiftImmediate("LSL", "10", "shl", shiftsLeft),
  zeroExtendBitfield,
  unsignedBitfieldExtract,
  unsignedBitfieldInsertInZero,
  shiftImmediate("ASR", "00", "shr_s", shiftsRight),
  signExtend,
  signedBitfield,
  bitfieldMove,
  rotateRightImmediate,
  extractRegister,
];
