/** Tests that compare definitions with the oracles that there are: alone with random operands, and in sequences. */
import type { EngineOptions, Instruction } from "@hvjournal/engine";
import { describe, expect, it } from "@jest/globals";
import { seedOfRun } from "../arm64/random-source.js";
import { describeWhere } from "../testing/describe-where.js";
import type { Bits, UserCase } from "./case-block.js";
import { mismatches } from "./comparison.js";
import { hostOracle, type Oracle, qemuOracle } from "./native-runner.js";
import { RandomCases } from "./random-cases.js";
import { type InstructionGroup, userInstructions } from "./user-instructions.js";
import { vcpuRunner } from "./vcpu-runner.js";

const seed = seedOfRun();

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreted", {}],
  ["in compiled blocks", { tier: "blocks" }],
];

export interface CaseCounts {
  readonly casesEach: number;
  readonly sequences: number;
  readonly sequenceLength: number;
}

/** Random cases of all definitions of a group. */
function casesOf(bits: Bits, instructions: readonly Instruction[], counts: CaseCounts): UserCase[] {
  const random = new RandomCases(seed, bits);
  const single = instructions.flatMap((instruction) =>
    Array.from({ length: counts.casesEach }, () => random.single(instruction)).filter((made) => made !== undefined),
  );
  const sequences = Array.from({ length: counts.sequences }, () =>
    random.sequence(instructions, counts.sequenceLength),
  );
  return [...single, ...sequences];
}

/** Why some oracle is missing is said, and its cases are left out. */
function available(oracles: readonly (Oracle | string)[]): Oracle[] {
  return oracles.filter((oracle) => {
    if (typeof oracle !== "string") return true;
    console.warn(`no x86 instruction was compared: ${oracle}`);
    return false;
  }) as Oracle[];
}

export function compareWithOracles(group: InstructionGroup, counts: CaseCounts): void {
  describe.each([64, 32] as const)("user code of %d bits", (bits) => {
    // QEMU is slow, and the less exact one of the two: its approximations, MXCSR.DE and NaNs are not those of a CPU.
    const others = group === "general" ? [qemuOracle(bits)] : [];
    const [oracle] = available([hostOracle(bits), ...others]);
    if (oracle === undefined) {
      // A suite has a test; this one is counted as skipped.
      describeWhere(false)("compared with a CPU", () => it("ends alike", () => undefined));
      return;
    }
    const cases = casesOf(bits, userInstructions(bits, group, oracle), counts);
    it.each(tiers)(`compared with ${oracle.name} ends alike, %s (seed ${seed})`, (_tier, options) => {
      expect(mismatches(vcpuRunner(options), oracle, cases)).toEqual([]);
    });
  });
}
