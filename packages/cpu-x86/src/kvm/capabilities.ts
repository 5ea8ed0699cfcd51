/** KVM_CAP_*: numbers of include/uapi/linux/kvm.h, and what KVM_CHECK_EXTENSION says of each for a VM on amd64. */

import { XenFlag } from "./xen/xen-config.js";

export const CAP_EXIT_HYPERCALL = "KVM_CAP_EXIT_HYPERCALL";
export const CAP_USER_SPACE_MSR = "KVM_CAP_X86_USER_SPACE_MSR";
export const CAP_DISABLE_EXITS = "KVM_CAP_X86_DISABLE_EXITS";
export const CAP_DISABLE_QUIRKS2 = "KVM_CAP_DISABLE_QUIRKS2";
export const CAP_ENFORCE_PV_FEATURE_CPUID = "KVM_CAP_ENFORCE_PV_FEATURE_CPUID";
export const CAP_HYPERV_SYNIC = "KVM_CAP_HYPERV_SYNIC";
export const CAP_HYPERV_SYNIC2 = "KVM_CAP_HYPERV_SYNIC2";
export const CAP_HYPERV_ENLIGHTENED_VMCS = "KVM_CAP_HYPERV_ENLIGHTENED_VMCS";
export const CAP_HYPERV_ENFORCE_CPUID = "KVM_CAP_HYPERV_ENFORCE_CPUID";

/** All that upstream lets a VMM disable. */
const QUIRKS = 0x1ffn;

/** KVM_X86_DISABLE_EXITS_HLT. PAUSE does not leave as it is, and no guest is told of MWAIT or of deep C-states. */
export const DISABLE_EXITS_HLT = 2n;

export interface Enableable {
  /** Of the VM, or of a vCPU. */
  readonly scope: "vm" | "vcpu";
  /** Which bits the first argument of KVM_ENABLE_CAP may have; undefined: any. */
  readonly mask?: bigint;
  /** Bits of the first argument are added to those that were set before; nothing takes one away. */
  readonly accumulates?: boolean;
  /** It can be enabled before the first KVM_CREATE_VCPU alone. */
  readonly precedesVcpus?: boolean;
}

export const ENABLEABLE: Readonly<Record<string, Enableable>> = {
  [CAP_EXIT_HYPERCALL]: { scope: "vm", mask: 0x1000n },
  [CAP_USER_SPACE_MSR]: { scope: "vm", mask: 7n },
  [CAP_DISABLE_EXITS]: { scope: "vm", mask: DISABLE_EXITS_HLT, accumulates: true, precedesVcpus: true },
  [CAP_DISABLE_QUIRKS2]: { scope: "vm", mask: QUIRKS },
  [CAP_ENFORCE_PV_FEATURE_CPUID]: { scope: "vcpu" },
  [CAP_HYPERV_SYNIC]: { scope: "vcpu" },
  [CAP_HYPERV_SYNIC2]: { scope: "vcpu", mask: 0n },
  // It changes what KVM_GET_SUPPORTED_HV_CPUID answers; nested guests are not simulated.
  [CAP_HYPERV_ENLIGHTENED_VMCS]: { scope: "vcpu" },
  [CAP_HYPERV_ENFORCE_CPUID]: { scope: "vcpu" },
};

/** Capabilities that a VM has, with the answer of KVM_CHECK_EXTENSION. All others answer 0. */
const OFFERED: readonly (readonly [name: string, number: number, answer: number])[] = [
  ["KVM_CAP_IRQCHIP", 0, 1],
  ["KVM_CAP_HLT", 1, 1],
  ["KVM_CAP_USER_MEMORY", 3, 1],
  ["KVM_CAP_EXT_CPUID", 7, 1],
  ["KVM_CAP_CLOCKSOURCE", 8, 1],
  ["KVM_CAP_NR_VCPUS", 9, 8],
  ["KVM_CAP_MP_STATE", 14, 1],
  ["KVM_CAP_IRQ_ROUTING", 25, 4096],
  ["KVM_CAP_IRQFD", 32, 1],
  ["KVM_CAP_PIT2", 33, 1],
  ["KVM_CAP_IOEVENTFD", 36, 1],
  ["KVM_CAP_XEN_HVM", 38, XenFlag.hypercallMsr | XenFlag.interceptCalls],
  ["KVM_CAP_VCPU_EVENTS", 41, 1],
  ["KVM_CAP_HYPERV", 44, 1],
  ["KVM_CAP_HYPERV_VAPIC", 45, 1],
  ["KVM_CAP_HYPERV_SPIN", 46, 1],
  ["KVM_CAP_MAX_VCPUS", 66, 64],
  ["KVM_CAP_TSC_DEADLINE_TIMER", 72, 1],
  ["KVM_CAP_SYNC_REGS", 74, 7],
  ["KVM_CAP_SIGNAL_MSI", 77, 1],
  ["KVM_CAP_HYPERV_TIME", 96, 1],
  ["KVM_CAP_ENABLE_CAP_VM", 98, 1],
  ["KVM_CAP_IOEVENTFD_NO_LENGTH", 100, 1],
  ["KVM_CAP_CHECK_EXTENSION_VM", 105, 1],
  ["KVM_CAP_IOEVENTFD_ANY_LENGTH", 122, 1],
  [CAP_HYPERV_SYNIC, 123, 1],
  ["KVM_CAP_MAX_VCPU_ID", 128, 64],
  ["KVM_CAP_IMMEDIATE_EXIT", 136, 1],
  [CAP_DISABLE_EXITS, 143, Number(DISABLE_EXITS_HLT)],
  [CAP_HYPERV_SYNIC2, 148, 1],
  ["KVM_CAP_HYPERV_VP_INDEX", 149, 1],
  ["KVM_CAP_HYPERV_EVENTFD", 154, 1],
  ["KVM_CAP_HYPERV_TLBFLUSH", 155, 1],
  ["KVM_CAP_HYPERV_SEND_IPI", 161, 1],
  [CAP_HYPERV_ENLIGHTENED_VMCS, 163, 1],
  ["KVM_CAP_HYPERV_CPUID", 167, 1],
  ["KVM_CAP_STEAL_TIME", 187, 1],
  [CAP_USER_SPACE_MSR, 188, 7],
  ["KVM_CAP_X86_MSR_FILTER", 189, 1],
  [CAP_ENFORCE_PV_FEATURE_CPUID, 190, 1],
  ["KVM_CAP_SYS_HYPERV_CPUID", 191, 1],
  [CAP_HYPERV_ENFORCE_CPUID, 199, 1],
  [CAP_EXIT_HYPERCALL, 201, 0x1000],
  [CAP_DISABLE_QUIRKS2, 213, Number(QUIRKS)],
  ["KVM_CAP_SYSTEM_EVENT_DATA", 215, 1],
];

export const CAPABILITY_NAMES: ReadonlyMap<number, string> = new Map(
  OFFERED.map(([name, number]) => [number, name] as const),
);

const ANSWERS: ReadonlyMap<string, number> = new Map(OFFERED.map(([name, , answer]) => [name, answer]));

/** In the order of their numbers. */
export const OFFERED_CAPABILITIES: readonly string[] = OFFERED.map(([name]) => name);

/** Undefined for what is not there, or can't be enabled. */
export function enableable(name: string): Enableable | undefined {
  return Object.hasOwn(ENABLEABLE, name) ? ENABLEABLE[name] : undefined;
}

export function isCapability(name: string): boolean {
  return ANSWERS.has(name);
}

/** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
export function checkExtension(name: string): number {
  return ANSWERS.get(name) ?? 0;
}
