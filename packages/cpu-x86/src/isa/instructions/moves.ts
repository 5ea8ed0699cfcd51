/** MOV and its kin: MOVZX, MOVSX, MOVSXD, MOVBE, LEA, XLAT, CMOVcc, SETcc, BSWAP, CBW to CDQE, CWD to CQO. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { accessAbsolute, accessMemory, effectiveAddress } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { type DecodedFields, NO_REGISTER, RepeatPrefix } from "../fields.js";
import { carryFlag, CONDITION_NAMES, conditionHolds } from "../flags.js";
import {
  bytesOf,
  cut,
  generalRegister,
  loadOperand,
  type OperandSize,
  type OperandWidth,
  readRegister,
  signExtended,
  sizeOf,
  storeOperand,
  widen,
  writeRegister,
} from "../general-registers.js";
import { absoluteOperand, memoryOperand, register, registerOffset, wholeImmediate } from "../operands.js";
import { modrmPlace, registerPlace } from "../places.js";
import { accessSegment } from "../segment-access.js";
import { Register } from "../state.js";

type Operand = Value<OperandWidth>;

function movToModrm(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `MOV (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference: "4.3 MOV",
    pattern: byte ? "88 /r byte" : "89 /r",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), source: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, "mov", modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "write");
      destination.write(readRegister(stage, size, operands.source));
    },
  });
}

function movFromModrm(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `MOV (${byte ? "r8, r/m8" : "r, r/m"})`,
    reference: "4.3 MOV",
    pattern: byte ? "8A /r byte" : "8B /r",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, "mov", registerName(fields.reg, fields.size, fields.rex), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      writeRegister(stage, size, operands.destination, modrmPlace(stage, form, size, operands, "read").read());
    },
  });
}

const accumulator = { u16: (fields: DecodedFields): number => registerOffset(fields, Register.rax) } as const;

function absoluteText(fields: DecodedFields): string {
  const low = BigInt.asUintN(32, BigInt(fields.immediate));
  const address = fields.addressSize === 3 ? (BigInt.asUintN(32, BigInt(fields.immediateHigh)) << 32n) | low : low;
  const segment = addressText({ ...fields, base: NO_REGISTER, index: NO_REGISTER, displacement: 0 });
  return `${segment.slice(0, segment.indexOf(":") + 1)}0x${address.toString(16)}`;
}

function movAbsolute(byte: boolean, stores: boolean): Instruction {
  const opcode = (stores ? 0xa2 : 0xa0) + (byte ? 0 : 1);
  const names = [byte ? "AL" : "rAX", "moffs"];
  return defineEncoded({
    mnemonic: `MOV (${(stores ? names.toReversed() : names).join(", ")}${byte ? "8" : ""})`,
    reference: "4.3 MOV",
    pattern: `${opcode.toString(16).toUpperCase()} moffs${byte ? " byte" : ""}`,
    formFields: ["size"],
    operands: { ...absoluteOperand, accumulator },
    text(fields, pc) {
      const operands = [registerName(Register.rax, fields.size), absoluteText(fields)];
      return assembly(fields, pc, "movabs", ...(stores ? operands.toReversed() : operands));
    },
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const handle = accessAbsolute(stage, operands, bytesOf(size), stores ? "write" : "read");
      if (stores) storeOperand(stage, size, handle, readRegister(stage, size, operands.accumulator));
      else writeRegister(stage, size, operands.accumulator, loadOperand(stage, size, handle));
    },
  });
}

function narrowed(stage: Stage, size: OperandSize, value: Value<64>): Operand {
  return size === 3 ? value : cut(stage, size, stage.truncate32(value));
}

function wholeText({ size, immediate: low, immediateHigh }: DecodedFields): string {
  const all = size === 3 ? (BigInt(immediateHigh) << 32n) | BigInt(low >>> 0) : BigInt(low);
  return `0x${BigInt.asUintN(8 << size, all).toString(16)}`;
}

function movImmediate(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `MOV (${byte ? "r8, imm8" : "r, imm"})`,
    reference: "4.3 MOV",
    pattern: byte ? "B0+r io byte" : "B8+r io",
    formFields: ["size"],
    operands: { rm: register("rm"), value: wholeImmediate },
    text: (fields, pc) =>
      assembly(fields, pc, "mov", registerName(fields.rm, fields.size, fields.rex), wholeText(fields)),
    execute(form, { rm, value }, stage) {
      const size = sizeOf(form);
      writeRegister(stage, size, rm, narrowed(stage, size, value));
    },
  });
}

function movImmediateToModrm(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `MOV (${byte ? "r/m8, imm8" : "r/m, imm"})`,
    reference: "4.3 MOV",
    pattern: byte ? "C6 /0 ib byte" : "C7 /0 iz",
    formFields: ["size", "memory"],
    operands: {
      ...memoryOperand,
      rm: register("rm"),
      value: { i64: ({ immediate: value }: DecodedFields): bigint => BigInt(value) },
    },
    text: (fields, pc) => assembly(fields, pc, "mov", modrmText(fields), immediateText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      modrmPlace(stage, form, size, operands, "write").write(narrowed(stage, size, operands.value));
    },
  });
}

/** A register of a size that is not the operand's. */
function narrowRegister(size: OperandSize): { readonly u16: (fields: DecodedFields) => number } {
  return { u16: ({ rm, rex }) => registerOffset({ size, rex }, rm) };
}

