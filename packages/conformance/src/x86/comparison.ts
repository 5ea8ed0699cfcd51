/** Compares runners with an oracle, case by case. */
import { type ComparisonOptions, type UserCase, type UserRunner } from "./case-block.js";
import type { Oracle } from "./native-runner.js";
import { judge } from "./open-differences.js";

const SHOWN_CASES = 10;
const SHOWN_DIFFERENCES = 8;

/** What a test expects to be empty: the first cases whose results differ, with their code. */
export function mismatches(
  run: UserRunner,
  oracle: Oracle,
  drawn: readonly UserCase[],
  options: ComparisonOptions = {},
  shown = SHOWN_CASES,
): string[] {
  const cases = drawn.filter((userCase) => oracle.canEnter(userCase));
  const expected = oracle.run(cases);
  const { toEndOnly, hasX87 } = oracle;
  return run(cases)
    .flatMap((result, index) => {
      const [userCase, wanted] = [cases[index], expected[index]];
      if (userCase === undefined || wanted === undefined) return ["no result"];
      if (wanted === "failed") return [];
      const { decided: lines } = judge(userCase, result, wanted, { ...options, toEndOnly, hasX87 });
      return lines.length === 0 ? [] : [caseText(userCase, lines)];
    })
    .slice(0, shown);
}

/** A case in one line, and what differs. */
export function caseText({ bits, code, stateSeed, mnemonics }: UserCase, lines: readonly string[]): string {
  const bytes = Buffer.from(code).toString("hex");
  return `${bits} bits, ${bytes}, state ${stateSeed} (${mnemonics.join("; ")})\n  ${lines.slice(0, SHOWN_DIFFERENCES).join("\n  ")}`;
}
