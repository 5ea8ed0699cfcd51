/**
 * What KVM does for guests of VMware's where its parameter `enable_vmware_backdoor` is set, here the policy
 * `x86.vmware.backdoor`: #GP of an IN, an OUT or an RDPMC that the backdoor has is intercepted, and carried out whatever the
 * level. What the ports answer is the VMM's (arch/x86/kvm/x86.c, handle_emulation of EMULTYPE_VMWARE_GP; pmu.c).
 */
import { Vector } from "../isa/exceptions.js";
import { Register } from "../isa/state.js";
import { policyValue } from "./control/control-state.js";
import type { Vm } from "./vm.js";

export function servesBackdoor({ control }: Pick<Vm, "control">): boolean {
  return policyValue(control, "x86.vmware.backdoor") === "on";
}

/**
 * RDPMC of the host's time-stamp counter, of the time since it came up, and of that as the guest sees it: one and the same, for a
 * host's counter ticks by the nanosecond and the guest's time is the host's.
 */
export function readBackdoorCounter(vm: Vm, next: bigint): void {
  if (!servesBackdoor(vm)) {
    vm.states.raise(Vector.generalProtection);
    return;
  }
  const nanoseconds = BigInt(vm.guestTimeNs);
  vm.states.writeGeneral32(Register.rax, Number(BigInt.asUintN(32, nanoseconds)));
  vm.states.writeGeneral32(Register.rdx, Number(nanoseconds >> 32n));
  vm.retireInstruction(next);
}
