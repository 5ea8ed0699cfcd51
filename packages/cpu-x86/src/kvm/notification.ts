/**
 * A notification by a call, as was proposed for KVM in 2009 and not taken: policy `notify.via` with "hypercall". The number in RAX
 * is HVJ_HC_NOTIFY, RBX is the physical address of the bell, RCX what would be written there. It does what the write does: it
 * signals the ioeventfd of that address, or it is the VMM's, by KVM_EXIT_HYPERCALL.
 */
import { Register } from "../isa/state.js";
import { argumentOf, callNumberOf } from "./call-registers.js";
import { isNotifyWay } from "./notify-policy.js";
import type { Vm } from "./vm.js";

/** Far from KVM's own numbers. */
const NOTIFY_CALL = 0x4e01;

/** Whether the current vCPU calls so, and may. */
export function isNotifyCall(vm: Vm): boolean {
  return callNumberOf(vm) === NOTIFY_CALL && isNotifyWay(vm.control, "hypercall");
}

/** Of the bell that the call is for; undefined: the VMM's. */
export function notifiedEventfd(vm: Vm): number | undefined {
  const [address, data] = [argumentOf(vm, Register.rbx), argumentOf(vm, Register.rcx)];
  return vm.control.ioeventfds?.find(
    ({ bus, addr, len, datamatch }) =>
      bus === "mmio" && addr === address && (datamatch === undefined || datamatch === BigInt.asUintN(8 * len, data)),
  )?.fd;
}
