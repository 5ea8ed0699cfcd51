/**
 * Instructions as they are in an interrupt shadow, or with RF or TF set, or with breakpoints: shadow and RF end with them, and
 * a debug exception may follow. Intel SDM volume 3, 6.8.3, 18.2, 18.3.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { breakpointsOn } from "./breakpoints.js";
import { contextChanged } from "./context.js";
import { noteDebugTrap } from "./exceptions.js";
import { Dr6, Flag } from "./registers.js";
import { interruptShadow, repeating, rflags } from "./state.js";

/** Truth: TF is set, so that the instruction that reads this as its first act is followed by a debug exception. */
export function isStepping(stage: Stage): Value<32> {
  return stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.TF), 1);
}

/**
 * Ends RF and the interrupt shadow; `shadow` is the next one. Behind an instruction that began with `stepping` comes a debug
 * exception, unless it was one that loads SS.
 */
export function endOneShot(stage: Stage, shadow: Value<32>, stepping?: Value<32>): void {
  stage.write(interruptShadow, shadow);
  // A repeated instruction keeps RF until its last iteration.
  const ended = stage.select(stage.read(repeating), stage.constant64(0), stage.constant64(Flag.RF));
  stage.write(rflags, stage.and(stage.read(rflags), stage.not(ended)));
  if (stepping !== undefined) noteDebugTrap(stage, stage.shiftLeft(stepping, Math.log2(Dr6.BS)));
  contextChanged(stage);
}

/** The same instruction, but when it retires shadow and RF end. One that raises or exits before has not retired. */
export function oneShot(instruction: Instruction, hasBreakpoints: boolean): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, ${hasBreakpoints ? "with breakpoints" : "one shot"}`,
    execute(form, operands, stage) {
      const stepping = stage.variable(isStepping(stage));
      const breakpoints = hasBreakpoints ? breakpointsOn(stage) : undefined;
      const retire = (): void => {
        breakpoints?.noteMet();
        endOneShot(stage, stage.constant32(0), stage.get(stepping));
      };
      // In an arm of its own, because only the join behind it may follow a definition that always ends.
      stage.if(stage.constant32(1), () => {
        instruction.execute(form, operands, retiringWith(breakpoints?.stage ?? stage, retire));
      });
      retire();
      stage.endBlock("one shot");
    },
  };
}

/** An instruction that ends shadow and RF itself, with breakpoints at instructions; its own accesses are not looked at. */
export function withInstructionBreakpoints(instruction: Instruction): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, with breakpoints`,
    execute(form, operands, stage) {
      instruction.execute(form, operands, breakpointsOn(stage).stage);
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
