/** Moves between MMX, XMM and general registers and memory. References: Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, registerName } from "../../assembly-text.js";
import { accessMemory } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import type { DecodedFields } from "../../fields.js";
import { generalRegister } from "../../general-registers.js";
import { memoryOperand } from "../../operands.js";
import { gpr, Register } from "../../state.js";
import {
  accessVector,
  type Bank,
  bankBytes,
  bitselect,
  enterMmx,
  fromSource,
  lanes,
  loadVector,
  low64,
  memoryText,
  type OperandBytes,
  readBank,
  referenceOf,
  requireBank,
  requireSse,
  sourceOperands,
  type Vector,
  type VectorEncoding,
  type VectorOperation,
  vectorName,
  vectorRegister,
  vectorText,
  writeBank,
  writeMmx,
} from "../../vector-unit.js";

const wholeSource: VectorOperation = (_stage, _destination, source) => source;

/** Stores a register: "xmm2/m128, xmm1". */
function toDestination(encoding: VectorEncoding): Instruction {
  const { name, opcode, prefix, bank = "xmm", aligned = true, reference = referenceOf(name) } = encoding;
  const bytes = bankBytes(bank);
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank}, to memory)`,
    reference,
    pattern: `${prefix} ${opcode} /r`,
    formFields: ["memory"],
    operands: sourceOperands(bank),
    text: (fields, pc) => assembly(fields, pc, name, vectorText(fields, bank, bytes), vectorName(bank, fields.reg)),
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const value = readBank(stage, bank, operands.reg);
      if (form.memory === 1) {
        const handle = accessVector(stage, operands, bytes, "write", aligned);
        if (bank === "mm") enterMmx(stage);
        storePart(stage, handle, value, bytes);
      } else {
        if (bank === "mm") enterMmx(stage);
        writeBank(stage, bank, operands.rm, value);
      }
    },
  });
}

type Handle = ReturnType<Stage["access"]>;

/** Stores the low bytes of a vector. */
function storePart(stage: Stage, handle: Handle, value: Vector, bytes: OperandBytes): void {
  if (bytes === 16) stage.store(handle, 0, 128, value);
  else if (bytes === 8) stage.store(handle, 0, 64, stage.extractLane("i64x2", 0, value));
  else stage.store(handle, 0, (8 * bytes) as 8 | 16 | 32, stage.extractLane("i32x4", 0, value));
}

const wholeMoves: readonly VectorEncoding[] = [
  { name: "movups", opcode: "0F 10", prefix: "np", aligned: false },
  { name: "movupd", opcode: "0F 10", prefix: "66", aligned: false },
  { name: "movaps", opcode: "0F 28", prefix: "np" },
  { name: "movapd", opcode: "0F 28", prefix: "66" },
  { name: "movdqa", opcode: "0F 6F", prefix: "66" },
  { name: "movdqu", opcode: "0F 6F", prefix: "F3", aligned: false },
  { name: "movq", opcode: "0F 6F", prefix: "np", bank: "mm" },
];

/** The opcode of the other direction. */
function storing(opcode: string): string {
  return opcode === "0F 6F" ? "0F 7F" : `0F ${opcode.slice(3, 4)}${opcode.endsWith("0") ? "1" : "9"}`;
}

/** Stores that need memory: hints about caches have no meaning here. */
function nonTemporal(name: string, opcode: string, prefix: "np" | "66", bank: Bank): Instruction {
  const bytes = bankBytes(bank);
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `${prefix} ${opcode} /r mem`,
    formFields: [],
    operands: { ...memoryOperand, reg: vectorRegister(bank, "reg") },
    text: (fields, pc) => assembly(fields, pc, name, memoryText(fields, bytes), vectorName(bank, fields.reg)),
    execute(_form, operands, stage) {
      requireBank(stage, bank);
      const handle = accessVector(stage, operands, bytes, "write");
      if (bank === "mm") enterMmx(stage);
      storePart(stage, handle, readBank(stage, bank, operands.reg), bytes);
    },
  });
}

/** MOVNTI r32/r64: no vector register takes part. */
const movnti: Instruction = defineEncoded({
  mnemonic: "MOVNTI",
  reference: "4.3 MOVNTI",
  pattern: "np 0F C3 /r mem",
  formFields: ["size"],
  operands: { ...memoryOperand, reg: { u16: ({ reg }) => gpr.offset + 8 * reg } },
  text: (fields, pc) =>
    assembly(
      fields,
      pc,
      "movnti",
      memoryText(fields, fields.size === 3 ? 8 : 4),
      registerName(fields.reg, fields.size),
    ),
  execute({ size }, operands, stage) {
    const handle = accessMemory(stage, operands, size === 3 ? 8 : 4, "write");
    stage.store(handle, 0, size === 3 ? 64 : 32, stage.readAt(64, operands.reg));
  },
});

// Scalars

/** MOVSS, MOVSD: from memory the rest of the register becomes 0, from a register it stays. */
function scalarMove(name: "movss" | "movsd", prefix: "F2" | "F3"): readonly Instruction[] {
  const bits = name === "movss" ? 32 : 64;
  const bytes = (bits / 8) as 4 | 8;
  const reference = referenceOf(name);
  return [
    defineEncoded({
      mnemonic: `${name.toUpperCase()} (xmm)`,
      reference,
      pattern: `${prefix} 0F 10 /r`,
      formFields: ["memory"],
      operands: sourceOperands("xmm"),
      text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorText(fields, "xmm", bytes)),
      execute(form, operands, stage) {
        requireSse(stage);
        if (form.memory === 0) stage.writeAt(operands.reg, stage.readAt(bits, operands.rm));
        else {
          const handle = accessVector(stage, operands, bytes, "read");
          stage.writeAt(operands.reg, loadVector(stage, "xmm", handle, bytes));
        }
      },
    }),
    defineEncoded({
      mnemonic: `${name.toUpperCase()} (xmm, to memory)`,
      reference,
      pattern: `${prefix} 0F 11 /r`,
      formFields: ["memory"],
      operands: sourceOperands("xmm"),
      text: (fields, pc) => assembly(fields, pc, name, vectorText(fields, "xmm", bytes), vectorName("xmm", fields.reg)),
      execute(form, operands, stage) {
        requireSse(stage);
        const value = stage.readAt(bits, operands.reg);
        if (form.memory === 0) stage.writeAt(operands.rm, value);
        else stage.store(accessVector(stage, operands, bytes, "write"), 0, bits, value);
      },
    }),
  ];
}

// Halves

/** MOVLPS, MOVHPS and their like from memory: the other half stays. */
function loadHalf(name: string, opcode: string, prefix: "np" | "66", half: 0 | 1): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (xmm)`,
    reference: referenceOf(name),
    pattern: `${prefix} ${opcode} /r mem`,
    formFields: [],
    operands: { ...memoryOperand, reg: vectorRegister("xmm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.reg), memoryText(fields, 8)),
    execute(_form, operands, stage) {
      requireSse(stage);
      const handle = accessVector(stage, operands, 8, "read");
      stage.writeAt(operands.reg, stage.load(64, handle, 0, 64), 8 * half);
    },
  });
}

