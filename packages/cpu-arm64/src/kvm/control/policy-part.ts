/** `policy NAME=VALUE`. Command: {name: "policy", policy, value}. */
import { type ControlCommand, type EventKind, meantHint, type PayloadFields } from "@hvjournal/core";
import { decided, type ControlPart, refuse } from "./control-part.js";
import type { Arm64ControlState, PolicySetting } from "./control-state.js";
import { policyNamed, POLICIES, type PolicyName } from "./policies.js";

const CALL = "KVM_ENABLE_CAP";

const policySet: EventKind = {
  name: "arm64.PolicySet",
  version: 1,
  role: "vmm output",
  fields: ["name", "old", "new"],
};

/** The value in force: what was set, or upstream's. */
export function policyValue({ policies = [] }: Arm64ControlState, name: PolicyName): string {
  return policies.find((each) => each.name === name)?.value ?? policyNamed(name)?.values[0] ?? "";
}

/** The setting in force where it is not upstream's. */
export function policySetting({ policies = [] }: Arm64ControlState, name: PolicyName): PolicySetting | undefined {
  return policies.find((each) => each.name === name && each.value !== policyNamed(name)?.values[0]);
}

function parsePolicy(text: string): ControlCommand | string {
  const [, name = "", value = ""] = /^([\w.]+)=(.*)$/.exec(text) ?? [];
  if (name === "") return "expected NAME=VALUE";
  const policy = policyNamed(name);
  const names = POLICIES.map((each) => each.name);
  if (policy === undefined) return `${name} is none of ${names.join(", ")}${meantHint(name, names)}`;
  const { values } = policy;
  if (!values.includes(value)) return `'${value}' is none of ${values.join(", ")}${meantHint(value, values)}`;
  return { name: "policy", policy: name, value };
}

export const policyPart: ControlPart = {
  decide: {
    policy(state, fields, { hasRun }) {
      const [name, value] = [fields.string("policy"), fields.string("value")];
      const policy = policyNamed(name);
      if (policy === undefined) return refuse("EINVAL", CALL, `there is no policy ${name}`);
      const { capability, values, frozenByRun } = policy;
      if (!values.includes(value))
        return refuse("EINVAL", CALL, `${capability.name}: ${name}=${value}: it takes ${values.join(", ")}`);
      if (frozenByRun && hasRun)
        return refuse(
          "EBUSY",
          CALL,
          `${capability.name}: a vCPU has run; set it before the start`,
          `hvjournal record --policy ${name}=${value}`,
        );
      return decided(policySet, { name, old: policyValue(state, policy.name), new: value });
    },
  },
  events: [
    {
      kind: policySet,
      evolve: (state, fields, _event, seq) => {
        const policy = policyNamed(fields.string("name"));
        if (policy === undefined) throw new RangeError(`there is no policy ${fields.string("name")}`);
        const { name } = policy;
        const others = (state.policies ?? []).filter((each) => each.name !== name);
        return { ...state, policies: [...others, { name, value: fields.string("new"), seq }] };
      },
      describe: (fields: PayloadFields) =>
        `${fields.string("name")}  ${fields.string("old")} -> ${fields.string("new")}`,
    },
  ],
  parse: { policy: parsePolicy },
};
