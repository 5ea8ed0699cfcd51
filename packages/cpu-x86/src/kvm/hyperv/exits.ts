/** Hyper-V's calls and registers on their way out: what is the VMM's to answer, and how it is told. */
import { type ExitFrame, ExitWord, frameU64, KvmExit, setFrameU64 } from "@hvjournal/core";
import { hypervOffer } from "../cpuid.js";
import { leaveToVmm } from "../exit-frames.js";
import { Vector } from "../../isa/exceptions.js";
import { Register } from "../../isa/state.js";
import type { Vm } from "../vm.js";
import { HypervExit } from "./exit-types.js";
import { readInput } from "./hypercall-input.js";
import { decideCall } from "./hypercalls.js";
import { hasSynic } from "./msrs.js";
import { HvStatus } from "./status.js";
import { HypervMsr } from "./registers.js";
import { carriesXmm, writeBackOutput, xmmExit } from "./xmm-output.js";

/** KVM_SYSTEM_EVENT_*. */
const SystemEvent = { reset: 2, crash: 3 } as const;
const CRASH_NOTIFY = 1n << 63n;

/** The guest has said that it speaks Hyper-V's interface: VMCALL is that. */
export function speaksHyperv(vm: Vm): boolean {
  return vm.hyperv.vm.guestOsId !== 0n && hypervOffer(vm, vm.current) !== undefined;
}

/** The frame of a call: input value, and the two parameters. */
export function describeHypervCall(vm: Vm, frame: ExitFrame): void {
  const call = readInput(vm);
  const outcome = decideCall(vm, call);
  const isUserspace = typeof outcome === "object" && "userspace" in outcome;
  const { value, input, output } = isUserspace ? outcome.userspace : call;
  setFrameU64(frame, ExitWord.arg0Low, value);
  setFrameU64(frame, ExitWord.arg1Low, input);
  setFrameU64(frame, ExitWord.arg2Low, output);
  setFrameU64(frame, ExitWord.arg3Low, 0n);
  if (!isUserspace) return;
  frame[ExitWord.info] = HypervExit.hypercall;
  leaveToVmm(frame, KvmExit.hyperv);
  if (!carriesXmm(vm.control, frame)) return;
  const { type, validFields } = xmmExit(vm.control);
  frame[ExitWord.info] = type;
  setFrameU64(frame, ExitWord.arg3Low, validFields);
}

/** Gives the result; undefined: the instruction has not retired. */
export function finishHypervCall(vm: Vm, next: bigint): bigint | undefined {
  const outcome = decideCall(vm, readInput(vm));
  if (outcome === "undefined") {
    vm.states.raise(Vector.invalidOpcode);
    return undefined;
  }
  // Its eventfd was taken away while the exit was pending.
  if ("userspace" in outcome) return returnHypervResult(vm, BigInt(HvStatus.INVALID_PORT_ID), next);
  const result = "act" in outcome ? outcome.act() : outcome.result;
  return result === undefined ? undefined : returnHypervResult(vm, result, next);
}

/** The VMM's answer, with what it has given back in XMM registers. */
export function completeHypervCall(vm: Vm, frame: ExitFrame, result: bigint, next: bigint): void {
  if (carriesXmm(vm.control, frame)) writeBackOutput(vm, frame, result);
  returnHypervResult(vm, result, next);
}

/** `kvm_run.hyperv.u.syndbg.status`, once a write of the debugger's CONTROL has been carried out. */
export function takeDebuggerStatus(vm: Vm, frame: ExitFrame, status: bigint): void {
  if (frame[ExitWord.info] === HypervExit.syndbg) vm.hyperv.vm.debugStatus = status;
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
      if (hasSynic(vm)) leave(KvmExit.hyperv, HypervExit.synic);
      return;
    case HypervMsr.HV_X64_MSR_SYNDBG_CONTROL:
      leave(KvmExit.hyperv, HypervExit.syndbg);
      return;
    default:
  }
}
