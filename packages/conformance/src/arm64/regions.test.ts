/** Compiled regions against the interpreter, in random programs that loop. `HVJOURNAL_SEED=n` repeats a run. */
import { vcpuState } from "@hvjournal/cpu-arm64";
import { EngineExit } from "@hvjournal/engine";
import { describe, expect, it } from "@jest/globals";
import { branch } from "./a64-assembler.js";
import { CODE_PAGES, type LoopProgram } from "./loop-programs.js";
import { RandomSource, seedOfRun } from "./random-source.js";
import { TierComparison } from "./tier-comparison.js";
import { TierMachine } from "./tier-machine.js";

const PROGRAMS = 150;
const CODE_WORDS = CODE_PAGES * 1024;
const HYPERVISOR_CALL = 17;
const seed = seedOfRun();

describe.each([
  [2, 4096],
  [4096, 16],
])("regions with a TLB of %d entries, and an interpreter with one of %d", (regionEntries, interpreterEntries) => {
  it(`leave the same state, memory, exits and units at every stop (seed ${seed})`, () => {
    const comparison = new TierComparison(new RandomSource(seed + regionEntries), [
      { tier: "interpreter", tlbEntries: interpreterEntries },
      { tier: "regions", tlbEntries: regionEntries },
    ]);
    for (let program = 0; program < PROGRAMS; program++)
      expect([program, comparison.runProgram()]).toEqual([program, undefined]);
    expect(comparison.regions).toBeGreaterThan(PROGRAMS);
  });
});

describe("an interrupt", () => {
  /** With a word in front that masks or unmasks; X0 counts. */
  function loopOf(words: readonly number[]): LoopProgram {
    const loop = [...words, branch(4 * words.length, 0)];
    return {
      words: [...loop, ...Array.from({ length: CODE_WORDS - loop.length }, () => 0)],
      start: 0,
      length: loop.length,
    };
  }

  const COUNT = 0x9100_0400;
  const UNMASK_IRQ = 0xd503_42ff;
  const MASK_IRQ = 0xd503_42df;

  it.each([
    ["that is not masked comes at the unit where its line rises", [COUNT, COUNT, COUNT], 0n],
    ["comes right behind the instruction that unmasks it", [COUNT, UNMASK_IRQ, COUNT, COUNT, MASK_IRQ, COUNT], 0x80n],
  ])("%s, in a region as in the interpreter", (_what, words, daif) => {
    const machines = (["interpreter", "regions"] as const).map((tier) => new TierMachine({ tier }));
    const program = loopOf(words);
    const outcomes = machines.map((machine) => {
      machine.reset(program, 1, new Uint8Array(4096));
      machine.setField(vcpuState.daif, daif);
      return Array.from({ length: 60 }, (_, index) => {
        expect(machine.run(100 + index).exit).toBe(EngineExit.budget);
        machine.setField(vcpuState.irqSignalled, 1n);
        const { exit, unitsLeft } = machine.run(100);
        machine.setField(vcpuState.irqSignalled, 0n);
        expect(exit).toBe(HYPERVISOR_CALL);
        return [unitsLeft, machine.returnAddress, machine.count];
      });
    });
    expect(outcomes[1]).toEqual(outcomes[0]);
    expect(machines[1]?.engine.compiledRegionCount).toBeGreaterThan(0);
  });
});
