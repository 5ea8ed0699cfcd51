/** What stands for bytes that are too many for an instruction. The decoder gives it; no list has it. */
import type { Instruction } from "@hvjournal/engine";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";

/** More than 15 bytes: #GP(0). Intel SDM volume 2, 2.3.11. */
export const overlong: Instruction = defineEncoded({
  mnemonic: "(longer than 15 bytes)",
  reference: "2.3.11 AVX instruction length",
  pattern: "",
  formFields: [],
  operands: {},
  text: () => "(bad)",
  execute(_form, _operands, stage) {
    raiseException(stage, Vector.generalProtection);
  },
});
