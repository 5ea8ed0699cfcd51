/** Policies: what upstream KVM does not let a VMM choose, or chooses by a quirk. Each defaults to what upstream does. */
export interface Policy {
  readonly name: string;
  /** Upstream's behaviour first. The index is the argument of the capability. */
  readonly values: readonly string[];
  readonly capability: { readonly name: string; readonly number: number };
  /** Refused with EBUSY once a vCPU has run. */
  readonly frozenByRun: boolean;
}

export const POLICIES = [
  {
    // KVM_X86_QUIRK_FIX_HYPERCALL_INSN: the other vendor's call is written over by the host's own, or raises #UD.
    name: "x86.hypercall.patch",
    values: ["on", "off"],
    capability: { name: "HVJ_CAP_X86_HYPERCALL_PATCH", number: 0x1_0010 },
    frozenByRun: false,
  },
  {
    name: "x86.cpuid.hypervisor",
    values: ["kvm", "plain"],
    capability: { name: "HVJ_CAP_X86_CPUID_HYPERVISOR", number: 0x1_0011 },
    frozenByRun: true,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export function policyNamed(name: string): (Policy & { readonly name: PolicyName }) | undefined {
  return POLICIES.find((policy) => policy.name === name);
}

/** By the name or number of its capability. */
export function policyOfCapability(capability: string | number): (Policy & { readonly name: PolicyName }) | undefined {
  return POLICIES.find(({ capability: { name, number } }) => name === capability || number === capability);
}
