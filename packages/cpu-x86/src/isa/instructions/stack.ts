/** PUSH. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { accessStack, type StackForm, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import {
  bytesOf,
  immediate as immediateValue,
  type OperandSize,
  type OperandWidth,
  readRegister,
  sizeOf,
  storeOperand,
} from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";

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

export const stackInstructions: readonly Instruction[] = [
  pushModrm,
  pushRegister,
  pushImmediate("imm8", "6A ib d64"),
  pushImmediate("imm", "68 iz d64"),
];
