/** A long campaign of `regions.test.ts`: each seed has engines of its own. `HVJOURNAL_SEED=n` repeats a run. */
import { expect, it } from "@jest/globals";
import { RandomSource, seedOfRun } from "./random-source.js";
import { TierComparison } from "./tier-comparison.js";

const SEEDS = 60;
const PROGRAMS = 300;
const first = seedOfRun();

it.each(Array.from({ length: SEEDS }, (_, index) => first + index))(
  "regions and the interpreter agree at every stop (seed %d)",
  (seed) => {
    const random = new RandomSource(seed);
    const comparison = new TierComparison(random, [
      { tier: "interpreter", tlbEntries: random.pick([2, 16, 4096]) },
      { tier: "regions", tlbEntries: random.pick([2, 16, 256, 4096]) },
    ]);
    for (let program = 0; program < PROGRAMS; program++)
      expect([program, comparison.runProgram()]).toEqual([program, undefined]);
    expect(comparison.regions).toBeGreaterThan(PROGRAMS);
  },
);
