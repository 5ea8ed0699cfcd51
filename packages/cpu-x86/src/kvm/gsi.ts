/** Interrupts by GSI: KVM_IRQ_LINE, and what an irqfd or a routing entry makes of a signal. */
import { raiseSint } from "./hyperv/synic.js";
import { FIRST_ROUTED_GSI } from "./gsi-routes.js";
import type { Vm } from "./vm.js";

/** A pin takes the level; of a message or a SINT only the rise counts. Throws RangeError for a GSI that leads nowhere. */
export function setGsi(vm: Vm, gsi: number, level: 0 | 1): void {
  if (gsi < FIRST_ROUTED_GSI) return vm.irqchip.setLine(gsi, level);
  const route = vm.control.gsiRoutes?.find((each) => each.gsi === gsi);
  if (route === undefined) throw new RangeError(`line ${gsi}: no route leads from there`);
  if (level === 0) return undefined;
  if (route.type === "hv-sint") return raiseSint(vm, route.vcpu, route.sint);
  return vm.irqchip.signalMessage(Number(route.address & 0xffff_ffffn), route.data);
}

/** An eventfd is signalled by the guest. One that KVM_IRQFD has bound is read by the kernel, and raises its GSI. */
export function signalEventfd(vm: Vm, fd: number): void {
  const bound = vm.control.irqfds?.find((each) => each.fd === fd);
  if (bound === undefined) return vm.signal(fd);
  const leads = bound.gsi < FIRST_ROUTED_GSI || vm.control.gsiRoutes?.some(({ gsi }) => gsi === bound.gsi) === true;
  if (!leads) return;
  setGsi(vm, bound.gsi, 1);
  setGsi(vm, bound.gsi, 0);
}
