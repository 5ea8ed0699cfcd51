/** Two contracts, item by item: what stands in the way of a move, what the move mends, and what nobody will miss. */
import type { ContractItem } from "../ports/contract.js";
import { compareRanges, type Stretch, stretchName } from "./compare-ranges.js";

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
  if (remark !== undefined) return { verdict: remark.verdict, reason: remark.text };
  if (source.value === destination.value) return undefined;
  if (source.rule === "hidden") return { verdict: "warn", reason: "no guest can tell by it" };
  if (source.rule === "at least" && (destination.level ?? -1) >= (source.level ?? 0))
    return { verdict: "warn", reason: source.enough ?? "the destination has at least as much" };
  if (source.rule === "at least") return { verdict: "block", reason: "the destination offers less" };
  return { verdict: "block", reason: "the destination can't do the same" };
}

function judgeAlone(item: ContractItem | undefined, reason: string): Judgement {
  return { verdict: item?.rule === "hidden" ? "warn" : "block", reason: item?.remark?.text ?? reason };
}

function isRange({ range }: ContractItem): boolean {
  return range !== undefined && range.isRest !== true;
}

/** undefined: the guest can't tell. */
function judgeStretch({ source, destination, isEqual, refusal }: Stretch): Judgement | undefined {
  if (isEqual) return undefined;
  if (refusal !== undefined) return { verdict: "block", reason: refusal };
  return judge(source, destination) ?? { verdict: "block", reason: "the destination can't do the same" };
}

interface Compared {
  readonly name: string;
  readonly source: ContractItem | undefined;
  readonly destination: ContractItem | undefined;
  readonly judgement: Judgement | undefined;
}

/** What stands for itself, and is not one of several ranges. */
function byName(items: readonly ContractItem[], ranges: ReadonlySet<string>): Map<string, ContractItem> {
  return new Map(items.filter(({ name }) => !ranges.has(name)).map((item) => [item.name, item]));
}

function compareNamed(source: readonly ContractItem[], destination: readonly ContractItem[]): Compared[] {
  // A range that the destination has refused stands there without its numbers.
  const ranges = new Set([...source, ...destination].filter(isRange).map(({ name }) => name));
  const [here, there] = [byName(source, ranges), byName(destination, ranges)];
  return [...new Set([...here.keys(), ...there.keys()])].map((name) => {
    const [own, other] = [here.get(name), there.get(name)];
    return { name, source: own, destination: other, judgement: judge(own, other) };
  });
}

export function compareContracts(
  source: readonly ContractItem[],
  destination: readonly ContractItem[],
): ContractComparison {
  const stretches = compareRanges(source, destination).map((stretch): Compared => ({
    ...stretch,
    name: stretchName(stretch),
    judgement: judgeStretch(stretch),
  }));
  const differences: ContractDifference[] = [];
  let equal = 0;
  for (const { name, source: own, destination: other, judgement } of [
    ...compareNamed(source, destination),
    ...stretches,
  ]) {
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
