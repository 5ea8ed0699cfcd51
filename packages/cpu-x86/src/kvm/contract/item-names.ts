/** Items of the contract by KVM's and the manuals' names. */
import { msrName } from "../msr-names.js";

export const HOST_ITEM = "host";
export const TSC_ITEM = "TSC frequency";
export const EXITS_ITEM = "exits of the host";
/** Instructions of the guest's own that call the hypervisor: VMCALL or VMMCALL. */
export const CALL_INSTRUCTION_ITEM = "hypercall instruction";
export const MSR_FILTER_CALL = "KVM_X86_SET_MSR_FILTER";
export const MSR_FILTER_REST_ITEM = `${MSR_FILTER_CALL} in no range`;
/** Asked by each call that is Xen's. */
export const XEN_ITEM = "KVM_XEN_HVM_CONFIG";
const CALL_PAGE_PREFIX = "hypercall page ";
const PATCHED_PREFIX = "patched hypercall ";

/** hv-passthrough: what the vCPUs are told is what the source's host answered. */
export const PASSTHROUGH_ITEM = "KVM_GET_SUPPORTED_HV_CPUID passed through";

export function cpuid2Item(vcpu: number): string {
  return `vcpu${vcpu} KVM_SET_CPUID2`;
}

export function policyItem(name: string): string {
  return `policy ${name}`;
}

export function msrItem(msr: number): string {
  return `MSR ${msrName(msr)}`;
}

export function callPageItem(page: number): string {
  return `${CALL_PAGE_PREFIX}0x${page.toString(16)}`;
}

export function isCallPageItem(name: string): boolean {
  return name.startsWith(CALL_PAGE_PREFIX);
}

/** A call in the guest's text that was written over. */
export function patchedItem(physical: number): string {
  return `${PATCHED_PREFIX}0x${physical.toString(16)}`;
}

export function patchedPlace(name: string): number {
  return Number(name.slice(PATCHED_PREFIX.length));
}

export function isPatchedItem(name: string): boolean {
  return name.startsWith(PATCHED_PREFIX);
}

export function kvmCallItem(number: number): string {
  return `KVM hypercall ${number}`;
}

export function hypervCallItem(code: number): string {
  return `Hyper-V hypercall 0x${code.toString(16)}`;
}

const EXTENDED_FIRST = 0x8001;
const EXTENDED_COUNT = 65;

/** By the register and the bit that say that they are served: Hyper-V TLFS, 0x40000003 and 0x40000004. */
const HYPERV_CALLS: ReadonlyMap<string, readonly number[]> = new Map([
  ["CPUID 0x40000003.EBX[4]", [0x5c]],
  ["CPUID 0x40000003.EBX[5]", [0x5d]],
  ["CPUID 0x40000003.EBX[11]", [0x69, 0x6a, 0x6b]],
  ["CPUID 0x40000003.EBX[20]", Array.from({ length: EXTENDED_COUNT }, (_, at) => EXTENDED_FIRST + at)],
  ["CPUID 0x40000004.EAX[2]", [0x2, 0x3, 0x13, 0x14]],
  ["CPUID 0x40000004.EAX[10]", [0xb, 0x15]],
  ["CPUID 0x40000004.EAX[11]", [0x13, 0x14, 0x15]],
  ["CPUID 0x40000004.EBX", [0x8]],
]);

export function hypervCallsOf(name: string): readonly number[] {
  return HYPERV_CALLS.get(name) ?? [];
}
