/**
 * MSRs as the VMM reads and writes them, by KVM_GET_MSRS and KVM_SET_MSRS: filters, and what a guest's CPUID offers, do not
 * hold for it (Documentation/virt/kvm/api.rst, 4.20, 4.21).
 */
import { hostHypervMsrOf } from "./hyperv/msrs.js";
import type { MsrAccess } from "./msr-access.js";
import { msrAccessOf } from "./msrs.js";
import type { Vm } from "./vm.js";

/** Acts as if this vCPU ran. */
function asVcpu<Result>(vm: Vm, vcpu: number, action: () => Result): Result {
  const { schedule, states } = vm;
  const before = schedule.current;
  schedule.current = vcpu;
  try {
    return states.with(vcpu, action);
  } finally {
    schedule.current = before;
  }
}

function accessOf(vm: Vm, msr: number): MsrAccess | undefined {
  return hostHypervMsrOf(vm, msr) ?? msrAccessOf(vm, msr);
}

/** Undefined: there is no such register. */
export function readHostMsr(vm: Vm, vcpu: number, msr: number): bigint | undefined {
  return asVcpu(vm, vcpu, () => {
    const access = accessOf(vm, msr);
    return (access?.hostRead ?? access?.read)?.(vm);
  });
}

/** False: there is no such register, or it does not take the value; nothing has changed then. */
export function writeHostMsr(vm: Vm, vcpu: number, msr: number, value: bigint): boolean {
  return asVcpu(vm, vcpu, () => {
    const access = accessOf(vm, msr);
    return (access?.hostWrite ?? access?.write)?.(vm, value) ?? false;
  });
}
