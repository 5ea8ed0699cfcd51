/** Tests of a group of A64 instructions against QEMU, in each tier; QEMU runs their cases once. */
import type { EngineOptions } from "@hvjournal/engine";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { describeWhere } from "../testing/describe-where.js";
import { engineRunner } from "./engine-user.js";
import { mismatches } from "./qemu-comparison.js";
import { isQemuUserAvailable, runUnderQemu } from "./qemu-user.js";
import { seedOfRun } from "./random-source.js";
import type { UserCase, UserResult, UserRunner } from "./user-case.js";

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

export const seed = seedOfRun();
if (!isQemuUserAvailable()) console.warn("qemu-aarch64 is not installed: no A64 instruction was compared with it");

export interface GroupCases {
  /** Each definition alone, again and again. */
  readonly rounds: number;
  readonly drawRound: (round: number) => readonly UserCase[];
  readonly drawSequences: () => readonly UserCase[];
}

interface JudgedCases {
  readonly cases: readonly UserCase[];
  readonly expected: readonly UserResult[];
}

function judged(cases: readonly UserCase[]): JudgedCases {
  return { cases, expected: runUnderQemu(cases) };
}

export function compareWithQemu(group: string, { rounds, drawRound, drawSequences }: GroupCases): void {
  describeWhere(isQemuUserAvailable())(`${group} (seed ${seed})`, () => {
    let alone: readonly JudgedCases[];
    let sequences: JudgedCases;
    beforeAll(() => {
      alone = Array.from({ length: rounds }, (_, round) => judged(drawRound(round)));
      sequences = judged(drawSequences());
    });

    describe.each(tiers)("in the %s tier", (_name, options) => {
      let run: UserRunner;
      beforeAll(() => {
        run = engineRunner(options);
      });

      it("leave the same registers, flags and memory as QEMU, each alone", () => {
        for (const { cases, expected } of alone) expect(mismatches(run, cases, expected)).toEqual([]);
      });

      it("leave the same registers, flags and memory as QEMU in sequences", () => {
        expect(mismatches(run, sequences.cases, sequences.expected)).toEqual([]);
      });
    });
  });
}
