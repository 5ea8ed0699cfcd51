/**
 * Definitions of x86 that user code may use, against the host's own CPU and QEMU: alone with random operands, and in
 * sequences, interpreted and compiled. `HVJOURNAL_SEED=n` repeats a run.
 */
import type { EngineOptions, Instruction } from "@hvjournal/engine";
import { describe, expect, it } from "@jest/globals";
import { seedOfRun } from "../arm64/random-source.js";
import type { Bits, UserCase } from "./case-block.js";
import { mismatches } from "./comparison.js";
import { hostOracle, type Oracle, qemuOracle } from "./native-runner.js";
import { RandomCases } from "./random-cases.js";
import { userInstructions } from "./user-instructions.js";
import { vcpuRunner } from "./vcpu-runner.js";

const CASES_EACH = 6;
const SEQUENCES = 200;
const SEQUENCE_LENGTH = 6;
const seed = seedOfRun();

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreted", {}],
  ["in compiled blocks", { tier: "blocks" }],
];

function casesOf(bits: Bits, oracle: Oracle): UserCase[] {
  const random = new RandomCases(seed, bits);
  const instructions = userInstructions(bits, oracle);
  const single = instructions.flatMap((instruction: Instruction) =>
    Array.from({ length: CASES_EACH }, () => random.single(instruction)).filter((made) => made !== undefined),
  );
  const sequences = Array.from({ length: SEQUENCES }, () => random.sequence(instructions, SEQUENCE_LENGTH));
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

describe.each([64, 32] as const)("user code of %d bits", (bits) => {
  const oracles = available([hostOracle(bits), qemuOracle(bits)]);
  const describeEach = oracles.length === 0 ? describe.skip : describe;
  describeEach.each(oracles.map((oracle) => [oracle.name, oracle] as const))("compared with %s", (_name, oracle) => {
    const cases = casesOf(bits, oracle);
    it.each(tiers)(`ends alike, %s (seed ${seed})`, (_tier, options) => {
      expect(mismatches(vcpuRunner(options), oracle, cases)).toEqual([]);
    });
  });
});
