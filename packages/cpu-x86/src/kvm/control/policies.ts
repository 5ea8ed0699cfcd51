/** Policies: what upstream KVM does not let a VMM choose, or chooses by a quirk. Each defaults to what upstream does. */
import { type Policy, PolicyTable } from "@hvjournal/core";

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
  {
    // Upstream answers a number that it does not know by -KVM_ENOSYS; "forward" gives such calls to the VMM, by KVM_EXIT_HYPERCALL.
    name: "x86.hypercall.unhandled",
    values: ["enosys", "forward"],
    capability: { name: "HVJ_CAP_X86_HYPERCALL_UNHANDLED", number: 0x1_0018 },
    frozenByRun: false,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export const policyTable: PolicyTable<PolicyName> = new PolicyTable<PolicyName>(POLICIES);
