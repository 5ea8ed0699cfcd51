/** What stands in for an encoding that has no definition: it raises the architecture's undefined exception. */
import type { CpuDefinition } from "../cpu-definition.js";
import { defineInstruction, type Instruction } from "../stage/instruction.js";

export const UNDEFINED_MNEMONIC = "undefined";

export function undefinedInstructionOf(cpu: CpuDefinition): Instruction {
  return defineInstruction({
    mnemonic: UNDEFINED_MNEMONIC,
    reference: "",
    pattern: "encoding:32",
    formFields: [],
    operands: { encoding: { i32: ({ encoding }) => encoding | 0 } },
    text: ({ encoding }) => `.inst 0x${encoding.toString(16).padStart(8, "0")}`,
    execute(_form, { encoding }, stage) {
      stage.raise(cpu.undefinedInstruction, encoding);
    },
  });
}
