/**
 * Hyper-V as the host has it. Command: {name: "hv-passthrough"}: each vCPU is told what KVM_GET_SUPPORTED_HV_CPUID answers of it
 * now, verbatim, by KVM_SET_CPUID2. What a host answers is its own affair: such a VM moves only to one that answers the same.
 */
import { type EventKind, isPlainMap, PayloadFields } from "@hvjournal/core";
import { CAP_HYPERV_ENLIGHTENED_VMCS } from "../capabilities.js";
import { type CpuidEntry, readEntry } from "../cpuid-entry.js";
import { kvmLeaves, supportedCpuid } from "../cpuid.js";
import { type HostModel, hostUnder } from "../host-model.js";
import { supportedHypervLeaves } from "../hyperv/supported-leaves.js";
import { type ControlPart, refuse } from "./control-part.js";
import { type Amd64ControlState, isEnabled, policyValue } from "./control-state.js";

const CALL = "KVM_SET_CPUID2";
const HYPERVISOR_BLOCK = 4;

const passedThrough: EventKind = {
  name: "x86.HypervPassedThrough",
  version: 1,
  role: "vmm output",
  fields: ["entries"],
};

/** KVM_GET_SUPPORTED_HV_CPUID on this host: of a vCPU, or, where the policy has no such form, of the system. */
export function answerOf(state: Amd64ControlState, vcpu: number, host: HostModel): readonly CpuidEntry[] {
  const { isSmtPossible, lackedCpuid, hasNestedVmx } = host;
  const isAsked =
    policyValue(state, "hv.cpuid.scope") === "system" || isEnabled(state, CAP_HYPERV_ENLIGHTENED_VMCS, vcpu);
  const hasEvmcs = hasNestedVmx && isAsked;
  return supportedHypervLeaves({ hasEvmcs, isSmtPossible, hasApic: true, lackedCpuid });
}

/** Beside Hyper-V, KVM tells of itself only where it is asked to: a guest takes the highest that it finds. */
function isSetToKvm({ policies = [] }: Amd64ControlState): boolean {
  return policies.some(({ name, value }) => name === "x86.cpuid.hypervisor" && value === "kvm");
}

/** The processor's own leaves, the host's answer, and KVM's leaves behind it where the policy has them. */
function entriesOf(state: Amd64ControlState, vcpu: number, vcpuCount: number): CpuidEntry[] {
  return [
    ...supportedCpuid(vcpuCount, vcpu).filter((each) => each.function >>> 28 !== HYPERVISOR_BLOCK),
    ...answerOf(state, vcpu, hostUnder(state)),
    ...(isSetToKvm(state) ? kvmLeaves() : []),
  ];
}

export const passthroughPart: ControlPart = {
  decide: {
    "hv-passthrough"(state, _fields, { hasRun, vcpuCount }) {
      if (hasRun) return refuse("EINVAL", CALL, "a vCPU has run; its CPUID can't change");
      if (state.hyperv !== undefined) return refuse("EINVAL", CALL, "hv has a list of features already");
      if (state.cpuidEntries !== undefined || state.cpuidWords !== undefined)
        return refuse("EINVAL", CALL, "CPUID has been set already; hv passthrough goes before it");
      const { name, version } = passedThrough;
      const events = Array.from({ length: vcpuCount }, (_, vcpu) => ({
        ...{ kind: name, version, vcpu },
        payload: { entries: entriesOf(state, vcpu, vcpuCount).map((entry) => ({ ...entry })) },
      }));
      return { events };
    },
  },
  events: [
    {
      kind: passedThrough,
      evolve: (state, fields, { vcpu }) => {
        const entries = fields
          .array("entries")
          .map((entry, index) => readEntry(new PayloadFields(`entries[${index}]`, isPlainMap(entry) ? entry : {})));
        const others = (state.cpuidEntries ?? []).filter((each) => each.vcpu !== vcpu);
        return { ...state, hypervPassthrough: true, cpuidEntries: [...others, { vcpu, entries }] };
      },
      describe: (fields, { vcpu }) => `vcpu${vcpu}  ${fields.array("entries").length} entries`,
    },
  ],
  parse: {},
};
