/** Policies: what upstream KVM does not let a VMM choose, or chooses by a quirk. Each defaults to what upstream does. */
import { type Policy, PolicyTable } from "@hvjournal/core";
import { EXTENDED_CALLS_OF_KERNEL } from "../hyperv/extended-call-mask.js";

export const POLICIES = [
  {
    // KVM_X86_QUIRK_FIX_HYPERCALL_INSN: the other vendor's call is written over by the host's own, or raises #UD.
    name: "x86.hypercall.patch",
    values: ["patch", "ud"],
    aliases: { on: "patch", off: "ud" },
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
  {
    // Whose the extended calls of Hyper-V are: the VMM's; those of `hv.ext.kernelMask` KVM's; or nobody's.
    name: "hv.ext.route",
    values: ["forward-all", "mask", "off"],
    capability: { name: "HVJ_CAP_HV_EXT_ROUTE", number: 0x1_0012 },
    frozenByRun: false,
  },
  {
    // Bit n: call 0x8001 + n is answered in the kernel.
    name: "hv.ext.kernelMask",
    values: ["0x0"],
    mask: EXTENDED_CALLS_OF_KERNEL,
    capability: { name: "HVJ_CAP_HV_EXT_KERNEL_MASK", number: 0x1_0013 },
    frozenByRun: true,
    frozenErrno: "EINVAL",
  },
  {
    // KVM_CHECK_EXTENSION of HVJ_CAP_HV_EXT_KERNEL_MASK tells which calls the kernel can answer.
    name: "hv.ext.discover",
    values: ["none", "cap-mask"],
    capability: { name: "HVJ_CAP_HV_EXT_DISCOVER", number: 0x1_0014 },
    frozenByRun: false,
  },
  {
    // How the exit of a call with output in XMM registers carries them, of a guest that is offered such output.
    name: "hv.xmmOutput",
    values: ["absent", "grow-struct", "new-type", "valid-fields"],
    capability: { name: "HVJ_CAP_HV_XMM_OUTPUT", number: 0x1_0015 },
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