function storeHalf(name: string, opcode: string, prefix: "np" | "66", half: 0 | 1): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (xmm, to memory)`,
    reference: referenceOf(name),
    pattern: `${prefix} ${opcode} /r mem`,
    formFields: [],
    operands: { ...memoryOperand, reg: vectorRegister("xmm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, memoryText(fields, 8), vectorName("xmm", fields.reg)),
    execute(_form, operands, stage) {
      requireSse(stage);
      const handle = accessVector(stage, operands, 8, "write");
      stage.store(handle, 0, 64, stage.readAt(64, operands.reg, 8 * half));
    },
  });
}

/** MOVHLPS, MOVLHPS: from one half of a register to the other half of another. */
function crossHalves(name: string, opcode: string, from: 0 | 1): Instruction {
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `np ${opcode} /r reg`,
    formFields: [],
    operands: { rm: vectorRegister("xmm", "rm"), reg: vectorRegister("xmm", "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.reg), vectorName("xmm", fields.rm)),
    execute(_form, operands, stage) {
      requireSse(stage);
      stage.writeAt(operands.reg, stage.readAt(64, operands.rm, 8 * from), 8 * (1 - from));
    },
  });
}

const halves: readonly Instruction[] = [
  crossHalves("movhlps", "0F 12", 1),
  crossHalves("movlhps", "0F 16", 0),
  ...(["np", "66"] as const).flatMap((prefix) => {
    const suffix = prefix === "np" ? "ps" : "pd";
    return [
      loadHalf(`movl${suffix}`, "0F 12", prefix, 0),
      storeHalf(`movl${suffix}`, "0F 13", prefix, 0),
      loadHalf(`movh${suffix}`, "0F 16", prefix, 1),
      storeHalf(`movh${suffix}`, "0F 17", prefix, 1),
    ];
  }),
];

/** MOVSLDUP, MOVSHDUP, MOVDDUP. */
function duplicated(indices: readonly number[]): VectorOperation {
  return (stage, _destination, source) => stage.shuffle(source, source, indices);
}

const duplicating: readonly Instruction[] = [
  fromSource(
    { name: "movsldup", opcode: "0F 12", prefix: "F3" },
    duplicated([0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11]),
  ),
  fromSource(
    { name: "movshdup", opcode: "0F 16", prefix: "F3" },
    duplicated([4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]),
  ),
  fromSource(
    { name: "movddup", opcode: "0F 12", prefix: "F2", bytes: 8 },
    duplicated([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]),
  ),
];

// General registers

/** MOVD, MOVQ between a vector register and r/m32 or r/m64. */
function generalMove(bank: Bank, wide: boolean, direction: "from" | "to"): Instruction {
  const bits = wide ? 64 : 32;
  const name = wide ? "movq" : "movd";
  const bytes = (bits / 8) as 4 | 8;
  const place = (fields: DecodedFields): string =>
    fields.memory === 1 ? memoryText(fields, bytes) : registerName(fields.rm, wide ? 3 : 2);
  const prefix = bank === "xmm" ? "66" : "np";
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${direction === "from" ? `${bank}, r/m${bits}` : `r/m${bits}, ${bank}`})`,
    reference: "4.3 MOVD/MOVQ",
    pattern: `${prefix} w${wide ? 1 : 0} 0F ${direction === "from" ? "6E" : "7E"} /r`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: { u16: ({ rm }) => gpr.offset + 8 * rm }, reg: vectorRegister(bank, "reg") },
    text: (fields, pc) => {
      const vector = vectorName(bank, fields.reg);
      return assembly(fields, pc, name, ...(direction === "from" ? [vector, place(fields)] : [place(fields), vector]));
    },
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const handle =
        form.memory === 1 ? accessMemory(stage, operands, bytes, direction === "from" ? "read" : "write") : undefined;
      if (direction === "from") {
        const value = handle === undefined ? readWord(stage, bits, operands.rm) : stage.load(64, handle, 0, bits);
        if (bank === "mm") {
          enterMmx(stage);
          writeMmx(stage, operands.reg, value);
        } else stage.writeAt(operands.reg, low64(stage, value));
        return;
      }
      const value = readWord(stage, bits, operands.reg);
      if (bank === "mm") enterMmx(stage);
      if (handle === undefined) stage.writeAt(operands.rm, value);
      else stage.store(handle, 0, bits, value);
    },
  });
}

