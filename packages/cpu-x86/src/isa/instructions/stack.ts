/** PUSH, POP, PUSHA, POPA, ENTER, LEAVE. References: sections of Intel SDM volume 2. */
import type { AccessHandle, Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { accessStack, type StackForm, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import {
  bitsOf,
  bytesOf,
  cut,
  generalRegister,
  immediate as immediateValue,
  loadOperand,
  type OperandSize,
  type OperandWidth,
  readRegister,
  sizeOf,
  storeOperand,
  writeRegister,
} from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { Register } from "../state.js";

const REFERENCE = "4.3 PUSH";

interface PushForm extends StackForm {
  readonly size: number;
}

/** The source is read, and its memory checked, with the stack pointer of before. */
function push(stage: Stage, form: PushForm, value: Value<OperandWidth>): void {
  const size: OperandSize = sizeOf(form);
  const pointer = stackPointer(stage, form, -bytesOf(size));
  const handle = accessStack(stage, pointer, bytesOf(size), "write");
  storeOperand(stage, size, handle, value);
  writeStackPointer(stage, form, pointer);
}

/** Checks the stack and reads its top; the function that comes back moves the stack pointer. */
function pop(stage: Stage, form: PushForm): { readonly value: Value<OperandWidth>; readonly retire: () => void } {
  const size = sizeOf(form);
  const handle = accessStack(stage, stackPointer(stage, form, 0), bytesOf(size), "read");
  const value = loadOperand(stage, size, handle);
  return { value, retire: () => writeStackPointer(stage, form, stackPointer(stage, form, bytesOf(size))) };
}

const pushModrm = defineEncoded({
  mnemonic: "PUSH (r/m)",
  reference: REFERENCE,
  pattern: "FF /6 d64",
  formFields: ["stackSize", "size", "memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "push", modrmText(fields)),
  execute(form, operands, stage) {
    push(stage, form, modrmPlace(stage, form, sizeOf(form), operands, "read").read());
  },
});

const pushRegister = defineEncoded({
  mnemonic: "PUSH (r)",
  reference: REFERENCE,
  pattern: "50+r d64",
  formFields: ["stackSize", "size"],
  operands: { rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "push", registerName(fields.rm, fields.size)),
  execute(form, { rm }, stage) {
    push(stage, form, readRegister(stage, sizeOf(form), rm));
  },
});

function pushImmediate(name: string, pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `PUSH (${name})`,
    reference: REFERENCE,
    pattern,
    formFields: ["stackSize", "size"],
    operands: { immediate },
    text: (fields, pc) => assembly(fields, pc, fields.size === 1 ? "pushw" : "push", immediateText(fields)),
    execute(form, operands, stage) {
      push(stage, form, immediateValue(stage, sizeOf(form), operands.immediate));
    },
  });
}

/** An address with rSP counts from the stack pointer of behind. */
const poppedOperand = {
  ...memoryOperand,
  displacement: {
    i32: ({ base, displacement, size }: DecodedFields): number =>
      base === Register.rsp ? (displacement + bytesOf(size as OperandSize)) | 0 : displacement,
  },
} as const;

const popModrm = defineEncoded({
  mnemonic: "POP (r/m)",
  reference: "4.3 POP",
  pattern: "8F /0 d64",
  formFields: ["stackSize", "size", "memory"],
  operands: { ...poppedOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "pop", modrmText(fields)),
  execute(form, operands, stage) {
    const { value, retire } = pop(stage, form);
    const destination = modrmPlace(stage, form, sizeOf(form), operands, "write");
    retire();
    destination.write(value);
  },
});

const popRegister = defineEncoded({
  mnemonic: "POP (r)",
  reference: "4.3 POP",
  pattern: "58+r d64",
  formFields: ["stackSize", "size"],
  operands: { rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "pop", registerName(fields.rm, fields.size)),
  execute(form, { rm }, stage) {
    const { value, retire } = pop(stage, form);
    retire();
    writeRegister(stage, sizeOf(form), rm, value);
  },
});

const offsetOf = (number: number): number => generalRegister(number).offset;
/** In the order of PUSHA. */
const ALL_REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7] as const;

