/**
 * Hyper-V enlightenments that the vCPUs' CPUID offers. Command: {name: "hv", features}; as KVM_SET_CPUID2 it is refused with
 * EINVAL once a vCPU has run, unless nothing changes.
 */
import type { ControlCommand, EventKind } from "@hvjournal/core";
import { featureNamed, HYPERV_FEATURES } from "../hyperv/features.js";
import { decided, type ControlPart, refuse } from "./control-part.js";

const CALL = "KVM_SET_CPUID2";

const hypervSet: EventKind = { name: "x86.HypervSet", version: 1, role: "vmm output", fields: ["old", "new"] };

/** In the order of the table, each once. */
function inOrder(names: readonly string[]): string[] {
  return HYPERV_FEATURES.map(({ name }) => name).filter((name) => names.includes(name));
}

function missingRequirement(names: readonly string[]): string | undefined {
  for (const { name, requires } of HYPERV_FEATURES) {
    const missing = names.includes(name) ? requires.find((each) => !names.includes(each)) : undefined;
    if (missing !== undefined) return `${name} needs ${missing}`;
  }
  return undefined;
}

function parseFeatures(text: string): ControlCommand | string {
  const names = text.split(",").map((name) => name.trim().replace(/^hv-/, ""));
  if (names.includes("passthrough"))
    return names.length === 1 ? { name: "hv-passthrough" } : "passthrough is all that the host has, and goes alone";
  if (names.length === 1 && names[0] === "all")
    return {
      name: "hv",
      features: HYPERV_FEATURES.filter(({ isSpecial }) => isSpecial !== true).map(({ name }) => name),
    };
  const unknown = names.find((name) => featureNamed(name) === undefined);
  if (unknown !== undefined)
    return `'${unknown}' is none of ${HYPERV_FEATURES.map(({ name }) => name).join(", ")}; or all, or passthrough`;
  return { name: "hv", features: inOrder(names) };
}

export const hypervPart: ControlPart = {
  decide: {
    hv(state, fields, { hasRun }) {
      const names = inOrder(fields.array("features").map(String));
      const missing = missingRequirement(names);
      if (missing !== undefined) return refuse("EINVAL", CALL, missing);
      const own = state.cpuidEntries?.[0]?.vcpu;
      if (own !== undefined) return refuse("EINVAL", CALL, `vcpu${own} has leaves of its own, by KVM_SET_CPUID2`);
      const old = [...(state.hyperv?.features ?? [])];
      if (hasRun && names.join() !== old.join())
        return refuse("EINVAL", CALL, "a vCPU has run; its CPUID can't change");
      return decided(hypervSet, { old, new: names });
    },
  },
  events: [
    {
      kind: hypervSet,
      evolve: (state, fields) => ({ ...state, hyperv: { features: fields.array("new").map(String) } }),
      describe: (fields) => fields.array("new").map(String).join(",") || "none",
    },
  ],
  parse: { hv: parseFeatures },
};
