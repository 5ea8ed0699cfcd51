/** What control events do to the running state of a VM, beside configuring it. */
import { type ControlEvent, PayloadFields } from "@hvjournal/core";
import { POWER_OFF } from "./control/vcpu-features.js";
import { MpState, VcpuKind } from "./control/vcpu-part.js";
import type { Vm } from "./vm.js";

export function applyControlEvent(vm: Vm, { kind, payload, vcpu }: ControlEvent): void {
  const fields = new PayloadFields(kind, payload);
  if (kind === VcpuKind.initialized.name) vm.initialize(vcpu, (fields.number("features") & POWER_OFF) === 0);
  else if (kind === VcpuKind.mpStateSet.name) vm.setMpState(vcpu, fields.number("state"));
}

/** KVM_GET_MP_STATE. */
export function mpStateOf(vm: Vm, vcpu: number): number {
  const { isOn, isSuspended } = vm.schedule.of(vcpu);
  if (!isOn) return MpState.stopped;
  return isSuspended ? MpState.suspended : MpState.runnable;
}
