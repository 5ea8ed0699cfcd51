/** What every VM of an architecture runs, built ahead: to stage and emit it takes a third of a second with each start. */
import type { CpuDefinition } from "./cpu-definition.js";
import { collectModules, type PreparedModules } from "./emit/kept-modules.js";
import { Engine, type EngineOptions } from "./engine.js";

/** The modules of engines with these options and any size of RAM, for `loadModules`. */
export function prepareModules(
  cpu: CpuDefinition,
  options: Pick<EngineOptions, "ramBase" | "profile" | "warm">,
): PreparedModules {
  return collectModules(() => {
    new Engine(cpu, { ...options, ramBytes: 4096, vcpuCount: 1 }).warmUp();
  });
}
