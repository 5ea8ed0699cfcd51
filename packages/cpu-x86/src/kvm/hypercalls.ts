/** Calls of the hypervisor: whose they are, KVM's own, and the other vendor's instruction, which KVM writes over. */
import { type ExitFrame, ExitWord, KvmExit } from "@hvjournal/core";
import { Vector } from "../isa/exceptions.js";
import { callNumberOf, returnFromCall } from "./call-registers.js";
import { policyValue } from "./control/control-state.js";
import { leaveToVmm } from "./exit-frames.js";
import type { ExitCause } from "./exit-model.js";
import { completeHypervCall, describeHypervCall, finishHypervCall, speaksHyperv } from "./hyperv/exits.js";
import { patchCall, patchesCalls } from "./hypercall-patching.js";
import { isNotifyCall, notifiedEventfd } from "./notification.js";
import { callKvm, KvmCall, KvmError, mapRangeArgumentsFit } from "./kvm-hypercalls.js";
import type { Vm } from "./vm.js";
import { completeXenCall, describeXenCall, speaksXen } from "./xen/exits.js";

/** `kvm_run.hypercall.flags`: KVM_HYPERCALL_EXIT_LONG_MODE. */
const HYPERCALL_LONG_MODE = 1;

const KVM_CALLS: ReadonlySet<number> = new Set(Object.values(KvmCall));

/** The exit of a call: is it the VMM's to answer? */
export function routeCall(vm: Vm, frame: ExitFrame): void {
  if (speaksXen(vm)) return describeXenCall(vm, frame);
  if (speaksHyperv(vm)) return describeHypervCall(vm, frame);
  if (vm.states.cpl !== 0 || !isForwarded(vm, callNumberOf(vm))) return;
  frame[ExitWord.info] = vm.states.isLongMode ? HYPERCALL_LONG_MODE : 0;
  leaveToVmm(frame, KvmExit.hypercall);
}

function isForwarded(vm: Vm, number: number): boolean {
  if (isNotifyCall(vm)) return notifiedEventfd(vm) === undefined;
  if (number === KvmCall.mapGpaRange) return vm.wantsMapGpaRange && mapRangeArgumentsFit(vm);
  return !KVM_CALLS.has(number) && policyValue(vm.control, "x86.hypercall.unhandled") === "forward";
}

/** Gives RAX; undefined: the instruction has not retired. */
export function finishHypercall(vm: Vm, cause: ExitCause, next: bigint): bigint | undefined {
  if (cause === "invalidOpcode") {
    if (patchesCalls(vm.control)) patchCall(vm);
    else vm.states.raise(Vector.invalidOpcode);
    return undefined;
  }
  if (speaksHyperv(vm)) return finishHypervCall(vm, next);
  const result = vm.states.cpl === 0 ? callKvm(vm) : -KvmError.EPERM;
  return returnFromCall(vm, result, next);
}

/** The VMM's answer to a call: a result of KVM's ABI, of Hyper-V's, or of Xen's. */
export function returnVmmResult(vm: Vm, frame: ExitFrame, result: bigint, next: bigint): void {
  const kvmExit = frame[ExitWord.kvmExit];
  if (kvmExit === KvmExit.hyperv) completeHypervCall(vm, frame, result, next);
  else if (kvmExit === KvmExit.xen) completeXenCall(vm, result, next);
  else returnFromCall(vm, result, next);
}
