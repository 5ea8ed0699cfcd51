/** Loads and stores of one or two SIMD and FP registers. Arm ARM C3.2, C4.1 "Loads and Stores"; alignment is checked only where SCTLR_EL1.A asks for it. */
import { type AccessHandle, defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, extendName, registerName, registerNameOrSp } from "../assembly-text.js";
import { sourceX, vector, xOrSp } from "../operands.js";
import { scaledImmediate, signedImmediate } from "../signed-immediate.js";
import { writeLow64 } from "../vector-registers.js";
import { scalarName } from "../vector-text.js";

type TransferBits = 8 | 16 | 32 | 64 | 128;

/** Register width of a scale: 0 is B, 4 is Q. */
function transferBits(scale: number): TransferBits {
  const bits = ([8, 16, 32, 64, 128] as const)[scale];
  if (bits === undefined) throw new RangeError(`no SIMD register has scale ${scale}`);
  return bits;
}

/** Loads a register; what it does not fill becomes zero. */
function loadRegister(stage: Stage, bits: TransferBits, handle: AccessHandle, offset: number): Value<64> | Value<128> {
  if (bits === 128) return stage.load(128, handle, offset, 128);
  return stage.load(64, handle, offset, bits);
}

function writeRegister(stage: Stage, bits: TransferBits, register: Value<32>, value: Value<64> | Value<128>): void {
  if (bits === 128) stage.writeAt(register, value);
  else writeLow64(stage, register, value as Value<64>);
}

function storeRegister(
  stage: Stage,
  bits: TransferBits,
  handle: AccessHandle,
  offset: number,
  register: Value<32>,
): void {
  const width = bits === 128 ? 128 : bits === 64 ? 64 : 32;
  stage.store(handle, offset, bits, stage.readAt(width, register));
}

type SizeFields = Readonly<Record<"size" | "opc", number>>;

/** opc<1>:size, 0 to 4; the last bit of opc says load. */
function scaleOf({ size, opc }: SizeFields): number {
  return ((opc & 2) << 1) | size;
}

function isLoad({ opc }: SizeFields): boolean {
  return (opc & 1) === 1;
}

const validSize = (fields: SizeFields): boolean => scaleOf(fields) <= 4;

/** One register at an address that is known before the access; then the base is written back. */
function transferOne(stage: Stage, form: SizeFields, rt: Value<32>, address: Value<64>, writeBack?: () => void): void {
  const bits = transferBits(scaleOf(form));
  const handle = stage.access(address, bits / 8, isLoad(form) ? "read" : "write");
  if (isLoad(form)) writeRegister(stage, bits, rt, loadRegister(stage, bits, handle, 0));
  else storeRegister(stage, bits, handle, 0, rt);
  writeBack?.();
}

function offsetText(offset: number): string {
  return offset === 0 ? "" : `, #${offset}`;
}

function name(fields: SizeFields, suffix = ""): string {
  return `${isLoad(fields) ? "ld" : "st"}${suffix}r`;
}

const unsignedOffset = defineInstruction({
  mnemonic: "LDR, STR (immediate, SIMD&FP, unsigned offset)",
  reference: "C4.1 Load/store register (unsigned immediate)",
  pattern: "size:2 111 1 01 opc:2 imm12:12 Rn:5 Rt:5",
  formFields: ["size", "opc"],
  where: validSize,
  operands: { rt: vector("Rt"), rn: xOrSp("Rn"), offset: { i64: (fields) => BigInt(fields.imm12 << scaleOf(fields)) } },
  text: (fields) =>
    `${name(fields)} ${scalarName(scaleOf(fields), fields.Rt)}, [${registerNameOrSp(1, fields.Rn)}${offsetText(fields.imm12 << scaleOf(fields))}]`,
  execute(form, { rt, rn, offset }, stage) {
    transferOne(stage, form, rt, stage.add(stage.readAt(64, rn), offset));
  },
});

