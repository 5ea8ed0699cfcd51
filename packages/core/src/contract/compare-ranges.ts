/**
 * Ranges of numbers, as a filter of calls has them, compared by what becomes of each number: two filters that are written
 * differently and do the same are equal, and where they differ, exactly the numbers that they differ in are told.
 */
import type { AskedNumber, ContractItem, ItemRange, Observation } from "../ports/contract.js";

type RangedItem = ContractItem & { readonly range: ItemRange };

/** Neighbouring numbers of one space of which the same becomes at each end. */
export interface Stretch {
  readonly group: string;
  /** undefined: it is the same in all spaces. */
  readonly space: string | undefined;
  readonly first: number;
  readonly last: number;
  readonly isEqual: boolean;
  /** Why the destination did not take the source's range, where it was asked to. */
  readonly refusal: string | undefined;
  /** undefined: no range of that end holds there. */
  readonly source: ContractItem | undefined;
  readonly destination: ContractItem | undefined;
}

/** One end: its ranges, what holds where none of them does, and where its guest asked. */
interface End {
  readonly ranges: readonly RangedItem[];
  readonly rest: RangedItem | undefined;
  /** Ranges that it was told of and has not: why, by name. */
  readonly refused: ReadonlyMap<string, string>;
}

interface OpenStretch extends Stretch {
  readonly space: string;
  readonly effects: string;
}

function isRanged(item: ContractItem): item is RangedItem {
  return item.range !== undefined;
}

function endOf(items: readonly ContractItem[], group: string): End {
  const ranged = items.filter(isRanged).filter(({ range }) => range.group === group);
  return {
    ranges: ranged.filter(({ range }) => range.isRest !== true),
    rest: ranged.find(({ range }) => range.isRest === true),
    refused: new Map(items.flatMap(({ name, remark }) => (remark?.verdict === "block" ? [[name, remark.text]] : []))),
  };
}

function itemAt({ ranges }: End, space: string, number: number): RangedItem | undefined {
  return ranges.find(({ range }) => range.spaces.includes(space) && number >= range.first && number <= range.last);
}

/** Where in a space something may begin to be another thing. */
function boundaries(ends: readonly End[], space: string): number[] {
  const points = ends
    .flatMap(({ ranges }) => ranges)
    .filter(({ range }) => range.spaces.includes(space))
    .flatMap(({ range: { first, last } }) => [first, last + 1]);
  return [...new Set(points)].sort((a, b) => a - b);
}

/** An item of one stretch of it: under its own value where the stretch lies in one range, else by what the ranges do. */
function joined(one: ContractItem | undefined, other: ContractItem | undefined): ContractItem | undefined {
  if (one === undefined || other === undefined || one.value === other.value) return one;
  return { ...one, value: one.range?.effect ?? one.value };
}

function stretchesOf(group: string, space: string, [source, destination]: readonly [End, End]): OpenStretch[] {
  const points = boundaries([source, destination], space);
  const found: OpenStretch[] = [];
  points.slice(0, -1).forEach((first, index) => {
    const [own, other] = [itemAt(source, space, first), itemAt(destination, space, first)];
    if (own === undefined && other === undefined) return;
    const [before, after] = [own ?? source.rest, other ?? destination.rest].map((item) => item?.range.effect ?? "");
    const last = (points[index + 1] ?? first + 1) - 1;
    const refusal = destination.refused.get((other ?? own)?.name ?? "");
    const isEqual = before === after && refusal === undefined;
    // Equal stretches need no word of which ranges they are made of.
    const effects = isEqual
      ? "equal"
      : `${before} ${after} ${own === undefined} ${other === undefined} ${refusal ?? ""}`;
    found.push({ group, space, first, last, isEqual, refusal, source: own, destination: other, effects });
  });
  return found;
}

