/** What the kernel half does at the end of an instruction that it has carried out itself. */
import type { Routine, Value } from "@hvjournal/engine";
import { endOneShot, isStepping } from "./one-shot.js";
import { rip } from "./state.js";

/** (address of the next instruction): retires the one at RIP; the caller counts the unit. */
export const finishInstruction: Routine & { readonly result: undefined } = {
  name: "finishInstruction",
  parameters: [64],
  result: undefined,
  body(stage, [next]) {
    stage.write(rip, next as Value<64>);
    endOneShot(stage, stage.constant32(0), isStepping(stage));
  },
};