const unscaledOffset = defineInstruction({
  mnemonic: "LDUR, STUR (SIMD&FP)",
  reference: "C4.1 Load/store register (unscaled immediate)",
  pattern: "size:2 111 1 00 opc:2 0 imm9:9 00 Rn:5 Rt:5",
  formFields: ["size", "opc"],
  where: validSize,
  operands: { rt: vector("Rt"), rn: xOrSp("Rn"), offset: { i64: ({ imm9 }) => scaledImmediate(imm9, 9, 1) } },
  text: (fields) =>
    `${name(fields, "u")} ${scalarName(scaleOf(fields), fields.Rt)}, [${registerNameOrSp(1, fields.Rn)}${offsetText(signedImmediate(fields.imm9, 9))}]`,
  execute(form, { rt, rn, offset }, stage) {
    transferOne(stage, form, rt, stage.add(stage.readAt(64, rn), offset));
  },
});

const postIndexed = defineInstruction({
  mnemonic: "LDR, STR (immediate, SIMD&FP, post-index)",
  reference: "C4.1 Load/store register (immediate post-indexed)",
  pattern: "size:2 111 1 00 opc:2 0 imm9:9 01 Rn:5 Rt:5",
  formFields: ["size", "opc"],
  where: validSize,
  operands: { rt: vector("Rt"), rn: xOrSp("Rn"), offset: { i64: ({ imm9 }) => scaledImmediate(imm9, 9, 1) } },
  text: (fields) =>
    `${name(fields)} ${scalarName(scaleOf(fields), fields.Rt)}, [${registerNameOrSp(1, fields.Rn)}], #${signedImmediate(fields.imm9, 9)}`,
  execute(form, { rt, rn, offset }, stage) {
    const base = stage.readAt(64, rn);
    transferOne(stage, form, rt, base, () => {
      stage.writeAt(rn, stage.add(base, offset));
    });
  },
});

const preIndexed = defineInstruction({
  mnemonic: "LDR, STR (immediate, SIMD&FP, pre-index)",
  reference: "C4.1 Load/store register (immediate pre-indexed)",
  pattern: "size:2 111 1 00 opc:2 0 imm9:9 11 Rn:5 Rt:5",
  formFields: ["size", "opc"],
  where: validSize,
  operands: { rt: vector("Rt"), rn: xOrSp("Rn"), offset: { i64: ({ imm9 }) => scaledImmediate(imm9, 9, 1) } },
  text: (fields) =>
    `${name(fields)} ${scalarName(scaleOf(fields), fields.Rt)}, [${registerNameOrSp(1, fields.Rn)}, #${signedImmediate(fields.imm9, 9)}]!`,
  execute(form, { rt, rn, offset }, stage) {
    const address = stage.add(stage.readAt(64, rn), offset);
    transferOne(stage, form, rt, address, () => {
      stage.writeAt(rn, address);
    });
  },
});

type RegisterOffsetFields = SizeFields & Readonly<Record<"Rm" | "option" | "S" | "Rn" | "Rt", number>>;

function registerOffsetText(fields: RegisterOffsetFields): string {
  const { Rm, option, S, Rn, Rt } = fields;
  const scale = scaleOf(fields);
  const extended = option === 3 ? "lsl" : extendName(option);
  const shown = option === 3 && S === 0 ? "" : `, ${extended}${S === 1 ? ` #${scale}` : ""}`;
  return `${name(fields)} ${scalarName(scale, Rt)}, [${registerNameOrSp(1, Rn)}, ${registerName(option & 1, Rm)}${shown}]`;
}

const registerOffset = defineInstruction({
  mnemonic: "LDR, STR (register, SIMD&FP)",
  reference: "C4.1 Load/store register (register offset)",
  pattern: "size:2 111 1 00 opc:2 1 Rm:5 option:3 S:1 10 Rn:5 Rt:5",
  formFields: ["size", "opc", "option", "S"],
  // option<1> is 1: an offset of 32 or 64 bits.
  where: (fields) => validSize(fields) && (fields.option & 2) === 2,
  operands: { rt: vector("Rt"), rn: xOrSp("Rn"), rm: sourceX("Rm") },
  text: registerOffsetText,
  execute(form, { rt, rn, rm }, stage) {
    const { option, S } = form;
    const narrow = (): Value<64> =>
      option === 2 ? stage.zeroExtend64(stage.readAt(32, rm)) : stage.signExtend64(stage.readAt(32, rm));
    const index = (option & 1) === 1 ? stage.readAt(64, rm) : narrow();
    transferOne(stage, form, rt, stage.add(stage.readAt(64, rn), stage.shiftLeft(index, S === 1 ? scaleOf(form) : 0)));
  },
});

