/** Hyper-V's calls and registers on their way out: what is the VMM's to answer, and how it is told. */
import { type ExitFrame, ExitWord, frameU64, KvmExit, setFrameU64 } from "@hvjournal/core";
import { CAP_HYPERV_SYNIC, CAP_HYPERV_SYNIC2 } from "../capabilities.js";
import { isEnabled } from "../control/control-state.js";
import { hypervOffer } from "../cpuid.js";
import { leaveToVmm } from "../exit-frames.js";
import { Vector } from "../../isa/exceptions.js";
import { Register } from "../../isa/state.js";
import type { Vm } from "../vm.js";
import { decideCall, HvCall, HvStatus, isExtended, readInput } from "./hypercalls.js";
import { HypervMsr } from "./registers.js";

/** `kvm_run.hyperv.type`; those above 3 are not upstream. */
export const HypervExit = { synic: 1, hypercall: 2, syndbg: 3, hypercallXmm: 4 } as const;
/** KVM_SYSTEM_EVENT_*. */
const SystemEvent = { reset: 2, crash: 3 } as const;
const CRASH_NOTIFY = 1n << 63n;

/** The guest has said that it speaks Hyper-V's interface: VMCALL is that. */
export function speaksHyperv(vm: Vm): boolean {
  return vm.hyperv.vm.guestOsId !== 0n && hypervOffer(vm, vm.current) !== undefined;
}

function mayBeUserspace(code: number): boolean {
  return code === HvCall.POST_MESSAGE || code === HvCall.SIGNAL_EVENT || isExtended(code);
}

/** The frame of a call: input value, and the two parameters. */
export function describeHypervCall(vm: Vm, frame: ExitFrame): void {
  const call = readInput(vm);
  setFrameU64(frame, ExitWord.arg0Low, call.value);
  setFrameU64(frame, ExitWord.arg1Low, call.input);
  setFrameU64(frame, ExitWord.arg2Low, call.output);
  setFrameU64(frame, ExitWord.arg3Low, 0n);
  if (!mayBeUserspace(call.code) || decideCall(vm, call) !== "userspace") return;
  frame[ExitWord.info] = HypervExit.hypercall;
  leaveToVmm(frame, KvmExit.hyperv);
}

/** Gives the result; undefined: the call is undefined, and raises so. */
export function finishHypervCall(vm: Vm, next: bigint): bigint | undefined {
  const outcome = decideCall(vm, readInput(vm));
  if (outcome === "undefined") {
    vm.states.raise(Vector.invalidOpcode);
    return undefined;
  }
  // Its eventfd was taken away while the exit was pending.
  if (outcome === "userspace") return returnHypervResult(vm, BigInt(HvStatus.INVALID_PORT_ID), next);
  if (outcome.signals !== undefined) vm.signal(outcome.signals);
  return returnHypervResult(vm, outcome.result, next);
}

/** RAX, or EDX:EAX outside 64-bit mode. */
export function returnHypervResult(vm: Vm, result: bigint, next: bigint): bigint {
  if (vm.states.isLongMode) vm.states.writeGeneral(Register.rax, result);
  else vm.states.edxEax = result;
  vm.retireInstruction(next);
  return result;
}

/** A write of a register that the VMM is told of: `frame` has its number and value. It is carried out once it is answered. */
export function routeHypervWrite(vm: Vm, frame: ExitFrame): void {
  const msr = frame[ExitWord.arg0Low] ?? 0;
  const value = frameU64(frame, ExitWord.arg1Low);
  const leave = (kvmExit: number, info: number): void => {
    frame[ExitWord.info] = info;
    leaveToVmm(frame, kvmExit);
  };
  switch (msr) {
    case HypervMsr.HV_X64_MSR_RESET:
      if (value === 1n) leave(KvmExit.systemEvent, SystemEvent.reset);
      return;
    case HypervMsr.HV_X64_MSR_CRASH_CTL:
      if ((value & CRASH_NOTIFY) !== 0n) leave(KvmExit.systemEvent, SystemEvent.crash);
      return;
    case HypervMsr.HV_X64_MSR_SCONTROL:
    case HypervMsr.HV_X64_MSR_SIEFP:
    case HypervMsr.HV_X64_MSR_SIMP:
      // To a VMM that has asked for the SynIC.
      if (isEnabled(vm.control, CAP_HYPERV_SYNIC, vm.current) || isEnabled(vm.control, CAP_HYPERV_SYNIC2, vm.current))
        leave(KvmExit.hyperv, HypervExit.synic);
      return;
    default:
  }
}
