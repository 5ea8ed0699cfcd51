/** The engine's code for the VMs of this architecture, built ahead of the process that runs them. */
import { loadModules, type PreparedModules, prepareModules } from "@hvjournal/engine";
import { cortexA57 } from "../isa/cpu.js";
import { hotVariants, warmVariants } from "../isa/hot-variants.js";

/** Where the board has its RAM. A VM with another base builds its own. */
const RAM_BASE = 0x4000_0000;

export const arm64Code = {
  /** Plain values, which can be written to a file. */
  build: (): PreparedModules =>
    prepareModules(cortexA57, { ramBase: RAM_BASE, profile: hotVariants, warm: warmVariants }),
  /** `load` is called with the first VM; it must give what `build` of the same program gave, or undefined. */
  use: (load: () => PreparedModules | undefined): void => loadModules(cortexA57, load),
};
