/** KVM_ENABLE_CAP. Command: {name: "cap", capability, args, vcpu?}; of a vCPU's capability without vCPU: of all. */
import type { ControlCommand, EventKind } from "@hvjournal/core";
import { CAP_PREFIX, ENABLEABLE } from "../capabilities.js";
import { decided, type ControlPart, NUMBER, refuse } from "./control-part.js";
import { isEnabled } from "./control-state.js";

const ENABLE_CAP = "KVM_ENABLE_CAP";

const capEnabled: EventKind = {
  name: "x86.CapEnabled",
  version: 1,
  role: "vmm output",
  fields: ["name", "args", "old", "new"],
};

/** KVM's name of a capability that is given with or without the prefix. */
export function capabilityName(given: string): string {
  const name = given.toUpperCase();
  return name.startsWith(CAP_PREFIX) ? name : `${CAP_PREFIX}${name}`;
}

function argumentsOf(args: readonly unknown[]): bigint[] {
  return args.map((arg) => BigInt(typeof arg === "bigint" || typeof arg === "number" ? arg : 0));
}

function parseCapability(text: string): ControlCommand | string {
  const match = new RegExp(`^(\\w+)(?:=(${NUMBER}(?:,${NUMBER})*))?$`).exec(text);
  if (match === null) return "expected NAME or NAME=NUMBER,...";
  const args = match[2] === undefined ? [] : match[2].split(",").map(BigInt);
  return { name: "cap", capability: capabilityName(match[1] ?? ""), args };
}

export const capabilityPart: ControlPart = {
  decide: {
    cap(state, fields) {
      const name = fields.string("capability");
      const args = argumentsOf(fields.array("args"));
      const enableable = Object.hasOwn(ENABLEABLE, name) ? ENABLEABLE[name] : undefined;
      if (enableable === undefined)
        return refuse(
          "EINVAL",
          ENABLE_CAP,
          `${name} can't be enabled on amd64; ${Object.keys(ENABLEABLE).join(", ")} can`,
        );
      const unknown = enableable.mask === undefined ? 0n : (args[0] ?? 0n) & ~enableable.mask;
      if (unknown !== 0n) return refuse("EINVAL", ENABLE_CAP, `${name}: bits 0x${unknown.toString(16)} are not known`);
      return decided(capEnabled, { name, args, old: isEnabled(state, name), new: true });
    },
  },
  events: [
    {
      kind: capEnabled,
      evolve: (state, fields) => {
        const name = fields.string("name");
        const args = argumentsOf(fields.array("args"));
        return { ...state, capabilities: [...state.capabilities.filter((each) => each.name !== name), { name, args }] };
      },
      describe: (fields) => {
        const args = fields.array("args").map(String);
        return args.length === 0 ? fields.string("name") : `${fields.string("name")}=${args.join(",")}`;
      },
    },
  ],
  parse: { cap: parseCapability },
};
