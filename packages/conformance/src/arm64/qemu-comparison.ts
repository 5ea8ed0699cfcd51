/** Compares a runner with the oracle. */
import { runUnderQemu } from "./qemu-user.js";
import { differences, type UserCase, type UserResult, type UserRunner } from "./user-case.js";

const SHOWN_CASES = 10;
const SHOWN_DIFFERENCES = 8;

/** QEMU's results: the same cases are run by several tiers. */
const oracles = new WeakMap<readonly UserCase[], readonly UserResult[]>();

function expectedOf(cases: readonly UserCase[]): readonly UserResult[] {
  const known = oracles.get(cases);
  if (known !== undefined) return known;
  const results = runUnderQemu(cases);
  oracles.set(cases, results);
  return results;
}

/** What a test expects to be empty: the first cases whose results differ from QEMU's, with their code. */
export function mismatches(run: UserRunner, cases: readonly UserCase[]): string[] {
  const expected = expectedOf(cases);
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
