/** Instructions as they are in an interrupt shadow, or with RF set: both end with them. Intel SDM volume 3, 6.8.3, 18.3.1.1. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { contextChanged } from "./context.js";
import { Flag } from "./registers.js";
import { interruptShadow, rflags } from "./state.js";

/** Ends RF and the interrupt shadow; `shadow` is the next one. */
export function endOneShot(stage: Stage, shadow: Value<32>): void {
  stage.write(interruptShadow, shadow);
  stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~BigInt(Flag.RF))));
  contextChanged(stage);
}

/** The same instruction, but when it retires shadow and RF end. One that raises or exits before has not retired. */
export function oneShot(instruction: Instruction): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, one shot`,
    execute(form, operands, stage) {
      const retire = (): void => endOneShot(stage, stage.constant32(0));
      // In an arm of its own, because only the join behind it may follow a definition that always ends.
      stage.if(stage.constant32(1), () => {
        instruction.execute(form, operands, retiringWith(stage, retire));
      });
      retire();
      stage.endBlock("one shot");
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
