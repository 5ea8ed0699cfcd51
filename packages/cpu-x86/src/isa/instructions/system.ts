/** STI and HLT. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { endOneShot } from "../one-shot.js";
import { Flag, IOPL_SHIFT } from "../registers.js";
import { cpl, InterruptShadow, rflags } from "../state.js";

/** Interrupts stay off until the end of the next instruction, if they were off. Virtual interrupts (CR4.PVI) are not offered. */
const sti = defineEncoded({
  mnemonic: "STI",
  reference: "4.3 STI",
  pattern: "FB",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "sti"),
  execute(_form, _operands, stage) {
    const flags = stage.truncate32(stage.read(rflags));
    const ioPrivilege = stage.extractBits(flags, IOPL_SHIFT, 2);
    stage.if(stage.compare("gt_u", stage.read(cpl), ioPrivilege), () =>
      raiseException(stage, Vector.generalProtection),
    );
    const wasOff = stage.isZero(stage.and(flags, stage.constant32(Flag.IF)));
    const shadow = stage.select(wasOff, stage.constant32(InterruptShadow.sti), stage.constant32(InterruptShadow.none));
    stage.write(rflags, stage.or(stage.read(rflags), stage.constant64(Flag.IF)));
    endOneShot(stage, shadow);
    stage.endBlock("interrupts enabled");
  },
});

function raiseUnlessSystem(stage: Stage): void {
  stage.if(stage.read(cpl), () => raiseException(stage, Vector.generalProtection));
}

const hlt = defineEncoded({
  mnemonic: "HLT",
  reference: "3.3 HLT",
  pattern: "F4",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "hlt"),
  execute(_form, _operands, stage) {
    raiseUnlessSystem(stage);
    stage.exitAfter(ExitCode.halt);
  },
});

export const systemInstructions: readonly Instruction[] = [hlt];

/** It starts a shadow of its own: `oneShot` leaves it as it is. */
export const interruptFlagInstructions: readonly Instruction[] = [sti];
