/**
 * KVM_X86_SET_MSR_FILTER. Commands: {name: "msr-filter", flags, ranges: [{flags, base, count, bitmap}]}, which takes the place of
 * the old one as a whole; {name: "msr-filter-range", base, count, reads, writes}, which puts what a guest may do with a range
 * before what there is.
 */
import { type ControlCommand, type EventKind, isPlainMap, PayloadFields, type PlainValue } from "@hvjournal/core";
import type { MsrFilter, MsrFilterRange } from "../msr-filter.js";
import { decided, type ControlPart, NUMBER, refuse } from "./control-part.js";

const CALL = "KVM_X86_SET_MSR_FILTER";
const RangeFlag = { read: 1, write: 2 } as const;
const DEFAULT_DENY = 1;
const RANGES_MAX = 16;
const BITMAP_BYTES_MAX = 0x600;

const filterSet: EventKind = { name: "x86.MsrFilterSet", version: 1, role: "vmm output", fields: ["flags", "ranges"] };

function rangesOf(fields: PayloadFields): PayloadFields[] {
  return fields.array("ranges").map((range) => new PayloadFields("MSR range", isPlainMap(range) ? range : {}));
}

function readRange(fields: PayloadFields): MsrFilterRange {
  const flags = fields.number("flags");
  return {
    reads: (flags & RangeFlag.read) !== 0,
    writes: (flags & RangeFlag.write) !== 0,
    base: fields.number("base"),
    count: fields.number("count"),
    bitmap: fields.bytes("bitmap"),
  };
}

/** KVM's own rules, the first that is broken. */
function brokenRule(flags: number, ranges: readonly PayloadFields[]): string | undefined {
  if ((flags & ~DEFAULT_DENY) !== 0) return `flags 0x${flags.toString(16)} are not known`;
  if (ranges.length > RANGES_MAX) return `${ranges.length} ranges: there are ${RANGES_MAX}`;
  for (const range of ranges) {
    const own = range.number("flags");
    if ((own & ~(RangeFlag.read | RangeFlag.write)) !== 0) return `a range's flags 0x${own.toString(16)} are not known`;
    const bytes = Math.ceil(range.number("count") / 8);
    if (bytes > BITMAP_BYTES_MAX || range.bytes("bitmap").length < bytes)
      return `a bitmap of ${range.bytes("bitmap").length} bytes for ${range.number("count")} MSRs`;
  }
  const isEmpty = ranges.every((range) => range.number("count") === 0);
  return isEmpty && flags === DEFAULT_DENY ? "a filter without ranges would deny everything" : undefined;
}

/** What a guest may do with the MSRs of a range, as people write it. */
const ACCESSES: ReadonlyMap<string, { readonly reads: boolean; readonly writes: boolean }> = new Map([
  ["rw", { reads: true, writes: true }],
  ["r", { reads: true, writes: false }],
  ["w", { reads: false, writes: true }],
  ["-", { reads: false, writes: false }],
]);

/** "0x174+3=r": one range, which comes before those that there are; all others are as before. */
function parseRange(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}(?:\\+${NUMBER})?=(.*)$`).exec(text);
  if (match === null) return "expected BASE+COUNT=rw|r|w|-";
  const [, base, count = "1", word = ""] = match;
  const access = ACCESSES.get(word);
  if (access === undefined) return `'${word}' is none of ${[...ACCESSES.keys()].join(", ")}`;
  const range = { base: Number(base), count: Number(count) };
  if (range.base + range.count > 2 ** 32) return `MSRs have numbers of 32 bits: ${text}`;
  if (range.count === 0 || range.count > BITMAP_BYTES_MAX * 8) return `a range has 1 to ${BITMAP_BYTES_MAX * 8} MSRs`;
  return { name: "msr-filter-range", ...range, ...access };
}

function plainRange({ base, count, reads, writes, bitmap }: MsrFilterRange): { readonly [key: string]: PlainValue } {
  const flags = (reads ? RangeFlag.read : 0) | (writes ? RangeFlag.write : 0);
  return { flags, base, count, bitmap };
}

interface Place {
  readonly base: number;
  readonly count: number;
}

/** What is not allowed takes a range; what is, only where another range might say otherwise. */
function rangesFor(
  { base, count }: Place,
  { reads, writes }: { readonly reads: boolean; readonly writes: boolean },
  others: readonly Place[],
): { readonly [key: string]: PlainValue }[] {
  const bitmap = (isAllowed: boolean): Uint8Array => new Uint8Array(Math.ceil(count / 8)).fill(isAllowed ? 0xff : 0);
  const range = (flags: number, isAllowed: boolean): { readonly [key: string]: PlainValue } => ({
    ...{ flags, base, count, bitmap: bitmap(isAllowed) },
  });
  if (reads === writes) return [range(RangeFlag.read | RangeFlag.write, reads)];
  const both = [range(RangeFlag.read, reads), range(RangeFlag.write, writes)];
  const overlaps = others.some((other) => other.base < base + count && base < other.base + other.count);
  return overlaps ? both : both.slice(reads ? 1 : 0, reads ? 2 : 1);
}

/** "0x174+3 reads and writes denied" */
function describeRange({ base, count, reads, writes, bitmap }: MsrFilterRange): string {
  const accesses = [...(reads ? ["reads"] : []), ...(writes ? ["writes"] : [])].join(" and ");
  const allowed = Array.from({ length: count }, (_, at) => ((bitmap[at >> 3] ?? 0) >> (at & 7)) & 1);
  const isAllowed = allowed.includes(1);
  const what = isAllowed && allowed.includes(0) ? "by bitmap" : isAllowed ? "allowed" : "denied";
  return `0x${base.toString(16)}+${count} ${accesses} ${what},`;
}

export const msrFilterPart: ControlPart = {
  decide: {
    "msr-filter"(_state, fields) {
      const flags = fields.number("flags");
      const broken = brokenRule(flags, rangesOf(fields));
      if (broken !== undefined) return refuse("EINVAL", CALL, broken);
      return decided(filterSet, { flags, ranges: [...fields.array("ranges")] });
    },
    "msr-filter-range"({ msrFilter }, fields) {
      const place = { base: fields.number("base"), count: fields.number("count") };
      const others = (msrFilter?.ranges ?? []).filter(
        ({ base, count }) => base !== place.base || count !== place.count,
      );
      const ranges = [
        ...rangesFor(place, { reads: fields.boolean("reads"), writes: fields.boolean("writes") }, others),
        ...others.map(plainRange),
      ];
      const flags = msrFilter?.deniesOthers === true ? DEFAULT_DENY : 0;
      if (ranges.length > RANGES_MAX)
        return refuse("EINVAL", CALL, `there would be ${ranges.length} ranges of ${RANGES_MAX}`);
      return decided(filterSet, { flags, ranges });
    },
  },
  events: [
    {
      kind: filterSet,
      evolve: (state, fields) => {
        const msrFilter: MsrFilter = {
          deniesOthers: (fields.number("flags") & DEFAULT_DENY) !== 0,
          ranges: rangesOf(fields).map(readRange),
        };
        return { ...state, msrFilter };
      },
      describe(fields) {
        const rest = (fields.number("flags") & DEFAULT_DENY) === 0 ? "allowed" : "denied";
        const ranges = rangesOf(fields).map((range) => describeRange(readRange(range)));
        return `${ranges.join(" ")}  all others ${rest}`;
      },
    },
  ],
  parse: { "msr-filter": parseRange },
};
