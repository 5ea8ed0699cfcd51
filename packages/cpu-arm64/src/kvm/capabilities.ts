/** KVM_CAP_*: numbers of include/uapi/linux/kvm.h, and what KVM_CHECK_EXTENSION says of each for a VM on arm64. */
import { PHYSICAL_ADDRESS_BITS } from "../isa/id-registers.js";

export const CAP_ARM_SYSTEM_SUSPEND = "KVM_CAP_ARM_SYSTEM_SUSPEND";
export const CAP_ARM_NISV_TO_USER = "KVM_CAP_ARM_NISV_TO_USER";

/** What KVM_ENABLE_CAP on the VM takes. */
export const ENABLEABLE: readonly string[] = [CAP_ARM_SYSTEM_SUSPEND, CAP_ARM_NISV_TO_USER];

/** Why a capability that KVM has for a VM on arm64 can't be enabled here. */
const REFUSED: Readonly<Record<string, string>> = {
  KVM_CAP_ARM_MTE: "the CPU has no memory tagging",
  KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE: "RAM is mapped by pages, so there is nothing to split",
  KVM_CAP_ARM_WRITABLE_IMP_ID_REGS: "MIDR_EL1, REVIDR_EL1 and AIDR_EL1 are those of the CPU model",
  KVM_CAP_DIRTY_LOG_RING: "dirty pages are tracked without a ring",
  KVM_CAP_DIRTY_LOG_RING_ACQ_REL: "dirty pages are tracked without a ring",
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: "dirty pages are tracked without a log",
};

export function refusedCapability(name: string): string | undefined {
  return Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
}

/** Capabilities that a VM has, with the answer of KVM_CHECK_EXTENSION. All others answer 0. */
const OFFERED: readonly (readonly [name: string, number: number, answer: number])[] = [
  ["KVM_CAP_USER_MEMORY", 3, 1],
  ["KVM_CAP_NR_VCPUS", 9, 8],
  ["KVM_CAP_MP_STATE", 14, 1],
  ["KVM_CAP_IOEVENTFD", 36, 1],
  ["KVM_CAP_MAX_VCPUS", 66, 8],
  ["KVM_CAP_ONE_REG", 70, 1],
  ["KVM_CAP_ARM_PSCI", 87, 1],
  ["KVM_CAP_DEVICE_CTRL", 89, 1],
  ["KVM_CAP_ENABLE_CAP_VM", 98, 1],
  ["KVM_CAP_IOEVENTFD_NO_LENGTH", 100, 1],
  ["KVM_CAP_ARM_PSCI_0_2", 102, 1],
  ["KVM_CAP_CHECK_EXTENSION_VM", 105, 1],
  ["KVM_CAP_IOEVENTFD_ANY_LENGTH", 122, 1],
  ["KVM_CAP_VCPU_ATTRIBUTES", 127, 1],
  ["KVM_CAP_MAX_VCPU_ID", 128, 8],
  ["KVM_CAP_IMMEDIATE_EXIT", 136, 1],
  ["KVM_CAP_ARM_VM_IPA_SIZE", 165, PHYSICAL_ADDRESS_BITS],
  [CAP_ARM_NISV_TO_USER, 177, 1],
  ["KVM_CAP_STEAL_TIME", 187, 1],
  ["KVM_CAP_PTP_KVM", 198, 1],
  ["KVM_CAP_SYSTEM_EVENT_DATA", 215, 1],
  [CAP_ARM_SYSTEM_SUSPEND, 216, 1],
];

/** Numbers of those that are refused, so that they can be asked for by number. */
const REFUSED_NUMBERS: readonly (readonly [name: string, number: number])[] = [
  ["KVM_CAP_DIRTY_LOG_RING", 192],
  ["KVM_CAP_ARM_MTE", 205],
  ["KVM_CAP_DIRTY_LOG_RING_ACQ_REL", 223],
  ["KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE", 228],
  ["KVM_CAP_ARM_WRITABLE_IMP_ID_REGS", 239],
];

export const CAPABILITY_NAMES: ReadonlyMap<number, string> = new Map([
  ...OFFERED.map(([name, number]) => [number, name] as const),
  ...REFUSED_NUMBERS.map(([name, number]) => [number, name] as const),
]);

const ANSWERS: ReadonlyMap<string, number> = new Map(OFFERED.map(([name, , answer]) => [name, answer]));

/** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
export function checkExtension(name: string): number {
  return ANSWERS.get(name) ?? 0;
}

/** Names of all that KVM_CHECK_EXTENSION knows more of than 0. */
export const OFFERED_CAPABILITIES: readonly string[] = OFFERED.map(([name]) => name);

export function isCapability(name: string): boolean {
  return ANSWERS.has(name) || Object.hasOwn(REFUSED, name);
}
