/** Items of a contract, and what two ends differ in, as people read them. */
import type { ContractItem, Observation } from "@hvjournal/core";
import type { Contract, Difference } from "../migration/migration-report.js";
import { counted } from "./value-text.js";

const VERDICT_WIDTH = 7;
const COLUMN_GAP = "  ";
/** A longer text does not push the columns of all others to the right. */
const COLUMN_WIDTH_MAX = 64;

/** "3 times, exit:309..exit:410" */
function timesText({ count, firstExit, lastExit }: Observation): string {
  if (count === 1) return `once, exit:${firstExit}`;
  return `${count} times, exit:${firstExit}..exit:${lastExit}`;
}

/** Whether the guest has asked, where that can be known. `unknownUpTo`: exits up to this one lie in another recording. */
function observationText(item: ContractItem | undefined, unknownUpTo: number): string {
  if (item?.observed !== undefined) return `guest ${item.observed.did ?? "asked"} ${timesText(item.observed)}`;
  if (item?.rule === "hidden") return "";
  if (item?.isObservable !== true) return "guest may have looked: that is no exit";
  return unknownUpTo === 0 ? "guest never asked" : `guest has not asked since exit:${unknownUpTo}`;
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((text, column) => {
      if (text.length <= COLUMN_WIDTH_MAX) widths[column] = Math.max(widths[column] ?? 0, text.length);
    });
  return rows.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join(COLUMN_GAP)
      .trimEnd(),
  );
}

/** One line an item: name, value, what the host offers, what the guest has asked for. */
export function contractLines(items: readonly ContractItem[], unknownUpTo: number): string[] {
  return columns(
    items.map((item) => {
      const { name, value, offered, observed, rule, isObservable } = item;
      const asked = observed !== undefined || (isObservable && rule !== "hidden");
      return [name, value, offered ?? "", asked ? observationText(item, unknownUpTo) : ""];
    }),
  );
}

export function itemJson({
  observed,
  range: _range,
  asked: _asked,
  askedAs: _askedAs,
  ...item
}: ContractItem): Record<string, unknown> {
  return { ...item, observed: observed ?? null };
}

/** Two contracts of which neither is to move: name, both values, and what the first guest has asked for. */
export function comparisonLines({ differences }: Contract, unknownUpTo: number): string[] {
  return columns(
    differences.map(({ name, source, destination, verdict, reason }) => [
      name,
      `${source?.value ?? "absent"} -> ${destination?.value ?? "absent"}`,
      [
        observationText(source ?? destination ?? undefined, unknownUpTo),
        ...(verdict === "fix" ? [movedText(reason)] : []),
        // Two values that read the same do not say what differs.
        ...(verdict !== "fix" && source?.value === destination?.value ? [`${verdict}: ${reason}`] : []),
      ]
        .filter((text) => text !== "")
        .join("; "),
    ]),
  );
}

function movedText(reason: string): string {
  return `in a move: ${reason}`;
}

function sourceText({ name, source }: Difference): string {
  return `${name} ${source?.value ?? "absent"}`;
}

/** What stands in the third column: the reason where nobody needs to act, else what the guest knows. */
function lastColumn(difference: Difference, unknownUpTo: number): string {
  const { verdict, reason, source, destination } = difference;
  // Where only the destination has a range, it is told with what the guest asked in it at the source.
  const told = source ?? (destination?.observed === undefined ? undefined : destination);
  const observed = observationText(told ?? undefined, unknownUpTo);
  if (verdict === "fix") return reason;
  if (verdict === "block") return observed;
  return observed === "" ? reason : `${reason}; ${observed}`;
}

export function differenceLines(differences: readonly Difference[], unknownUpTo: number): string[] {
  const rows = columns(
    differences.map((difference) => [
      sourceText(difference),
      `dst ${difference.destination?.value ?? "absent"}`,
      lastColumn(difference, unknownUpTo),
    ]),
  );
  return differences.flatMap(({ verdict, reason, advice }, index) => {
    const line = `${verdict.toUpperCase().padEnd(VERDICT_WIDTH)}${rows[index] ?? ""}`;
    if (verdict !== "block") return [line];
    return [line, `${" ".repeat(VERDICT_WIDTH)}${[reason, ...(advice ? [advice] : [])].join("; ")}`];
  });
}

/** "1 item blocks, 1 is fixed, 2 warn, 212 equal" */
export function countLine({ equal, differences }: Contract, otherBlocks: number): string {
  const count = (wanted: Difference["verdict"]): number =>
    differences.filter(({ verdict }) => verdict === wanted).length;
  const blocks = count("block") + otherBlocks;
  const [fixes, warnings] = [count("fix"), count("warn")];
  return [
    blocks === 0 ? "nothing blocks" : `${counted(blocks, "item")} ${blocks === 1 ? "blocks" : "block"}`,
    ...(fixes === 0 ? [] : [`${fixes} ${fixes === 1 ? "is" : "are"} fixed`]),
    ...(warnings === 0 ? [] : [`${warnings} ${warnings === 1 ? "warns" : "warn"}`]),
    `${equal} equal`,
  ].join(", ");
}
