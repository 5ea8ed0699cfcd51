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
    // KVM's parameter enable_vmware_backdoor: every level may use VMware's backdoor, whatever its I/O permissions.
    name: "x86.vmware.backdoor",
    values: ["off", "on"],
    capability: { name: "HVJ_CAP_X86_VMWARE_BACKDOOR", number: 0x1_0030 },
    frozenByRun: true,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export const policyTable: PolicyTable<PolicyName> = new PolicyTable<PolicyName>(POLICIES);
