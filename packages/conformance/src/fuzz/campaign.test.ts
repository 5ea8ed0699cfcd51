/** `npm run fuzz`: a short run of it on both architectures, and what it does with a difference. */
import { describe, expect, it } from "@jest/globals";
import { isQemuUserAvailable } from "../arm64/qemu-user.js";
import { seedOfRun } from "../arm64/random-source.js";
import { describeWhere } from "../testing/describe-where.js";
import { hostOracle } from "../x86/native-runner.js";
import { arm64Targets } from "./arm64-target.js";
import { Campaign, type FuzzTarget } from "./campaign.js";
import { x86Targets } from "./x86-target.js";

const seed = seedOfRun();
const all = { matches: /./, tier: undefined };

/** A kernel may run no programs of 32 bits. */
const hostBits = ([64, 32] as const).filter((bits) => typeof hostOracle(bits) !== "string");

describeWhere(hostBits.length > 0)("amd64", () => {
  it(`differs from the host's CPU in none of some thousand random cases, which meet nearly every definition (seed ${seed})`, () => {
    const groups = ["general", "floats and vectors"] as const;
    const targets = x86Targets({ ...all, bits: hostBits, groups, oracle: undefined, undefinedToo: false });
    const { shown, coverage } = new Campaign().run(targets, seed, 3400, () => undefined);
    expect(shown).toEqual([]);
    expect([...coverage.values()].filter(({ cases }) => cases === 0).length).toBeLessThan(20);
  });
});

describeWhere(isQemuUserAvailable())("arm64", () => {
  it(`differs from QEMU in none of some thousand random cases, which meet every definition (seed ${seed})`, () => {
    const { shown, coverage } = new Campaign().run(arm64Targets(all), seed, 2048, () => undefined);
    expect(shown).toEqual([]);
    expect([...coverage.values()].filter(({ cases }) => cases === 0)).toEqual([]);
  });
});

/** Words of which every one with bit 0 set differs. */
class Odd implements FuzzTarget<readonly number[]> {
  readonly name = "odd";
  readonly definitions = ["even", "odd", "never"];

  draw(first: number): readonly (readonly number[])[] {
    return [[2 * first], [2, 3, 4]];
  }

  compare(cases: readonly (readonly number[])[]): ReturnType<FuzzTarget<readonly number[]>["compare"]> {
    return cases.map((words) => ({
      ended: true,
      isOpen: false,
      lines: words.some((word) => word % 2 === 1) ? ["x0: 0x1, not 0x0"] : [],
    }));
  }

  definitionsOf(words: readonly number[]): string[] {
    return words.map((word) => (word % 2 === 1 ? "odd" : "even"));
  }

  shorter(words: readonly number[]): readonly (readonly number[])[] {
    return words.map((_, place) => words.filter((_word, index) => index !== place));
  }

  vectors(cases: readonly (readonly number[])[]): { title: string; line: string }[] {
    return cases.map((words) => ({ title: "odd", line: words.join() }));
  }
}

describe("a difference", () => {
  it("is reduced to what it needs and printed as a vector, and coverage tells what was never met", () => {
    const { cases, differing, shown, coverage } = new Campaign().run([new Odd()], 7, 3, () => undefined);
    expect([cases, differing]).toEqual([3, 1]);
    expect(shown).toEqual(["odd\n  x0: 0x1, not 0x0\n# odd\n3"]);
    expect([...coverage].map(([name, { cases: met }]) => [name, met])).toEqual([
      ["even", 3],
      ["odd", 1],
      ["never", 0],
    ]);
  });
});
