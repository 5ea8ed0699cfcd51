/** The amd64 part of the control plane, composed of its subjects. The commands stand with each of them in `control/`. */
import { type ControlEvent, type ControlSlice, PayloadFields } from "@hvjournal/core";
import { isCapability } from "./capabilities.js";
import { capabilityName, capabilityPart } from "./control/capability-part.js";
import type { ControlPart, EventPart } from "./control/control-part.js";
import { type Amd64ControlState, initialAmd64State, isEnabled } from "./control/control-state.js";
import { hostPart } from "./control/host-part.js";
import { hypervPart } from "./control/hyperv-part.js";
import { msrFilterPart } from "./control/msr-filter-part.js";
import { policyPart } from "./control/policy-part.js";

export type { Amd64ControlState } from "./control/control-state.js";

const PARTS: readonly ControlPart[] = [capabilityPart, policyPart, msrFilterPart, hypervPart, hostPart];

const decisions = new Map(PARTS.flatMap(({ decide }) => Object.entries(decide)));
const words = new Map(PARTS.flatMap(({ parse }) => Object.entries(parse)));
const events = new Map(PARTS.flatMap((part) => part.events.map((each) => [each.kind.name, each] as const)));

function eventPart({ kind }: ControlEvent): EventPart {
  const found = events.get(kind);
  if (found === undefined) throw new RangeError(`${kind} is no control event of amd64`);
  return found;
}

/** 1 or 0 for a capability that a VM on amd64 has, undefined for any other. */
function queryCapability(state: Amd64ControlState, name: string | bigint): bigint | undefined {
  if (typeof name !== "string") return undefined;
  const capability = capabilityName(name);
  if (!isCapability(capability)) return undefined;
  return isEnabled(state, capability) ? 1n : 0n;
}

export const amd64ControlSlice: ControlSlice<Amd64ControlState> = {
  kinds: [...events.values()].map(({ kind }) => kind),

  initialState: initialAmd64State,

  decide(state, command, context) {
    const decide = decisions.get(command.name);
    if (decide !== undefined) return decide(state, new PayloadFields(command.name, command), context, command);
    const reason = `amd64 has no command ${command.name}: ${[...decisions.keys()].join(", ")}`;
    return { refused: { errno: "ENOTTY", call: command.name, reason } };
  },

  evolve: (state, event, seq) =>
    eventPart(event).evolve(state, new PayloadFields(event.kind, event.payload), event, seq),

  query: (state, what, name) => (what === "cap" ? queryCapability(state, name) : undefined),

  describe: (event) => eventPart(event).describe(new PayloadFields(event.kind, event.payload), event),

  parse(word, text) {
    const parse = words.get(word);
    return parse === undefined ? `amd64 has no ${word}: ${[...words.keys()].join(", ")}` : parse(text);
  },
};
