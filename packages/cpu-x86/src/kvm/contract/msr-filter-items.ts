/** KVM_X86_SET_MSR_FILTER as ranges of numbers of which the same becomes. */
import type { ContractItem } from "@hvjournal/core";
import { isAllowed, type MsrFilter, type MsrFilterRange } from "../msr-filter.js";
import { MSR_FILTER_CALL, MSR_FILTER_REST_ITEM } from "./item-names.js";

const SPACES = ["rdmsr", "wrmsr"] as const;
type Space = (typeof SPACES)[number];
const MSR_MAX = 0xffff_ffff;

const kindOf = (space: Space): "read" | "write" => (space === "rdmsr" ? "read" : "write");

interface Run {
  readonly first: number;
  readonly last: number;
  readonly isAllowed: boolean;
}

/** Neighbours in a range's bitmap that are the same. */
function runsOf({ base, count, bitmap }: MsrFilterRange): Run[] {
  const runs: Run[] = [];
  for (let at = 0; at < count; at++) {
    const isAllowedHere = (((bitmap[at >> 3] ?? 0) >> (at & 7)) & 1) === 1;
    const before = runs.at(-1);
    if (before?.isAllowed === isAllowedHere) runs[runs.length - 1] = { ...before, last: base + at };
    else runs.push({ first: base + at, last: base + at, isAllowed: isAllowedHere });
  }
  return runs;
}

function rangeItems(range: MsrFilterRange): ContractItem[] {
  const spaces = SPACES.filter((space) => (kindOf(space) === "read" ? range.reads : range.writes));
  return runsOf(range).map(({ first, last, isAllowed: allowed }) => {
    const effect = allowed ? "allow" : "deny";
    const suffix = spaces.length === SPACES.length ? "" : `/${spaces.join()}`;
    return {
      name: `${MSR_FILTER_CALL} 0x${first.toString(16)}+0x${(last - first + 1).toString(16)}${suffix}`,
      ...{ value: effect, isObservable: true },
      range: { group: MSR_FILTER_CALL, spaces, first, last, effect },
    };
  });
}

export function filterItems(filter: MsrFilter | undefined): ContractItem[] {
  // An MSR of no range: whichever, they are all the same.
  const others = filter === undefined || isAllowed({ ...filter, ranges: [] }, 0, "read") ? "allow" : "deny";
  return [
    ...(filter?.ranges ?? []).flatMap(rangeItems),
    {
      ...{ name: MSR_FILTER_REST_ITEM, value: others, isObservable: true },
      range: {
        ...{ group: MSR_FILTER_CALL, spaces: SPACES, first: 0, last: MSR_MAX },
        ...{ effect: others, isRest: true },
      },
    },
  ];
}
