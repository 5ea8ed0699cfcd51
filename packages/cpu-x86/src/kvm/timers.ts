/** All timers of a VM: those of the irqchip, and Hyper-V's. */
import { advanceTimers as advanceSynthetic, timersDeadlineNs } from "./hyperv/synic.js";
import type { Vm } from "./vm.js";

/** Guest time at which a timer expires next. */
export function timersDeadline(vm: Vm): number | undefined {
  const own = vm.irqchip.deadlineNs;
  const synthetic = vm.control.hyperv === undefined ? undefined : timersDeadlineNs(vm);
  if (own === undefined || synthetic === undefined) return own ?? synthetic;
  return Math.min(own, synthetic);
}

/** Lets timers expire. True: that of the current vCPU's local APIC, or a new interrupt for it of another one. */
export function advanceTimers(vm: Vm): boolean {
  const expired = vm.irqchip.advance(vm.current);
  if (vm.control.hyperv === undefined) return expired;
  const before = vm.irqchip.pending(vm.current);
  advanceSynthetic(vm);
  return expired || (before === undefined && vm.irqchip.pending(vm.current) !== undefined);
}
