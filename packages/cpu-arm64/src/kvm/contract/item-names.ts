/** Items of the contract by KVM's names. */
import { conduitsSuffix, FILTER_CALL, type FilterRange, rangeText } from "../smccc/smccc-filter.js";

export const HOST_ITEM = "host";
export const SMCCC_VERSION_ITEM = "SMCCC_VERSION";
export const FEATURES_ITEM = "KVM_ARM_VCPU_INIT features";
/** Calls that lie in no range of the filter. */
export const DEFAULT_RULE_ITEM = `${FILTER_CALL} in no range`;

export const FirmwareItem = {
  psciVersion: "KVM_REG_ARM_PSCI_VERSION",
  workaround1: "KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1",
  workaround2: "KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2",
  workaround3: "KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3",
  standard: "KVM_REG_ARM_STD_BMAP",
  standardHypervisor: "KVM_REG_ARM_STD_HYP_BMAP",
  vendorHypervisor: "KVM_REG_ARM_VENDOR_HYP_BMAP",
  vendorHypervisor2: "KVM_REG_ARM_VENDOR_HYP_BMAP_2",
} as const;

export function rangeItem({ base, count, conduits }: Pick<FilterRange, "base" | "count" | "conduits">): string {
  return `${FILTER_CALL} ${rangeText(base, count)}${conduitsSuffix(conduits)}`;
}

export function vcpuInitItem(vcpu: number): string {
  return `vcpu${vcpu} KVM_ARM_VCPU_INIT`;
}

export function pvTimeItem(vcpu: number): string {
  return `vcpu${vcpu} KVM_ARM_VCPU_PVTIME_IPA`;
}

export function policyItem(name: string): string {
  return `policy ${name}`;
}
