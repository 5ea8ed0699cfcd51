/** All timers of a VM: those of the irqchip, and Hyper-V's. */
import { advanceTimers as advanceSynthetic, timersDeadlineNs } from "./hyperv/synic.js";
import { mayHaveHyperv } from "./control/control-state.js";
import type { Vm } from "./vm.js";

/** Guest time at which a timer expires next. */
export function timersDeadline(vm: Vm): number | undefined {
  const own = vm.irqchip.deadlineNs;
  const synthetic = mayHaveHyperv(vm.control) ? timersDeadlineNs(vm) : undefined;
  if (own === undefined || synthetic === undefined) return own ?? synthetic;
  return Math.min(own, synthetic);
}

/** Lets timers expire. True: that of the current vCPU's local APIC, or a new interrupt for it of another one. */
export function advanceTimers(vm: Vm): boolean {
  const expired = vm.irqchip.advance(vm.current);
  if (!mayHaveHyperv(vm.control)) return expired;
  const before = vm.irqchip.pending(vm.current);
  advanceSynthetic(vm);
  return expired || (before === undefined && vm.irqchip.pending(vm.current) !== undefined);
}
