/** AND, OR, XOR, TEST, NOT. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, modrmText } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { setFlags } from "../flags.js";
import { cut, type OperandSize, type OperandWidth, sizeOf } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { Flag } from "../registers.js";
import { type BinaryOperation, eightOpcodes, toAccumulator, toModrm, withImmediate } from "./binary-forms.js";

function setLogicFlags(stage: Stage, size: OperandSize, result: Value<OperandWidth>): void {
  setFlags(stage, { kind: "logic", size, left: result, right: result, result });
}

const combine =
  (op: "and" | "or" | "xor"): BinaryOperation =>
  (stage, size, destination, right) => {
    const result = stage[op](destination.read(), right);
    destination.write(result);
    setLogicFlags(stage, size, result);
  };

const test: BinaryOperation = (stage, size, destination, right) => {
  setLogicFlags(stage, size, stage.and(destination.read(), right));
};

const TEST = { name: "TEST", opcode: 0x84, operation: test, readsOnly: true, undefinedFlags: Flag.AF } as const;

/** No flags. */
function not(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `NOT (${byte ? "r/m8" : "r/m"})`,
    reference: "4.3 NOT",
    pattern: byte ? "lock F6 /2 byte" : "lock F7 /2",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, "not", modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      destination.write(cut(stage, size, stage.not(destination.read())));
    },
  });
}

export const logicInstructions: readonly Instruction[] = [
  ...eightOpcodes({ name: "OR", opcode: 0x08, operation: combine("or"), undefinedFlags: Flag.AF }),
  ...eightOpcodes({ name: "AND", opcode: 0x20, operation: combine("and"), undefinedFlags: Flag.AF }),
  ...eightOpcodes({ name: "XOR", opcode: 0x30, operation: combine("xor"), undefinedFlags: Flag.AF }),
  toModrm(TEST, true),
  toModrm(TEST, false),
  toAccumulator(TEST, 0xa8, true),
  toAccumulator(TEST, 0xa8, false),
  // /1 is an alias that Intel does not print.
  ...([0, 1] as const).flatMap((digit) => [
    withImmediate(TEST, `r/m8, imm8${digit === 0 ? "" : "; alias"}`, `F6 /${digit} ib byte`),
    withImmediate(TEST, `r/m, imm${digit === 0 ? "" : "; alias"}`, `F7 /${digit} iz`),
  ]),
  not(true),
  not(false),
];
