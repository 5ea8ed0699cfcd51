/** Random loops end in compiled regions as they do in the interpreter. `HVJOURNAL_SEED=n` repeats a run. */
import { describe, expect, it } from "@jest/globals";
import { seedOfRun } from "../arm64/random-source.js";
import { differences, RAN_OUT } from "./case-block.js";
import { caseText } from "./comparison.js";
import { RandomCases } from "./random-cases.js";
import { userInstructions } from "./user-instructions.js";
import { vcpuRunner } from "./vcpu-runner.js";

const LOOPS = 120;
const LENGTH = 5;
const seed = seedOfRun();

describe.each([64, 32] as const)("loops of %d bits", (bits) => {
  it.each(["general", "floats and vectors"] as const)(`of %s instructions (seed ${seed})`, (group) => {
    const random = new RandomCases(seed, bits);
    const instructions = userInstructions(bits, group, { hasX87: true, toEndOnly: false });
    const cases = Array.from({ length: LOOPS }, () => random.loop(instructions, LENGTH));
    const expected = vcpuRunner({ tier: "interpreter" })(cases);
    const actual = vcpuRunner({ tier: "regions" })(cases);
    const different = cases.flatMap((userCase, index) => {
      const [left, right] = [actual[index], expected[index]];
      if (left === undefined || right === undefined) return ["no result"];
      const lines = differences(userCase, left, right, { undefinedToo: true });
      return lines.length === 0 ? [] : [caseText(userCase, lines)];
    });
    expect(different).toEqual([]);
    expect(expected.filter(({ end }) => end.vector === RAN_OUT).length).toBeGreaterThan(LOOPS / 6);
  });
});