/** The low 32 or 64 bits of a register, zero-extended. */
function readWord(stage: Stage, bits: 32 | 64, register: Value<32>): Value<64> {
  return bits === 64 ? stage.readAt(64, register) : stage.zeroExtend64(stage.readAt(32, register));
}

/** MOVQ between XMM registers, or from memory: the upper half becomes 0. */
const movqLoad: Instruction = fromSource(
  { name: "movq", opcode: "0F 7E", prefix: "F3", bytes: 8 },
  (stage, _old, source) => low64(stage, stage.extractLane("i64x2", 0, source)),
);

const movqStore: Instruction = defineEncoded({
  mnemonic: "MOVQ (xmm, to memory)",
  reference: "4.3 MOVQ",
  pattern: "66 0F D6 /r",
  formFields: ["memory"],
  operands: sourceOperands("xmm"),
  text: (fields, pc) => assembly(fields, pc, "movq", vectorText(fields, "xmm", 8), vectorName("xmm", fields.reg)),
  execute(form, operands, stage) {
    requireSse(stage);
    const value = stage.readAt(64, operands.reg);
    if (form.memory === 0) stage.writeAt(operands.rm, low64(stage, value));
    else stage.store(accessVector(stage, operands, 8, "write"), 0, 64, value);
  },
});

/** MOVQ2DQ, MOVDQ2Q: they count as MMX instructions too. */
function betweenBanks(name: string, prefix: "F2" | "F3", from: Bank): Instruction {
  const to = from === "mm" ? "xmm" : "mm";
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `${prefix} 0F D6 /r reg`,
    formFields: [],
    operands: { rm: vectorRegister(from, "rm"), reg: vectorRegister(to, "reg") },
    text: (fields, pc) => assembly(fields, pc, name, vectorName(to, fields.reg), vectorName(from, fields.rm)),
    execute(_form, operands, stage) {
      requireSse(stage);
      requireBank(stage, "mm");
      const value = stage.readAt(64, operands.rm);
      enterMmx(stage);
      if (to === "mm") writeMmx(stage, operands.reg, value);
      else stage.writeAt(operands.reg, low64(stage, value));
    },
  });
}

// Masks

