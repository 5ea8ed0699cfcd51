/** Form fields as one number, which tells the variants of a definition apart. */
import type { Instruction } from "../stage/instruction.js";
import { compilePattern } from "./pattern.js";

/** All ones in the width of a field: of the pattern, or as `fieldBits` says. 0 for a name that is no field. */
export function fieldMask(instruction: Instruction, name: string): number {
  if (instruction.fieldBits !== undefined) return 2 ** (instruction.fieldBits[name] ?? 0) - 1;
  return compilePattern(instruction.pattern).fields.find((field) => field.name === name)?.mask ?? 0;
}

/** Form fields side by side, each as wide as its mask. */
export function packForm(instruction: Instruction, fields: Readonly<Record<string, number>>): number {
  let form = 0;
  for (const name of instruction.formFields) form = form * (fieldMask(instruction, name) + 1) + (fields[name] ?? 0);
  return form;
}
