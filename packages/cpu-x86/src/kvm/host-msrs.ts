/**
 * MSRs as the VMM reads and writes them, by KVM_GET_MSRS and KVM_SET_MSRS: filters, and what a guest's CPUID offers, do not
 * hold for it (Documentation/virt/kvm/api.rst, 4.20, 4.21).
 */
import { isCanonical } from "./canonical-address.js";
import { type Msr, msrs } from "../isa/msr.js";
import { hostHypervMsrOf } from "./hyperv/msrs.js";
import type { MsrAccess } from "./msr-access.js";
import { msrAccessOf } from "./msrs.js";
import type { Vm } from "./vm.js";

const stateMsrs: ReadonlyMap<number, Msr> = new Map(msrs.map((msr) => [msr.number, msr]));
/** Memory types that IA32_PAT takes: UC, WC, WT, WP, WB, UC-. */
const MEMORY_TYPES: ReadonlySet<bigint> = new Set([0n, 1n, 4n, 5n, 6n, 7n]);
/** SCE, LME, LMA, NXE. */
const EFER_BITS = 0xd01n;
const LOW_32 = 0xffff_ffffn;

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

function fits({ rule }: Msr, value: bigint): boolean {
  switch (rule) {
    case "any":
      return true;
    case "canonical":
      return isCanonical(value);
    case "low32":
      return value <= LOW_32;
    case "memoryTypes":
      return Array.from({ length: 8 }, (_, index) => (value >> BigInt(8 * index)) & 0xffn).every((type) =>
        MEMORY_TYPES.has(type),
      );
    case "efer":
      return (value & ~EFER_BITS) === 0n;
    default:
      return rule satisfies never;
  }
}

function accessOf(vm: Vm, msr: number): MsrAccess | undefined {
  return hostHypervMsrOf(vm, msr) ?? msrAccessOf(vm, msr);
}

/** Undefined: there is no such register. */
export function readHostMsr(vm: Vm, vcpu: number, msr: number): bigint | undefined {
  const kept = stateMsrs.get(msr);
  return asVcpu(vm, vcpu, () => {
    if (kept !== undefined) return vm.engine.readField(kept.field);
    const access = accessOf(vm, msr);
    return (access?.hostRead ?? access?.read)?.(vm);
  });
}

/** False: there is no such register, or it does not take the value; nothing has changed then. */
export function writeHostMsr(vm: Vm, vcpu: number, msr: number, value: bigint): boolean {
  const kept = stateMsrs.get(msr);
  return asVcpu(vm, vcpu, () => {
    if (kept !== undefined) {
      if (!fits(kept, value)) return false;
      vm.states.writeState(kept.field, value);
      return true;
    }
    const access = accessOf(vm, msr);
    return (access?.hostWrite ?? access?.write)?.(vm, value) ?? false;
  });
}
