/** The engine's code for the VMs of this architecture, built ahead of the process that runs them. */
import { loadModules, type PreparedModules, prepareModules } from "@hvjournal/engine";
import { x86Cpu } from "../isa/cpu.js";
import { hotVariants, warmVariants } from "../isa/hot-variants.js";

/** Where the board has its RAM. A VM with another base builds its own. */
const RAM_BASE = 0;

export const amd64Code = {
  /** Plain values, which can be written to a file. */
  build: (): PreparedModules => prepareModules(x86Cpu, { ramBase: RAM_BASE, profile: hotVariants, warm: warmVariants }),
  /** `load` is called with the first VM; it must give what `build` of the same program gave, or undefined. */
  use: (load: () => PreparedModules | undefined): void => loadModules(x86Cpu, load),
};
