/** Compares a runner with QEMU's results. */
import { differences, type UserCase, type UserResult, type UserRunner } from "./user-case.js";

const SHOWN_CASES = 10;
const SHOWN_DIFFERENCES = 8;

/** What a test expects to be empty: the first cases whose results differ from QEMU's, with their code. */
export function mismatches(run: UserRunner, cases: readonly UserCase[], expected: readonly UserResult[]): string[] {
  return run(cases)
    .flatMap((result, index) => {
      const oracle = expected[index];
      const lines = oracle === undefined ? ["no result of QEMU"] : differences(result, oracle);
      if (lines.length === 0) return [];
      const words = cases[index]?.words.map((word) => word.toString(16).padStart(8, "0")).join(" ");
      return [`case ${index}: ${words}\n  ${lines.slice(0, SHOWN_DIFFERENCES).join("\n  ")}`];
    })
    .slice(0, SHOWN_CASES);
}
