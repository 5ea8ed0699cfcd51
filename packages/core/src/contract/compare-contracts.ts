/** Two contracts, item by item: what stands in the way of a move, what the move mends, and what nobody will miss. */
import type { ContractItem } from "../ports/contract.js";

export type ItemVerdict = "block" | "fix" | "warn";

export interface ContractDifference {
  readonly name: string;
  /** undefined: that side does not have it. */
  readonly source: ContractItem | undefined;
  readonly destination: ContractItem | undefined;
  readonly verdict: ItemVerdict;
  /** Why, in lower case. */
  readonly reason: string;
  /** What would help. */
  readonly advice: string | undefined;
}

export interface ContractComparison {
  readonly equal: number;
  /** What blocks first, then what is fixed, then what warns. */
  readonly differences: readonly ContractDifference[];
}

const ORDER: readonly ItemVerdict[] = ["block", "fix", "warn"];

type Judgement = Pick<ContractDifference, "verdict" | "reason">;

function judge(source: ContractItem | undefined, destination: ContractItem | undefined): Judgement | undefined {
  if (source === undefined) return judgeAlone(destination, "the source does not have it");
  if (destination === undefined) return judgeAlone(source, "the destination does not have it");
  const { remark } = destination;
  if (remark?.verdict === "block") return { verdict: "block", reason: remark.text };
  if (source.value === destination.value)
    return remark === undefined ? undefined : { verdict: remark.verdict, reason: remark.text };
  if (source.rule === "hidden") return { verdict: "warn", reason: "no guest can tell by it" };
  if (source.rule === "at least" && (destination.level ?? -1) >= (source.level ?? 0))
    return { verdict: "warn", reason: source.enough ?? "the destination has at least as much" };
  if (source.rule === "at least") return { verdict: "block", reason: remark?.text ?? "the destination offers less" };
  return { verdict: "block", reason: remark?.text ?? "the destination can't do the same" };
}

function judgeAlone(item: ContractItem | undefined, reason: string): Judgement {
  return { verdict: item?.rule === "hidden" ? "warn" : "block", reason: item?.remark?.text ?? reason };
}

export function compareContracts(
  source: readonly ContractItem[],
  destination: readonly ContractItem[],
): ContractComparison {
  const there = new Map(destination.map((item) => [item.name, item]));
  const here = new Map(source.map((item) => [item.name, item]));
  const differences: ContractDifference[] = [];
  let equal = 0;
  for (const name of new Set([...here.keys(), ...there.keys()])) {
    const [own, other] = [here.get(name), there.get(name)];
    const judgement = judge(own, other);
    if (judgement === undefined) equal += 1;
    else
      differences.push({
        ...{ name, source: own, destination: other, ...judgement },
        advice: judgement.verdict === "block" ? (own ?? other)?.advice : undefined,
      });
  }
  differences.sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
  return { equal, differences };
}

/** One line for each item that blocks. */
export function blockingReasons({ differences }: ContractComparison): string[] {
  return differences
    .filter(({ verdict }) => verdict === "block")
    .map(
      ({ name, source, destination, reason }) =>
        `${name} is ${source?.value ?? "absent"} at the source and ${destination?.value ?? "absent"} here: ${reason}`,
    );
}
