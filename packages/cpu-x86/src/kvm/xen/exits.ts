/** Xen's calls on their way out: KVM_EXIT_XEN (Documentation/virt/kvm/api.rst, 5; arch/x86/kvm/xen.c, kvm_xen_hypercall). */
import { type ExitFrame, ExitWord, KvmExit, setFrameU64 } from "@hvjournal/core";
import { Register } from "../../isa/state.js";
import { argumentOf } from "../call-registers.js";
import { leaveToVmm } from "../exit-frames.js";
import { speaksHyperv } from "../hyperv/exits.js";
import type { Vm } from "../vm.js";
import { XEN_CPL_SHIFT, XEN_LONG_MODE, xenParameters } from "./exit-info.js";
import { interceptsXenCalls } from "./xen-config.js";

/** In EAX, by a guest that speaks Hyper-V's interface: the call is by that. */
const HYPERV_CALL = 0x8000_0000;

/** Whether a call at RIP is by Xen's interface. */
export function speaksXen(vm: Vm): boolean {
  if (!interceptsXenCalls(vm.control.xenHvm)) return false;
  return (vm.states.readGeneral32(Register.rax) & HYPERV_CALL) === 0 || !speaksHyperv(vm);
}

/** Every call is the VMM's, of every privilege level: it is told the level. */
export function describeXenCall(vm: Vm, frame: ExitFrame): void {
  const { isLongMode, cpl } = vm.states;
  setFrameU64(frame, ExitWord.arg0Low, argumentOf(vm, Register.rax));
  xenParameters(isLongMode).forEach(({ register }, index) => {
    const word = FRAME_WORDS[index];
    if (word !== undefined) setFrameU64(frame, word, argumentOf(vm, register));
  });
  frame[ExitWord.info] = (isLongMode ? XEN_LONG_MODE : 0) | (cpl << XEN_CPL_SHIFT);
  leaveToVmm(frame, KvmExit.xen);
}

/** The first three parameters; the others stand in the guest's registers as long as the exit waits. */
const FRAME_WORDS: readonly number[] = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];

/** The VMM's result is RAX as it is, in every mode. */
export function completeXenCall(vm: Vm, result: bigint, next: bigint): void {
  vm.states.writeGeneral(Register.rax, result);
  vm.retireInstruction(next);
}
