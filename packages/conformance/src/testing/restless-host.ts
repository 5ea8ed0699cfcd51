/** A host that stops a guest wherever it likes, looks at it and throws caches away. The guest must not see any of that. */
import type { Recorder } from "@hvjournal/core";
import type { RandomSource } from "../arm64/random-source.js";
import type { HostSide } from "./guest-recording.js";

/** How often between two slices: one time in so many; undefined: never. */
export interface Restlessness {
  /** Each slice is shorter than one of these. */
  readonly slices: readonly number[];
  readonly dropsOneIn?: number;
  readonly looksOneIn?: number;
}

export function restlessHost(random: RandomSource, { slices, dropsOneIn, looksOneIn }: Restlessness): HostSide {
  const isTime = (count: number | undefined): boolean => count !== undefined && random.oneIn(count);
  return {
    slice: () => 1 + random.below(random.pick(slices)),
    betweenSlices: (recorder) => {
      if (isTime(dropsOneIn)) recorder.machine.kernel.dropCaches();
      if (isTime(looksOneIn)) lookAround(recorder, random);
    },
  };
}

/** What `show`, `ctl` and the debugger's commands ask, of one vCPU. */
function lookAround({ machine }: Recorder, random: RandomSource): void {
  const { kernel } = machine;
  const vcpu = random.below(machine.description.vcpuCount);
  machine.digest();
  machine.saveSections();
  for (const { name } of kernel.registers) kernel.readRegister(vcpu, name);
  const pc = kernel.readRegister(vcpu, "pc");
  kernel.translate(vcpu, pc);
  kernel.translate(vcpu, random.doubleword());
  kernel.disassemble(vcpu, pc, 4);
  kernel.backtrace(vcpu, 8);
  kernel.memory.read(kernel.memory.base + random.below(kernel.memory.bytes - 64), 64);
}