interface MaskEncoding {
  readonly name: string;
  readonly opcode: string;
  readonly prefix: "np" | "66";
  readonly bank: Bank;
}

/** PMOVMSKB, MOVMSKPS, MOVMSKPD: the sign bits of the elements, in a general register. */
function signMask({ name, opcode, prefix, bank }: MaskEncoding, bits: 8 | 32 | 64): Instruction {
  const shape = { 8: "i8x16", 32: "i32x4", 64: "i64x2" } as const;
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank})`,
    reference: referenceOf(name),
    pattern: `${prefix} ${opcode} /r reg`,
    formFields: [],
    operands: { rm: vectorRegister(bank, "rm"), reg: { u16: ({ reg }) => gpr.offset + 8 * reg } },
    text: (fields, pc) => assembly(fields, pc, name, registerName(fields.reg, 2), vectorName(bank, fields.rm)),
    execute(_form, operands, stage) {
      requireBank(stage, bank);
      const mask = stage.vectorToScalar(`${shape[bits]}.bitmask`, readBank(stage, bank, operands.rm));
      if (bank === "mm") enterMmx(stage);
      stage.writeAt(operands.reg, stage.zeroExtend64(bank === "mm" ? stage.zeroExtendFrom(8, mask) : mask));
    },
  });
}

/**
 * MASKMOVDQU, MASKMOVQ: stores the bytes whose mask has bit 7 set, at rDI. All bytes are checked for writing; without a
 * set bit in the mask, none.
 */
function maskedStore(name: string, prefix: "np" | "66", bank: Bank): Instruction {
  const bytes = bankBytes(bank);
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern: `${prefix} 0F F7 /r reg`,
    formFields: [],
    operands: {
      ...memoryOperand,
      base: { u16: () => generalRegister(Register.rdi).offset },
      rm: vectorRegister(bank, "rm"),
      reg: vectorRegister(bank, "reg"),
    },
    text: (fields, pc) => assembly(fields, pc, name, vectorName(bank, fields.reg), vectorName(bank, fields.rm)),
    execute(_form, operands, stage) {
      requireBank(stage, bank);
      const value = readBank(stage, bank, operands.reg);
      const mask = lanes(stage, 8, "shr_s", readBank(stage, bank, operands.rm), stage.constant32(7));
      stage.if(
        stage.vectorToScalar("v128.any_true", mask),
        () => {
          const handle = accessVector(stage, operands, bytes, "readWrite", false);
          const before = loadVector(stage, bank, handle, bytes);
          if (bank === "mm") enterMmx(stage);
          storePart(stage, handle, bitselect(stage, mask, value, before), bytes);
        },
        bank === "mm" ? () => enterMmx(stage) : undefined,
      );
    },
  });
}

export const vectorMoveInstructions: readonly Instruction[] = [
  ...wholeMoves.flatMap((encoding) => [
    fromSource(encoding, wholeSource),
    toDestination({ ...encoding, opcode: storing(encoding.opcode) }),
  ]),
  fromSource({ name: "lddqu", opcode: "mem 0F F0", prefix: "F2", aligned: false }, wholeSource),
  fromSource({ name: "movntdqa", opcode: "mem 0F 38 2A", prefix: "66" }, wholeSource),
  nonTemporal("movntps", "0F 2B", "np", "xmm"),
  nonTemporal("movntpd", "0F 2B", "66", "xmm"),
  nonTemporal("movntdq", "0F E7", "66", "xmm"),
  nonTemporal("movntq", "0F E7", "np", "mm"),
  movnti,
  ...scalarMove("movss", "F3"),
  ...scalarMove("movsd", "F2"),
  ...halves,
  ...duplicating,
  ...(["xmm", "mm"] as const).flatMap((bank) =>
    [true, false].flatMap((wide) => [generalMove(bank, wide, "from"), generalMove(bank, wide, "to")]),
  ),
  movqLoad,
  movqStore,
  betweenBanks("movq2dq", "F3", "mm"),
  betweenBanks("movdq2q", "F2", "xmm"),
  signMask({ name: "pmovmskb", opcode: "0F D7", prefix: "66", bank: "xmm" }, 8),
  signMask({ name: "pmovmskb", opcode: "0F D7", prefix: "np", bank: "mm" }, 8),
  signMask({ name: "movmskps", opcode: "0F 50", prefix: "np", bank: "xmm" }, 32),
  signMask({ name: "movmskpd", opcode: "0F 50", prefix: "66", bank: "xmm" }, 64),
  maskedStore("maskmovdqu", "66", "xmm"),
  maskedStore("maskmovq", "np", "mm"),
];
