/** What stands for bytes that are no instruction of this CPU. The decoder gives these; no list has them. */
import type { Instruction } from "@hvjournal/engine";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";

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

/** An instruction that the architecture may have, but this CPU does not simulate: it leaves guest mode and says so. */
export const notSimulated: Instruction = defineEncoded({
  mnemonic: "(not simulated)",
  reference: "",
  pattern: "",
  formFields: [],
  operands: {
    reason: { u16: ({ reason }) => reason },
    detail: { i64: ({ detailLow, detailHigh }) => (BigInt(detailHigh) << 32n) | BigInt(detailLow >>> 0) },
  },
  text: () => "(bad)",
  execute(_form, { reason, detail }, stage) {
    stage.exitBefore(ExitCode.notSimulated, stage.zeroExtend64(reason), detail);
  },
});