const literal = defineInstruction({
  mnemonic: "LDR (literal, SIMD&FP)",
  reference: "C4.1 Load register (literal)",
  pattern: "opc:2 011 1 00 imm19:19 Rt:5",
  formFields: ["opc"],
  where: ({ opc }) => opc !== 3,
  operands: { rt: vector("Rt"), displacement: { i64: ({ imm19 }) => scaledImmediate(imm19, 19, 4) } },
  text: ({ opc, imm19, Rt }, pc) => `ldr ${scalarName(opc + 2, Rt)}, ${addressText(pc, scaledImmediate(imm19, 19, 4))}`,
  execute({ opc }, { rt, displacement }, stage) {
    const bits = transferBits(opc + 2);
    const handle = stage.access(stage.add(stage.pc(), displacement), bits / 8, "read");
    writeRegister(stage, bits, rt, loadRegister(stage, bits, handle, 0));
  },
});

// Pairs. CONSTRAINED UNPREDICTABLE: a load pair with Rt = Rt2 loads both, the second last.

type Indexing = "no allocate" | "post-index" | "signed offset" | "pre-index";

const pairModes: Readonly<Record<Indexing, string>> = {
  "no allocate": "000",
  "post-index": "001",
  "signed offset": "010",
  "pre-index": "011",
};

type PairFields = Readonly<Record<"opc" | "L" | "imm7" | "Rt2" | "Rn" | "Rt", number>>;

function pairText(indexing: Indexing, { opc, L, imm7, Rt2, Rn, Rt }: PairFields): string {
  const offset = signedImmediate(imm7, 7) * (4 << opc);
  const mnemonic = `${L === 1 ? "ld" : "st"}${indexing === "no allocate" ? "n" : ""}p`;
  const registers = `${mnemonic} ${scalarName(opc + 2, Rt)}, ${scalarName(opc + 2, Rt2)}, [${registerNameOrSp(1, Rn)}`;
  switch (indexing) {
    case "post-index":
      return `${registers}], #${offset}`;
    case "pre-index":
      return `${registers}, #${offset}]!`;
    default:
      return `${registers}${offsetText(offset)}]`;
  }
}

function pair(indexing: Indexing): Instruction {
  return defineInstruction({
    mnemonic: indexing === "no allocate" ? "LDNP, STNP (SIMD&FP)" : `LDP, STP (SIMD&FP, ${indexing})`,
    reference: `C4.1 Load/store register pair (${indexing})`,
    pattern: `opc:2 101 1 ${pairModes[indexing]} L:1 imm7:7 Rt2:5 Rn:5 Rt:5`,
    formFields: ["opc", "L"],
    where: ({ opc }) => opc !== 3,
    operands: {
      rt: vector("Rt"),
      rt2: vector("Rt2"),
      rn: xOrSp("Rn"),
      offset: { i64: ({ opc, imm7 }: PairFields) => scaledImmediate(imm7, 7, 4 << opc) },
    },
    text: (fields) => pairText(indexing, fields),
    execute({ opc, L }, { rt, rt2, rn, offset }, stage) {
      const bits = transferBits(opc + 2);
      const bytes = bits / 8;
      const base = stage.readAt(64, rn);
      const moved = stage.add(base, offset);
      const handle = stage.access(indexing === "post-index" ? base : moved, 2 * bytes, L === 1 ? "read" : "write");
      if (L === 1) {
        const first = loadRegister(stage, bits, handle, 0);
        const second = loadRegister(stage, bits, handle, bytes);
        writeRegister(stage, bits, rt, first);
        writeRegister(stage, bits, rt2, second);
      } else {
        storeRegister(stage, bits, handle, 0, rt);
        storeRegister(stage, bits, handle, bytes, rt2);
      }
      if (indexing === "post-index" || indexing === "pre-index") stage.writeAt(rn, moved);
    },
  });
}

export const simdLoadsAndStores: readonly Instruction[] = [
  unsignedOffset,
  pair("signed offset"),
  pair("post-index"),
  pair("pre-index"),
  unscaledOffset,
  postIndexed,
  preIndexed,
  registerOffset,
  literal,
  pair("no allocate"),
];
