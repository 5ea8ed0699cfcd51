/** JMP, Jcc, CALL, RET near, LOOPcc, JrCXZ. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, modrmText, registerName } from "../assembly-text.js";
import { branch, type BranchForm, checkTarget, relativeTarget } from "../branches.js";
import { accessStack, type StackForm, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { type DecodedFields, Mode } from "../fields.js";
import { CONDITION_NAMES, conditionHolds } from "../flags.js";
import { bytesOf, loadOperand, type OperandWidth, sizeOf, storeOperand } from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { nextInstruction } from "../segment-access.js";
import { Register } from "../state.js";
import { indexValue, writeIndex } from "../string-index.js";

function targetText({ immediate: distance, length, mode, size }: DecodedFields, pc: bigint): string {
  const target = pc + BigInt(length) + BigInt(distance);
  return `0x${BigInt.asUintN(mode === Mode.long ? 64 : 8 << size, target).toString(16)}`;
}

/** A target near by: in 64-bit mode only the ends of the canonical addresses could be beyond it, where a fetch tells. */
function nearTarget(stage: Stage, form: BranchForm, distance: Value<32>): Value<64> {
  const target = relativeTarget(stage, form, distance);
  if (form.mode !== Mode.long) checkTarget(stage, form, target);
  return target;
}

function jump(name: string, pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `JMP (${name})`,
    reference: "3.3 JMP",
    pattern,
    formFields: ["mode", "size"],
    operands: { immediate },
    text: (fields, pc) => assembly(fields, pc, "jmp", targetText(fields, pc)),
    execute(form, operands, stage) {
      branch(stage, nearTarget(stage, form, operands.immediate));
    },
  });
}

function jumpIf(condition: string, code: number, short: boolean): Instruction {
  const opcode = ((short ? 0x70 : 0x80) + code).toString(16).toUpperCase();
  return defineEncoded({
    mnemonic: `J${condition.toUpperCase()} (${short ? "rel8" : "rel"})`,
    reference: "3.3 Jcc",
    pattern: short ? `${opcode} ib f64` : `0F ${opcode} iz f64`,
    formFields: ["mode", "size"],
    operands: { immediate },
    text: (fields, pc) => assembly(fields, pc, `j${condition}`, targetText(fields, pc)),
    execute(form, operands, stage) {
      stage.if(conditionHolds(stage, code), () => branch(stage, nearTarget(stage, form, operands.immediate)));
    },
  });
}

/** An address that an operand holds, as RIP. */
function wideTarget(stage: Stage, form: BranchForm, value: Value<OperandWidth>): Value<64> {
  const target = form.size === 3 ? (value as Value<64>) : stage.zeroExtend64(value as Value<32>);
  checkTarget(stage, form, target);
  return target;
}