function mergeNeighbours(stretches: readonly OpenStretch[]): OpenStretch[] {
  const merged: OpenStretch[] = [];
  for (const stretch of stretches) {
    const before = merged.at(-1);
    if (before === undefined || before.last + 1 !== stretch.first || before.effects !== stretch.effects)
      merged.push(stretch);
    else
      merged[merged.length - 1] = {
        ...before,
        last: stretch.last,
        source: joined(before.source, stretch.source),
        destination: joined(before.destination, stretch.destination),
      };
  }
  return merged;
}

function isSame(one: OpenStretch, other: OpenStretch): boolean {
  return one.first === other.first && one.last === other.last && one.effects === other.effects;
}

/** What is the same in every space stands there once. */
function mergeSpaces(bySpace: readonly (readonly OpenStretch[])[]): Stretch[] {
  const [first = [], ...others] = bySpace;
  const isEverywhere = (stretch: OpenStretch): boolean =>
    others.every((stretches) => stretches.some((each) => isSame(each, stretch)));
  const common = first.filter(isEverywhere);
  const own = bySpace.flat().filter((stretch) => !common.some((each) => isSame(each, stretch)));
  const all: Stretch[] = [...common.map((stretch) => ({ ...stretch, space: undefined })), ...own];
  return all.sort((a, b) => a.first - b.first);
}

export function compareRanges(source: readonly ContractItem[], destination: readonly ContractItem[]): Stretch[] {
  const ranged = [...source, ...destination].filter(isRanged);
  return [...new Set(ranged.map(({ range }) => range.group))].flatMap((group) => {
    const ends: readonly [End, End] = [endOf(source, group), endOf(destination, group)];
    const own = ranged.filter(({ range }) => range.group === group);
    const spaces = [...new Set(own.flatMap(({ range }) => range.spaces))];
    const stretches = mergeSpaces(spaces.map((space) => mergeNeighbours(stretchesOf(group, space, ends))));
    const { rest } = ends[0];
    return stretches.map((stretch) => withObserved(stretch, ends[0].ranges, rest?.asked ?? []));
  });
}

/** How often the source's guest asked within the stretch, where that is known; else what is known of the whole range. */
function withObserved(stretch: Stretch, ranges: readonly RangedItem[], asked: readonly AskedNumber[]): Stretch {
  const { source, destination, group } = stretch;
  const whole = ranges.find(({ name }) => name === source?.name);
  const isKnown = whole?.observed === undefined || sumIn(whole.range, asked)?.count === whole.observed.count;
  const observed = isKnown ? sumIn({ ...stretch, spaces: spacesOf(stretch) }, asked) : whole.observed;
  const cut = (item: ContractItem | undefined): ContractItem | undefined => {
    if (item === undefined) return undefined;
    const { observed: _observed, range: _range, asked: _asked, ...rest } = item;
    return { ...rest, name: stretchName(stretch), ...(observed === undefined ? {} : { observed }) };
  };
  return { ...stretch, group, source: cut(source), destination: cut(destination) };
}

function spacesOf({ space }: Stretch): readonly string[] | undefined {
  return space === undefined ? undefined : [space];
}

interface NumbersIn {
  readonly first: number;
  readonly last: number;
  /** undefined: all. */
  readonly spaces: readonly string[] | undefined;
}

function sumIn({ first, last, spaces }: NumbersIn, asked: readonly AskedNumber[]): Observation | undefined {
  const own = asked.filter(
    ({ number, space }) => number >= first && number <= last && spaces?.includes(space) !== false,
  );
  if (own.length === 0) return undefined;
  return {
    count: own.reduce((sum, { count }) => sum + count, 0),
    firstExit: Math.min(...own.map(({ firstExit }) => firstExit)),
    lastExit: Math.max(...own.map(({ lastExit }) => lastExit)),
  };
}

/** "KVM_ARM_VM_SMCCC_FILTER 0xc6000003+0x1/hvc", as a range of the filter is named. */
export function stretchName({ group, space, first, last }: Stretch): string {
  const suffix = space === undefined ? "" : `/${space}`;
  return `${group} 0x${first.toString(16)}+0x${(last - first + 1).toString(16)}${suffix}`;
}
