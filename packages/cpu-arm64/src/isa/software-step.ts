/** Instructions as they are while software step is active: Arm ARM D2. */
import type { Instruction, Stage } from "@hvjournal/engine";
import { contextChanged } from "./context.js";
import { softwareStep, stepSyndrome } from "./state.js";

/** ISS of a software step exception: ISV, and EX when the stepped instruction was a Load-Exclusive. */
const ISS_VALID = 1 << 24;
const ISS_EXCLUSIVE = 1 << 6;

/**
 * The same instruction, but once it retires PSTATE.SS is clear, so that the step exception comes before the next one.
 * One that raises or exits before has not been stepped.
 */
export function stepped(instruction: Instruction): Instruction {
  const isLoadExclusive = /^LDA?X[RP]/.test(instruction.mnemonic);
  const syndrome = ISS_VALID | (isLoadExclusive ? ISS_EXCLUSIVE : 0);
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, stepped`,
    execute(form, operands, stage) {
      const retire = (): void => {
        stage.write(softwareStep, stage.constant32(0));
        stage.write(stepSyndrome, stage.constant32(syndrome));
        contextChanged(stage);
      };
      // In an arm of its own, because only the join behind it may follow a definition that always ends.
      stage.if(stage.constant32(1), () => {
        instruction.execute(form, operands, retiringWith(stage, retire));
      });
      retire();
      stage.endBlock("software step");
    },
  };
}

/** A stage on which every end that retires runs `retire` first. */
function retiringWith(stage: Stage, retire: () => void): Stage {
  const ends: Pick<Stage, "jump" | "endBlock" | "exitAfter"> = {
    jump(target) {
      retire();
      stage.jump(target, { contextChanged: true });
    },
    endBlock(reason) {
      retire();
      stage.endBlock(reason);
    },
    exitAfter(code, ...operands) {
      retire();
      stage.exitAfter(code, ...operands);
    },
  };
  return new Proxy(stage, {
    get(target, key) {
      const own: unknown = Reflect.get(ends, key);
      if (own !== undefined) return own;
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}
