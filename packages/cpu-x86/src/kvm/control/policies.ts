/** Policies: what upstream KVM does not let a VMM choose, or chooses by a quirk. Each defaults to what upstream does. */
import { type Policy, PolicyTable } from "@hvjournal/core";
import { EXTENDED_CALLS_OF_KERNEL } from "../hyperv/extended-call-mask.js";
import { NOTIFY_WAYS } from "../notify-ways.js";

export const POLICIES = [
  {
    // KVM_X86_QUIRK_FIX_HYPERCALL_INSN.
    name: "x86.hypercall.patch",
    about: "the other vendor's call instruction: written over by the host's own, or #UD",
    values: ["patch", "ud"],
    aliases: { on: "patch", off: "ud" },
    capability: { name: "HVJ_CAP_X86_HYPERCALL_PATCH", number: 0x1_0010 },
    frozenByRun: false,
  },
  {
    name: "x86.cpuid.hypervisor",
    about: "whether CPUID has KVM's leaves; with --hv the default is plain, and kvm puts them at 0x40000100",
    values: ["kvm", "plain"],
    capability: { name: "HVJ_CAP_X86_CPUID_HYPERVISOR", number: 0x1_0011 },
    frozenByRun: true,
  },
  {
    name: "x86.hypercall.unhandled",
    about: "a KVM hypercall that KVM does not know: -KVM_ENOSYS, or the VMM's by KVM_EXIT_HYPERCALL",
    values: ["enosys", "forward"],
    capability: { name: "HVJ_CAP_X86_HYPERCALL_UNHANDLED", number: 0x1_0018 },
    frozenByRun: false,
  },
  {
    name: "hv.ext.route",
    about: "whose Hyper-V's extended calls are: the VMM's; those of hv.ext.kernelMask the kernel's; nobody's",
    values: ["forward-all", "mask", "off"],
    capability: { name: "HVJ_CAP_HV_EXT_ROUTE", number: 0x1_0012 },
    frozenByRun: false,
  },
  {
    name: "hv.ext.kernelMask",
    about: "bit n: with hv.ext.route=mask, call 0x8001 + n is answered in the kernel",
    values: ["0x0"],
    mask: EXTENDED_CALLS_OF_KERNEL,
    capability: { name: "HVJ_CAP_HV_EXT_KERNEL_MASK", number: 0x1_0013 },
    frozenByRun: true,
    frozenErrno: "EINVAL",
  },
  {
    // By KVM_CHECK_EXTENSION of HVJ_CAP_HV_EXT_KERNEL_MASK.
    name: "hv.ext.discover",
    about: "whether a VMM can ask which extended calls the kernel can answer",
    values: ["none", "cap-mask"],
    capability: { name: "HVJ_CAP_HV_EXT_DISCOVER", number: 0x1_0014 },
    frozenByRun: false,
  },
  {
    name: "hv.xmmOutput",
    about: "how the exit of a Hyper-V call with output in XMM registers carries them; absent: none is offered",
    values: ["absent", "grow-struct", "new-type", "valid-fields"],
    capability: { name: "HVJ_CAP_HV_XMM_OUTPUT", number: 0x1_0015 },
    frozenByRun: true,
  },
  {
    name: "hv.cpuid.scope",
    about: "which form of KVM_GET_SUPPORTED_HV_CPUID the kernel has; the other one is ENOTTY",
    values: ["both", "system", "vcpu"],
    capability: { name: "HVJ_CAP_HV_CPUID_SCOPE", number: 0x1_0016 },
    frozenByRun: true,
  },
  {
    name: "notify.via",
    about: "how a guest may notify its VMM: buses of ioeventfds, ioeventfds at all, and HVJ_HC_NOTIFY (0x4e01)",
    values: ["pio+mmio+ioeventfd"],
    flags: NOTIFY_WAYS,
    capability: { name: "HVJ_CAP_NOTIFY_VIA", number: 0x1_0017 },
    frozenByRun: true,
  },
  {
    // KVM's parameter enable_vmware_backdoor.
    name: "x86.vmware.backdoor",
    about: "whether every privilege level may use VMware's backdoor, whatever its I/O permissions",
    values: ["off", "on"],
    capability: { name: "HVJ_CAP_X86_VMWARE_BACKDOOR", number: 0x1_0030 },
    frozenByRun: true,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export const policyTable: PolicyTable<PolicyName> = new PolicyTable<PolicyName>(POLICIES);
