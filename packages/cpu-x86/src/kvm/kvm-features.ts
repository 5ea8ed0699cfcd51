/** KVM's own features, and which a guest may use: Documentation/virt/kvm/x86/cpuid.rst. */
import { CAP_ENFORCE_PV_FEATURE_CPUID } from "./capabilities.js";
import { isSwitchedOn } from "./control/control-state.js";
import { kvmFeatures } from "./cpuid.js";
import type { Vm } from "./vm.js";

/** Bits of EAX of KVM's leaf of features. */
export const KvmFeature = {
  clockSource: 1 << 0,
  clockSource2: 1 << 3,
  stealTime: 1 << 5,
  pvEoi: 1 << 6,
  unhalt: 1 << 7,
  sendIpi: 1 << 11,
  pollControl: 1 << 12,
  schedYield: 1 << 13,
} as const;

/** Of the current vCPU's guest: where KVM_CAP_ENFORCE_PV_FEATURE_CPUID does not hold it to its CPUID, all that there is. */
export function mayUseFeature(vm: Vm, feature: number): boolean {
  if (!isSwitchedOn(vm.control, CAP_ENFORCE_PV_FEATURE_CPUID, vm.current)) return true;
  return (kvmFeatures(vm, vm.current) & feature) !== 0;
}
