/** `smccc-filter`. Command: {name: "smccc-filter", base, count, action, conduits?}; action: 0 handle, 1 deny, 2 forward. */
import type { ControlCommand, EventKind } from "@hvjournal/core";
import {
  checkFilterRequest,
  conduitsSuffix,
  FILTER_ACTIONS,
  type FilterAction,
  isConduit,
  rangeText,
} from "../smccc/smccc-filter.js";
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

function parseFilter(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}\\+${NUMBER}=(\\w+)(?:/(\\w+))?$`).exec(text);
  const action = FILTER_ACTIONS.indexOf((match?.[3] ?? "") as FilterAction);
  const conduits = match?.[4];
  if (match === null || action < 0 || (conduits !== undefined && !isConduit(conduits)))
    return "expected BASE+COUNT=handle|deny|forward, with /hvc or /smc behind it for one conduit alone";
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
      const refused = checkFilterRequest(state.smcccFilter, request, hasRun);
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
  ],
  parse: { "smccc-filter": parseFilter },
};
