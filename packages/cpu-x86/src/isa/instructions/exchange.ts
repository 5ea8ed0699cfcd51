/**
 * Exchanges. References: sections of Intel SDM volume 2.
 *
 * The vCPUs of a VM take turns, so that every read and write of one instruction is atomic: LOCK needs no code.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly, modrmText, registerName } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { setFlags, setZeroFlag } from "../flags.js";
import { cut, generalRegister, sizeOf } from "../general-registers.js";
import { memoryOperand, register, registerOffset } from "../operands.js";
import { modrmPlace, type Place, registerPlace } from "../places.js";
import { Register } from "../state.js";

function exchange(left: Place, right: Place): void {
  const before = left.read();
  const other = right.read();
  left.write(other);
  right.write(before);
}

function xchgModrm(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `XCHG (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference: "5.3 XCHG",
    pattern: byte ? "lock 86 /r byte" : "lock 87 /r",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), other: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, "xchg", modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      exchange(modrmPlace(stage, form, size, operands, "readWrite"), registerPlace(stage, size, operands.other));
    },
  });
}

/** 90 without REX.B is NOP: it leaves the upper half of RAX. */
const xchgAccumulator = defineEncoded({
  mnemonic: "XCHG (rAX, r)",
  reference: "5.3 XCHG",
  pattern: "90+r",
  where: ({ rm }) => rm !== Register.rax,
  formFields: ["size"],
  operands: { rm: register("rm"), accumulator: { u16: (fields) => registerOffset(fields, Register.rax) } },
  text: (fields, pc) =>
    assembly(fields, pc, "xchg", registerName(fields.rm, fields.size), registerName(Register.rax, fields.size)),
  execute(form, { rm, accumulator }, stage) {
    const size = sizeOf(form);
    exchange(registerPlace(stage, size, rm), registerPlace(stage, size, accumulator));
  },
});

/** The register gets what the destination held, which gets the sum: that one wins where both are the same. */
function xadd(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `XADD (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference: "6.1 XADD",
    pattern: byte ? "lock 0F C0 /r byte" : "lock 0F C1 /r",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), other: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, "xadd", modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      const other = registerPlace(stage, size, operands.other);
      const [left, right] = [destination.read(), other.read()];
      const result = cut(stage, size, stage.add(left, right));
      other.write(left);
      destination.write(result);
      setFlags(stage, { kind: "add", size, left, right, result });
    },
  });
}

/** Memory is written in any case; of registers only the one that changes, so that the other's upper half stays. */
function cmpxchg(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `CMPXCHG (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference: "3.3 CMPXCHG",
    pattern: byte ? "lock 0F B0 /r byte" : "lock 0F B1 /r",
    formFields: ["size", "memory"],
    operands: {
      ...memoryOperand,
      rm: register("rm"),
      replacement: register("reg"),
      accumulator: { u16: (fields) => registerOffset(fields, Register.rax) },
    },
    text: (fields, pc) =>
      assembly(fields, pc, "cmpxchg", modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      const accumulator = registerPlace(stage, size, operands.accumulator);
      const [found, left] = [destination.read(), accumulator.read()];
      const replacement = registerPlace(stage, size, operands.replacement).read();
      const difference = cut(stage, size, stage.sub(left, found));
      const isEqual = stage.isZero(difference);
      if (form.memory === 1) destination.write(stage.select(isEqual, replacement, found));
      else stage.if(isEqual, () => destination.write(replacement));
      stage.if(stage.isZero(isEqual), () => accumulator.write(found));
      setFlags(stage, { kind: "subtract", size, left, right: found, result: difference });
    },
  });
}

/** With F3 it is PAUSE, a hint. */
const nop = defineEncoded({
  mnemonic: "NOP",
  reference: "4.3 NOP",
  pattern: "90",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "nop"),
  execute: () => undefined,
});

const rax = generalRegister(Register.rax);
const rcx = generalRegister(Register.rcx);
const rdx = generalRegister(Register.rdx);
const rbx = generalRegister(Register.rbx);

/** Memory is written in any case: with the new value, or with what it held. Only ZF changes. */
const cmpxchg8b = defineEncoded({
  mnemonic: "CMPXCHG8B",
  reference: "3.3 CMPXCHG8B/CMPXCHG16B",
  pattern: "lock w0 0F C7 /1 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "cmpxchg8b", `QWORD PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    const handle = accessMemory(stage, operands, 8, "readWrite");
    const found = stage.load(64, handle, 0, 64);
    const equal = stage.compare("eq", found, pair32(stage, stage.read(rdx), stage.read(rax)));
    const replacement = pair32(stage, stage.read(rcx), stage.read(rbx));
    stage.store(handle, 0, 64, stage.select(equal, replacement, found));
    stage.if(stage.isZero(equal), () => {
      stage.write(rax, stage.zeroExtendFrom(32, found));
      stage.write(rdx, stage.shiftRight(found, 32));
    });
    setZeroFlag(stage, equal);
  },
});

function pair32(stage: Stage, high: Value<64>, low: Value<64>): Value<64> {
  return stage.or(stage.shiftLeft(high, 32), stage.zeroExtendFrom(32, low));
}

/** The operand must be aligned to 16 bytes: #GP(0). */
const cmpxchg16b = defineEncoded({
  mnemonic: "CMPXCHG16B",
  reference: "3.3 CMPXCHG8B/CMPXCHG16B",
  pattern: "lock w1 0F C7 /1 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "cmpxchg16b", `OWORD PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    const handle = accessMemory(stage, operands, 16, "readWrite", 16);
    const low = stage.load(64, handle, 0, 64);
    const high = stage.load(64, handle, 8, 64);
    const equal = stage.and(stage.compare("eq", low, stage.read(rax)), stage.compare("eq", high, stage.read(rdx)));
    stage.store(handle, 0, 64, stage.select(equal, stage.read(rbx), low));
    stage.store(handle, 8, 64, stage.select(equal, stage.read(rcx), high));
    stage.if(stage.isZero(equal), () => {
      stage.write(rax, low);
      stage.write(rdx, high);
    });
    setZeroFlag(stage, equal);
  },
});

export const exchangeInstructions: readonly Instruction[] = [
  xchgModrm(true),
  xchgModrm(false),
  xchgAccumulator,
  nop,
  xadd(true),
  xadd(false),
  cmpxchg(true),
  cmpxchg(false),
  cmpxchg8b,
  cmpxchg16b,
];