const jumpModrm = defineEncoded({
  mnemonic: "JMP (r/m)",
  reference: "3.3 JMP",
  pattern: "FF /4 f64",
  formFields: ["mode", "size", "memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "jmp", modrmText(fields)),
  execute(form, operands, stage) {
    const value = modrmPlace(stage, form, sizeOf(form), operands, "read").read();
    branch(stage, wideTarget(stage, form, value));
  },
});

/** Pushes the address of the next instruction and goes on at the target. */
function call(stage: Stage, form: BranchForm & StackForm, target: Value<64>): void {
  const size = sizeOf(form);
  const pointer = stackPointer(stage, form, -bytesOf(size));
  const handle = accessStack(stage, pointer, bytesOf(size), "write");
  const next = nextInstruction(stage);
  storeOperand(stage, size, handle, size === 3 ? next : stage.truncate32(next));
  writeStackPointer(stage, form, pointer);
  branch(stage, target);
}

const callRelative = defineEncoded({
  mnemonic: "CALL (rel)",
  reference: "3.3 CALL",
  pattern: "E8 iz f64",
  formFields: ["mode", "stackSize", "size"],
  operands: { immediate },
  text: (fields, pc) => assembly(fields, pc, "call", targetText(fields, pc)),
  execute(form, operands, stage) {
    call(stage, form, nearTarget(stage, form, operands.immediate));
  },
});

const callModrm = defineEncoded({
  mnemonic: "CALL (r/m)",
  reference: "3.3 CALL",
  pattern: "FF /2 f64",
  formFields: ["mode", "stackSize", "size", "memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "call", modrmText(fields)),
  execute(form, operands, stage) {
    const value = modrmPlace(stage, form, sizeOf(form), operands, "read").read();
    call(stage, form, wideTarget(stage, form, value));
  },
});

function ret(withCount: boolean): Instruction {
  return defineEncoded({
    mnemonic: withCount ? "RET (imm16)" : "RET",
    reference: "4.3 RET",
    pattern: withCount ? "C2 iw f64" : "C3 f64",
    formFields: ["mode", "stackSize", "size"],
    operands: { room: { i64: ({ immediate: value }) => BigInt(value & 0xffff) } },
    text: (fields, pc) =>
      assembly(fields, pc, "ret", ...(withCount ? [`0x${(fields.immediate & 0xffff).toString(16)}`] : [])),
    execute(form, { room }, stage) {
      const size = sizeOf(form);
      const handle = accessStack(stage, stackPointer(stage, form, 0), bytesOf(size), "read");
      const target = wideTarget(stage, form, loadOperand(stage, size, handle));
      const behind = stackPointer(stage, form, bytesOf(size));
      const moved = withCount ? stage.zeroExtendFrom(8 << form.stackSize, stage.add(behind, room)) : behind;
      writeStackPointer(stage, form, moved);
      branch(stage, target);
    },
  });
}

interface LoopForm extends BranchForm {
  readonly addressSize: number;
}

/** rCX counts down in the width of the address size; no flags change. `goesOn`: what else must hold. */
function loop(name: string, opcode: string, goesOn: (stage: Stage) => Value<32>): Instruction {
  return defineEncoded({
    mnemonic: name,
    reference: "3.3 LOOP/LOOPcc",
    pattern: `${opcode} ib f64`,
    formFields: ["mode", "size", "addressSize"],
    operands: { immediate },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), targetText(fields, pc)),
    execute(form, operands, stage) {
      const left = countdown(stage, form);
      const again = stage.and(stage.compare("ne", left, stage.constant64(0)), goesOn(stage));
      stage.if(again, () => {
        const target = nearTarget(stage, form, operands.immediate);
        writeIndex(stage, form, Register.rcx, left);
        branch(stage, target);
      });
      writeIndex(stage, form, Register.rcx, left);
    },
  });
}

function countdown(stage: Stage, form: LoopForm): Value<64> {
  const count = indexValue(stage, { ...form, size: 0 }, Register.rcx);
  return stage.zeroExtendFrom(8 << form.addressSize, stage.sub(count, stage.constant64(1)));
}

const jumpIfCountZero = defineEncoded({
  mnemonic: "JCXZ/JECXZ/JRCXZ",
  reference: "3.3 Jcc",
  pattern: "E3 ib f64",
  formFields: ["mode", "size", "addressSize"],
  operands: { immediate },
  text: (fields, pc) =>
    assembly(fields, pc, `j${registerName(Register.rcx, fields.addressSize)}z`, targetText(fields, pc)),
  execute(form, operands, stage) {
    const count = indexValue(stage, form, Register.rcx);
    stage.if(stage.isZero(count), () => branch(stage, nearTarget(stage, form, operands.immediate)));
  },
});

const ZERO = 4;

export const nearBranchInstructions: readonly Instruction[] = [
  jump("rel8", "EB ib f64"),
  jump("rel", "E9 iz f64"),
  jumpModrm,
  ...CONDITION_NAMES.flatMap((name, code) => [jumpIf(name, code, true), jumpIf(name, code, false)]),
  callRelative,
  callModrm,
  ret(false),
  ret(true),
  loop("LOOPNE", "E0", (stage) => conditionHolds(stage, ZERO + 1)),
  loop("LOOPE", "E1", (stage) => conditionHolds(stage, ZERO)),
  loop("LOOP", "E2", (stage) => stage.constant32(1)),
  jumpIfCountZero,
];