const pusha = defineEncoded({
  mnemonic: "PUSHA/PUSHAD",
  reference: "4.3 PUSHA/PUSHAD",
  pattern: "compat 60",
  formFields: ["stackSize", "size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, fields.size === 1 ? "pushaw" : "pusha"),
  execute(form, _operands, stage) {
    const size = sizeOf(form);
    const places = ALL_REGISTERS.map((_, index) => stackPointer(stage, form, -bytesOf(size) * (index + 1)));
    const handles = places.map((place) => accessStack(stage, place, bytesOf(size), "write"));
    const values = ALL_REGISTERS.map((number) => readRegister(stage, size, stage.constant32(offsetOf(number))));
    handles.forEach((handle, index) => {
      const value = values[index];
      if (value !== undefined) storeOperand(stage, size, handle, value);
    });
    const pointer = places.at(-1);
    if (pointer !== undefined) writeStackPointer(stage, form, pointer);
  },
});

/** What is on the stack for rSP is passed over. */
const popa = defineEncoded({
  mnemonic: "POPA/POPAD",
  reference: "4.3 POPA/POPAD",
  pattern: "compat 61",
  formFields: ["stackSize", "size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, fields.size === 1 ? "popaw" : "popa"),
  execute(form, _operands, stage) {
    const size = sizeOf(form);
    const pointer = stackPointer(stage, form, 8 * bytesOf(size));
    const handle = accessStack(stage, stackPointer(stage, form, 0), 8 * bytesOf(size), "read");
    ALL_REGISTERS.forEach((number, index) => {
      if (number === Register.rsp) return;
      const value = stage.load(32, handle, (7 - index) * bytesOf(size), bitsOf(size) as 16 | 32);
      writeRegister(stage, size, stage.constant32(offsetOf(number)), value);
    });
    writeStackPointer(stage, form, pointer);
  },
});

const rbp = offsetOf(Register.rbp);

/** The stack pointer `bytes` below an address. */
function below(stage: Stage, { stackSize }: StackForm, pointer: Value<64>, bytes: Value<64>): Value<64> {
  return stage.zeroExtendFrom(8 << stackSize, stage.sub(pointer, bytes));
}

/** Of the levels only the low five bits count; each has a definition, so that its pushes stand in a row. */
function enter(level: number): Instruction {
  return defineEncoded({
    mnemonic: `ENTER (imm16, ${level})`,
    reference: "3.3 ENTER",
    pattern: "C8 iw ib d64",
    where: ({ immediateHigh }) => (immediateHigh & 31) === level,
    formFields: ["stackSize", "size"],
    operands: { room: { i64: ({ immediate: value }) => BigInt(value & 0xffff) } },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        "enter",
        `0x${(fields.immediate & 0xffff).toString(16)}`,
        `0x${(fields.immediateHigh & 0xff).toString(16)}`,
      ),
    execute(form, { room }, stage) {
      const size = sizeOf(form);
      const bytes = bytesOf(size);
      const old = readRegister(stage, size, stage.constant32(rbp));
      const frame = stackPointer(stage, form, -bytes);
      const frameValue = size === 3 ? frame : cut(stage, size, stage.truncate32(frame));
      const links = Math.max(0, level - 1);
      const pushes = level === 0 ? 1 : level + 1;
      // In the order that they are done in, so that the first one that fails is told.
      const targets: AccessHandle[] = [];
      const sources: AccessHandle[] = [];
      const outer = stage.read(generalRegister(Register.rbp));
      for (let index = 0; index < pushes; index++) {
        if (index >= 1 && index <= links)
          sources.push(accessStack(stage, below(stage, form, outer, stage.constant64(index * bytes)), bytes, "read"));
        targets.push(accessStack(stage, stackPointer(stage, form, -bytes * (index + 1)), bytes, "write"));
      }
      const end = below(stage, form, frame, stage.add(room, stage.constant64((pushes - 1) * bytes)));
      // The new stack must be there.
      accessStack(stage, end, bytes, "write");
      targets.forEach((target, index) => {
        const source = sources[index - 1];
        const value = index === 0 ? old : source === undefined ? frameValue : loadOperand(stage, size, source);
        storeOperand(stage, size, target, value);
      });
      writeStackPointer(stage, form, end);
      writeRegister(stage, size, stage.constant32(rbp), frameValue);
    },
  });
}

const leave = defineEncoded({
  mnemonic: "LEAVE",
  reference: "3.3 LEAVE",
  pattern: "C9 d64",
  formFields: ["stackSize", "size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, fields.size === 1 ? "leavew" : "leave"),
  execute(form, _operands, stage) {
    const size = sizeOf(form);
    const pointer = below(stage, form, stage.read(generalRegister(Register.rbp)), stage.constant64(0));
    const handle = accessStack(stage, pointer, bytesOf(size), "read");
    const value = loadOperand(stage, size, handle);
    writeStackPointer(stage, form, below(stage, form, pointer, stage.constant64(-bytesOf(size))));
    writeRegister(stage, size, stage.constant32(rbp), value);
  },
});

export const stackInstructions: readonly Instruction[] = [
  pushModrm,
  pushRegister,
  pushImmediate("imm8", "6A ib d64"),
  pushImmediate("imm", "68 iz d64"),
  popModrm,
  popRegister,
  pusha,
  popa,
  ...Array.from({ length: 32 }, (_, level) => enter(level)),
  leave,
];
