/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: in 64-bit mode, where CR4.FSGSBASE lets every level use them. Intel SDM volume 2. */
import { elementOf, type Instruction, type Stage } from "@hvjournal/engine";
import { assembly, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { raiseIf, Vector } from "../exceptions.js";
import { sizeOf, writeRegister } from "../general-registers.js";
import { register } from "../operands.js";
import { Cr4 } from "../registers.js";
import { cr4, Segment, segmentBase } from "../state.js";
import { isNotCanonical } from "../translation.js";

function requireEnabled(stage: Stage): void {
  const enabled = stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.FSGSBASE));
  raiseIf(stage, stage.isZero(enabled), Vector.invalidOpcode);
}

function readBase(mnemonic: string, digit: number, segment: number): Instruction {
  return defineEncoded({
    mnemonic,
    reference: "4.3 RDFSBASE/RDGSBASE",
    pattern: `long F3 0F AE /${digit} reg`,
    formFields: ["size"],
    operands: { rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, mnemonic.toLowerCase(), registerName(fields.rm, fields.size)),
    execute(form, { rm }, stage) {
      requireEnabled(stage);
      const base = stage.read(elementOf(segmentBase, segment));
      const size = sizeOf(form);
      writeRegister(stage, size, rm, size === 3 ? base : stage.truncate32(base));
    },
  });
}

function writeBase(mnemonic: string, digit: number, segment: number): Instruction {
  return defineEncoded({
    mnemonic,
    reference: "5.3 WRFSBASE/WRGSBASE",
    pattern: `long F3 0F AE /${digit} reg`,
    formFields: ["size"],
    operands: { rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, mnemonic.toLowerCase(), registerName(fields.rm, fields.size)),
    execute(form, { rm }, stage) {
      requireEnabled(stage);
      const value = sizeOf(form) === 3 ? stage.readAt(64, rm) : stage.zeroExtend64(stage.readAt(32, rm));
      raiseIf(stage, isNotCanonical(stage, value), Vector.generalProtection);
      stage.write(elementOf(segmentBase, segment), value);
    },
  });
}

export const segmentBaseInstructions: readonly Instruction[] = [
  readBase("RDFSBASE", 0, Segment.fs),
  readBase("RDGSBASE", 1, Segment.gs),
  writeBase("WRFSBASE", 2, Segment.fs),
  writeBase("WRGSBASE", 3, Segment.gs),
];
