/**
 * KVM_X86_SET_MSR_FILTER. Command: {name: "msr-filter", flags, ranges: [{flags, base, count, bitmap}]}. A new filter takes the
 * place of the old one as a whole.
 */
import { type ControlCommand, type EventKind, isPlainMap, PayloadFields, type PlainValue } from "@hvjournal/core";
import type { MsrFilter, MsrFilterRange } from "../msr-filter.js";
import { decided, type ControlPart, refuse } from "./control-part.js";

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

/** "deny:0x174+3" or "allow:0x10": one range, both ways; others are as before. */
function parseFilter(text: string): ControlCommand | string {
  const match = /^(deny|allow):(0x[0-9a-fA-F]+|[0-9]+)(?:\+([0-9]+))?$/.exec(text);
  if (match === null) return "expected deny:MSR+COUNT or allow:MSR+COUNT";
  const count = Number(match[3] ?? 1);
  const bitmap = new Uint8Array(Math.ceil(count / 8)).fill(match[1] === "allow" ? 0xff : 0);
  const ranges: PlainValue = [{ flags: RangeFlag.read | RangeFlag.write, base: Number(match[2]), count, bitmap }];
  return { name: "msr-filter", flags: match[1] === "allow" ? DEFAULT_DENY : 0, ranges };
}

export const msrFilterPart: ControlPart = {
  decide: {
    "msr-filter"(_state, fields) {
      const flags = fields.number("flags");
      const broken = brokenRule(flags, rangesOf(fields));
      if (broken !== undefined) return refuse("EINVAL", CALL, broken);
      return decided(filterSet, { flags, ranges: [...fields.array("ranges")] });
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
        const ranges = rangesOf(fields).map(
          (range) => `0x${range.number("base").toString(16)}+${range.number("count")}`,
        );
        return `${ranges.join(" ")}  all others ${rest}`;
      },
    },
  ],
  parse: { "msr-filter": parseFilter },
};