function extended(stage: Stage, from: OperandSize, to: OperandSize, signed: boolean, value: Value<32>): Operand {
  if (!signed) return widen(stage, to, value);
  return narrowed(stage, to, signExtended(stage, from, value));
}

function extendingMove(name: string, pattern: string, from: 0 | 1 | 2): Instruction {
  return defineEncoded({
    mnemonic: `${name} (r, r/m${8 << from})`,
    reference: `4.3 ${name.slice(0, 5)}`,
    pattern,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: narrowRegister(from), destination: register("reg") },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name.toLowerCase(),
        registerName(fields.reg, fields.size),
        modrmText({ ...fields, size: from }),
      ),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const value = modrmPlace(stage, form, from, operands, "read").read() as Value<32>;
      // MOVSXD of a word moves it as it is.
      const source = size < from ? cut(stage, size, value) : extended(stage, from, size, name !== "MOVZX", value);
      writeRegister(stage, size, operands.destination, source);
    },
  });
}

/** The bytes of a value in the other order. */
function reversed(stage: Stage, size: OperandSize, value: Operand): Operand {
  if (size === 3) {
    const whole = value as Value<64>;
    const low = reversed(stage, 2, stage.truncate32(whole)) as Value<32>;
    const high = reversed(stage, 2, stage.truncate32(stage.shiftRight(whole, 32))) as Value<32>;
    return stage.or(stage.shiftLeft(stage.zeroExtend64(low), 32), stage.zeroExtend64(high));
  }
  const word = value as Value<32>;
  if (size === 1) return stage.zeroExtendFrom(16, stage.or(stage.shiftLeft(word, 8), stage.shiftRight(word, 8)));
  const odd = stage.constant32(0x00ff_00ff);
  const even = stage.constant32(0xff00_ff00 | 0);
  return stage.or(
    stage.and(stage.binary("rotl", word, stage.constant32(8)), odd),
    stage.and(stage.binary("rotr", word, stage.constant32(8)), even),
  );
}

/** Of a word the manual leaves the result undefined: it is 0. */
const bswap = defineEncoded({
  mnemonic: "BSWAP",
  reference: "3.3 BSWAP",
  pattern: "0F C8+r",
  formFields: ["size"],
  operands: { rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "bswap", registerName(fields.rm, fields.size)),
  execute(form, { rm }, stage) {
    const size = sizeOf(form);
    const value = readRegister(stage, size, rm);
    writeRegister(stage, size, rm, size === 1 ? stage.constant32(0) : reversed(stage, size, value));
  },
});

function movbe(stores: boolean): Instruction {
  return defineEncoded({
    mnemonic: `MOVBE (${stores ? "m, r" : "r, m"})`,
    reference: "4.3 MOVBE",
    pattern: stores ? "0F 38 F1 /r mem" : "0F 38 F0 /r mem",
    where: ({ rep }) => rep === RepeatPrefix.none,
    formFields: ["size"],
    operands: { ...memoryOperand, register: register("reg") },
    text(fields, pc) {
      const operands = [registerName(fields.reg, fields.size), modrmText(fields)];
      return assembly(fields, pc, "movbe", ...(stores ? operands.toReversed() : operands));
    },
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const handle = accessMemory(stage, operands, bytesOf(size), stores ? "write" : "read");
      if (stores)
        storeOperand(stage, size, handle, reversed(stage, size, readRegister(stage, size, operands.register)));
      else writeRegister(stage, size, operands.register, reversed(stage, size, loadOperand(stage, size, handle)));
    },
  });
}

const lea = defineEncoded({
  mnemonic: "LEA",
  reference: "3.3 LEA",
  pattern: "8D /r mem",
  formFields: ["size"],
  operands: { ...memoryOperand, destination: register("reg") },
  text: (fields, pc) => assembly(fields, pc, "lea", registerName(fields.reg, fields.size), addressText(fields)),
  execute(form, operands, stage) {
    const size = sizeOf(form);
    writeRegister(stage, size, operands.destination, narrowed(stage, size, effectiveAddress(stage, operands)));
  },
});

