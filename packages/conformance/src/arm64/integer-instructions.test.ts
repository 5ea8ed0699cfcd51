/**
 * Every integer definition, interpreted and compiled, against QEMU: alone with random registers, and in
 * sequences. `HVJOURNAL_SEED=n` repeats a run.
 */
import {
  branches,
  dataProcessingImmediate,
  dataProcessingRegister,
  exclusives,
  loadsAndStores,
} from "@hvjournal/cpu-arm64";
import type { EngineOptions } from "@hvjournal/engine";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { engineRunner } from "./engine-user.js";
import { mismatches } from "./qemu-comparison.js";
import { isQemuUserAvailable } from "./qemu-user.js";
import { RandomCases } from "./random-cases.js";
import { seedOfRun } from "./random-source.js";
import type { UserCase } from "./user-case.js";

const instructions = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
];
const CASES_EACH = 8;
const SEQUENCES = 200;
const SEQUENCE_WORDS = 40;

const seed = seedOfRun();
const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

const describeWithQemu = isQemuUserAvailable() ? describe : describe.skip;
if (!isQemuUserAvailable()) console.warn("qemu-aarch64 is not installed: no A64 instruction was compared with it");

describeWithQemu(`A64 integer instructions (seed ${seed})`, () => {
  let rounds: readonly (readonly UserCase[])[];
  let sequences: readonly UserCase[];
  beforeAll(() => {
    rounds = Array.from({ length: CASES_EACH }, (_, round) => {
      const random = new RandomCases(seed + round, instructions);
      return instructions.map((instruction, index) => random.single(instruction, index));
    });
    const random = new RandomCases(seed, instructions);
    sequences = Array.from({ length: SEQUENCES }, (_, index) => random.sequence(SEQUENCE_WORDS, index));
  });

  describe.each(tiers)("in the %s tier", (_name, options) => {
    it("leave the same registers, flags and memory as QEMU, each alone", () => {
      const run = engineRunner(options);
      for (const cases of rounds) expect(mismatches(run, cases)).toEqual([]);
    });

    it("leave the same registers, flags and memory as QEMU in sequences with branches", () => {
      expect(mismatches(engineRunner(options), sequences)).toEqual([]);
    });
  });
});
