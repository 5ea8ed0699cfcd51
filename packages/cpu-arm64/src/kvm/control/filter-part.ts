/**
 * The SMCCC filter. Commands:
 *
 *     {name: "smccc-filter", base, count, action, conduits?}      action: 0 handle, 1 deny, 2 forward
 *     {name: "smccc-filter-import", blob}                         what HVJ_SMCCC_FILTER_EXPORT of another VM has read
 */
import {
  type ControlCommand,
  type EventKind,
  type EventPayload,
  isPlainMap,
  meantHint,
  PayloadFields,
  type PlainValue,
  type Refusal,
} from "@hvjournal/core";
import { hostModelOf } from "../host-model.js";
import { readFilterExport } from "../smccc/filter-export.js";
import {
  checkFilterRequest,
  conduitsSuffix,
  FILTER_ACTIONS,
  FILTER_CALL,
  type FilterAction,
  type FilterRange,
  isConduit,
  rangeText,
} from "../smccc/smccc-filter.js";
import type { Arm64ControlState } from "./control-state.js";
import { decided, type ControlPart, NUMBER } from "./control-part.js";

const filterSet: EventKind = {
  name: "arm64.SmcccFilterSet",
  version: 1,
  role: "vmm output",
  // `conduits` is there only where the range holds for one of both.
  fields: ["base", "count", "old", "new", "conduits"],
};

function actionOf(text: string): FilterAction {
  const found = FILTER_ACTIONS.find((action) => action === text);
  if (found === undefined) throw new RangeError(`${text} is no action of a filter: ${FILTER_ACTIONS.join(", ")}`);
  return found;
}

/** The numbers of the events that set the ranges come along: they say which rule decided a call. */
const filterImported: EventKind = {
  name: "arm64.SmcccFilterImported",
  version: 1,
  role: "vmm output",
  fields: ["ranges"],
};

function rangePayload({ base, count, action, seq, conduits }: FilterRange): EventPayload {
  return { base, count, action, seq, ...(conduits === undefined ? {} : { conduits }) };
}

function readRange(value: PlainValue): FilterRange {
  const fields = new PayloadFields("filter range", isPlainMap(value) ? value : {});
  const conduits = fields.has("conduits") ? fields.string("conduits") : undefined;
  return {
    base: fields.number("base"),
    count: fields.number("count"),
    action: actionOf(fields.string("action")),
    seq: fields.number("seq"),
    ...(isConduit(conduits) ? { conduits } : {}),
  };
}

/** A kernel from before the filter has no such attribute. */
function hostRefusesFilter({ firmware }: Arm64ControlState): Refusal | undefined {
  const { name, hasSmcccFilter } = hostModelOf(firmware.host);
  if (hasSmcccFilter) return undefined;
  return { errno: "ENXIO", call: FILTER_CALL, reason: `host ${name} has no SMCCC filter` };
}

/** A whole filter at once, by the rules for one range after the other. undefined: it may be set. */
function checkRanges(state: Arm64ControlState, ranges: readonly FilterRange[], hasRun: boolean): Refusal | undefined {
  if (hasRun) return { errno: "EBUSY", call: FILTER_CALL, reason: "a vCPU has run; import it before the start" };
  const refused = ranges.length === 0 ? undefined : hostRefusesFilter(state);
  if (refused !== undefined) return refused;
  const set: FilterRange[] = [...state.smcccFilter];
  for (const range of ranges) {
    const request = { ...range, action: FILTER_ACTIONS.indexOf(range.action) };
    const wrong = checkFilterRequest(set, request, hasRun);
    if (wrong !== undefined) return wrong;
    set.push(range);
  }
  return undefined;
}

/** Puts the filter of a saved state into one that has none, as the import of an export does. */
export function placeFilter(
  state: Arm64ControlState,
  ranges: readonly FilterRange[],
  hasRun: boolean,
): { readonly state: Arm64ControlState } | { readonly refused: Refusal } {
  const refused = checkRanges(state, ranges, hasRun);
  return refused === undefined ? { state: { ...state, smcccFilter: ranges } } : { refused };
}

function parseFilter(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}\\+${NUMBER}=(\\w+)(?:/(\\w+))?$`).exec(text);
  const word = match?.[3] ?? "";
  const action = FILTER_ACTIONS.indexOf(word as FilterAction);
  const conduits = match?.[4];
  if (match === null || action < 0 || (conduits !== undefined && !isConduit(conduits))) {
    const hint = action < 0 ? meantHint(word, FILTER_ACTIONS) : "";
    return `expected BASE+COUNT=handle|deny|forward, with /hvc or /smc behind it for one conduit alone${hint}`;
  }
  const command = { name: "smccc-filter", base: Number(match[1]), count: Number(match[2]), action };
  return conduits === undefined ? command : { ...command, conduits };
}

export const filterPart: ControlPart = {
  decide: {
    "smccc-filter"(state, fields, { hasRun }) {
      const conduits = fields.has("conduits") ? fields.string("conduits") : undefined;
      const request = {
        base: fields.number("base"),
        count: fields.number("count"),
        action: fields.number("action"),
        conduits,
      };
      const refused = hostRefusesFilter(state) ?? checkFilterRequest(state.smcccFilter, request, hasRun);
      if (refused !== undefined) return { refused };
      // No range is ever replaced: before, no entry held.
      return decided(filterSet, {
        base: request.base,
        count: request.count,
        old: null,
        new: FILTER_ACTIONS[request.action] ?? null,
        ...(conduits === undefined ? {} : { conduits }),
      });
    },
    "smccc-filter-import"(state, fields, { hasRun }) {
      const read = readFilterExport(fields.bytes("blob"));
      if ("refused" in read) return read;
      const refused = checkRanges(state, read.ranges, hasRun);
      return refused === undefined ? decided(filterImported, { ranges: read.ranges.map(rangePayload) }) : { refused };
    },
  },
  events: [
    {
      kind: filterSet,
      evolve: (state, fields, _event, seq) => {
        const conduits = fields.has("conduits") ? fields.string("conduits") : undefined;
        const range = {
          base: fields.number("base"),
          count: fields.number("count"),
          action: actionOf(fields.string("new")),
          seq,
          ...(isConduit(conduits) ? { conduits } : {}),
        };
        return { ...state, smcccFilter: [...state.smcccFilter, range] };
      },
      describe: (fields) =>
        `${rangeText(fields.number("base"), fields.number("count"))} ${fields.string("new")}${conduitsSuffix(fields.has("conduits") ? fields.string("conduits") : undefined)}`,
    },
    {
      kind: filterImported,
      evolve: (state, fields) => ({ ...state, smcccFilter: fields.array("ranges").map(readRange) }),
      describe: (fields) =>
        fields
          .array("ranges")
          .map(readRange)
          .map(({ base, count, action, conduits }) => `${rangeText(base, count)} ${action}${conduitsSuffix(conduits)}`)
          .join(", ") || "no range",
    },
  ],
  parse: { "smccc-filter": parseFilter },
};