const xlat = defineEncoded({
  mnemonic: "XLAT",
  reference: "6.1 XLAT/XLATB",
  pattern: "D7",
  formFields: ["addressSize"],
  operands: { segment: memoryOperand.segment },
  text: (fields, pc) => assembly(fields, pc, "xlat", `BYTE PTR ${addressText({ ...fields, base: Register.rbx })}`),
  execute({ addressSize }, { segment }, stage) {
    const al = stage.constant32(generalRegister(Register.rax).offset);
    const index = stage.zeroExtend64(readRegister(stage, 0, al) as Value<32>);
    const sum = stage.add(stage.read(generalRegister(Register.rbx)), index);
    const handle = accessSegment(stage, segment, stage.zeroExtendFrom(8 << addressSize, sum), 1, "read");
    writeRegister(stage, 0, al, loadOperand(stage, 0, handle));
  },
});

/** The source is read in any case. */
function cmov(name: string, code: number): Instruction {
  return defineEncoded({
    mnemonic: `CMOV${name.toUpperCase()}`,
    reference: "3.3 CMOVcc",
    pattern: `0F ${(0x40 + code).toString(16).toUpperCase()} /r`,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: register("reg") },
    text: (fields, pc) => assembly(fields, pc, `cmov${name}`, registerName(fields.reg, fields.size), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const source = modrmPlace(stage, form, size, operands, "read").read();
      const destination = registerPlace(stage, size, operands.destination);
      destination.write(stage.select(conditionHolds(stage, code), source, destination.read()));
    },
  });
}

function set(name: string, code: number): Instruction {
  return defineEncoded({
    mnemonic: `SET${name.toUpperCase()}`,
    reference: "4.3 SETcc",
    pattern: `0F ${(0x90 + code).toString(16).toUpperCase()} /r byte`,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, `set${name}`, modrmText(fields)),
    execute(form, operands, stage) {
      const destination = modrmPlace(stage, form, sizeOf(form), operands, "write");
      const holds = conditionHolds(stage, code);
      // CF is 0 or 1, as comparisons are.
      destination.write(holds);
    },
  });
}

const CONVERSIONS = ["", "cbw", "cwde", "cdqe"] as const;
const DOUBLINGS = ["", "cwd", "cdq", "cqo"] as const;

/** The accumulator from half of itself. */
const cbw = defineEncoded({
  mnemonic: "CBW/CWDE/CDQE",
  reference: "3.3 CBW/CWDE/CDQE",
  pattern: "98",
  formFields: ["size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, CONVERSIONS[sizeOf(fields)]),
  execute(form, _operands, stage) {
    const size = sizeOf(form);
    const from = (size - 1) as OperandSize;
    const rax = stage.constant32(generalRegister(Register.rax).offset);
    const half = readRegister(stage, from, rax);
    writeRegister(stage, size, rax, narrowed(stage, size, signExtended(stage, from, half)));
  },
});

/** rDX from the sign of rAX. */
const cwd = defineEncoded({
  mnemonic: "CWD/CDQ/CQO",
  reference: "3.3 CWD/CDQ/CQO",
  pattern: "99",
  formFields: ["size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, DOUBLINGS[sizeOf(fields)]),
  execute(form, _operands, stage) {
    const size = sizeOf(form);
    const value = readRegister(stage, size, stage.constant32(generalRegister(Register.rax).offset));
    const sign = stage.shiftRightSigned(signExtended(stage, size, value), 63);
    writeRegister(stage, size, stage.constant32(generalRegister(Register.rdx).offset), narrowed(stage, size, sign));
  },
});

/** Not in the manual, but in every CPU: AL from CF. */
const salc = defineEncoded({
  mnemonic: "SALC",
  reference: "",
  pattern: "compat D6",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "salc"),
  execute(_form, _operands, stage) {
    const all = stage.sub(stage.constant32(0), carryFlag(stage));
    writeRegister(stage, 0, stage.constant32(generalRegister(Register.rax).offset), all);
  },
});

export const moveInstructions: readonly Instruction[] = [
  ...[true, false].flatMap((byte) => [
    movToModrm(byte),
    movFromModrm(byte),
    movAbsolute(byte, false),
    movAbsolute(byte, true),
    movImmediate(byte),
    movImmediateToModrm(byte),
  ]),
  extendingMove("MOVZX", "0F B6 /r", 0),
  extendingMove("MOVZX", "0F B7 /r", 1),
  extendingMove("MOVSX", "0F BE /r", 0),
  extendingMove("MOVSX", "0F BF /r", 1),
  extendingMove("MOVSXD", "long 63 /r", 2),
  bswap,
  movbe(false),
  movbe(true),
  lea,
  xlat,
  ...CONDITION_NAMES.flatMap((name, code) => [cmov(name, code), set(name, code)]),
  cbw,
  cwd,
  salc,
];
