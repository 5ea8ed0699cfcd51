/** HVC and SMC: the exit they make, and how the kernel half finishes those that are its own. */
import { type ExitFrame, ExitWord, FinishedBy, KvmExit, SYSTEM_EVENT_FLAGS_SHIFT } from "@hvjournal/core";
import { functionIdOf } from "./describe-exit.js";
import { beginExitFrame, HYPERCALL_SMC, leaveToVmm } from "./exit-frames.js";
import { EsrClass, Reason } from "./exit-model.js";
import { KernelCaller } from "./smccc/kernel-caller.js";
import { type CallOutcome, type ResultRegisters, type ResultValue, SystemEvent } from "./smccc/call.js";
import { PsciFunction, PsciResult, SmcccFunction, SmcccResult } from "./smccc/function-id.js";
import { routeCall } from "./smccc/routing.js";
import { callService } from "./smccc/services.js";
import type { Vm } from "./vm.js";

const IL = 1 << 25;
const IMMEDIATE_MASK = 0xffff;

/** A call that may end in KVM_EXIT_SYSTEM_EVENT; asking for its outcome changes nothing. */
function isSystemFunction(id: number): boolean {
  switch (id) {
    case PsciFunction.systemOff:
    case PsciFunction.systemReset:
    case PsciFunction.systemSuspend32:
    case PsciFunction.systemSuspend64:
    case PsciFunction.systemReset2In32:
    case PsciFunction.systemReset2In64:
    case PsciFunction.systemOff2In32:
    case PsciFunction.systemOff2In64:
      return true;
    default:
      return false;
  }
}

function isWorkaround(id: number): boolean {
  return (
    id === SmcccFunction.archWorkaround1 || id === SmcccFunction.archWorkaround2 || id === SmcccFunction.archWorkaround3
  );
}

/** The function id of the call that the current vCPU makes: W0. */
export function calledFunction(vm: Vm): number {
  return vm.states.readW(0);
}

/** HVC of a workaround call: EL2's vector answers it without an exit. */
export function answerInVector(vm: Vm): boolean {
  if (!isWorkaround(calledFunction(vm))) return false;
  vm.states.writeXWords(0, 0, 0);
  return true;
}

/** pc is behind the instruction. For a system event, what KVM does before it leaves has been done. */
export function fillHypercallExit(frame: ExitFrame, vm: Vm, isSmc: boolean, immediate: number): void {
  const { states } = vm;
  const id = calledFunction(vm);
  const syndrome = (((isSmc ? EsrClass.smc64 : EsrClass.hvc64) << 26) | IL | immediate) >>> 0;
  beginExitFrame(frame, isSmc ? Reason.smc64 : Reason.hvc64, vm.current, syndrome);
  states.copyPc(frame, ExitWord.pcLow);
  frame[ExitWord.info] = isSmc ? HYPERCALL_SMC : 0;
  frame[ExitWord.arg0Low] = id;
  states.copyX(1, frame, ExitWord.arg1Low);
  states.copyX(2, frame, ExitWord.arg2Low);
  states.copyX(3, frame, ExitWord.arg3Low);
  if (isSmc && immediate !== 0) return;
  const { action, rule } = routeCall(vm.control, id, isSmc ? "smc" : "hvc");
  frame[ExitWord.rule] = rule;
  if (action === "forward") leaveToVmm(frame, KvmExit.hypercall);
  if (action !== "handle" || !isSystemFunction(id)) return;
  const outcome = callService(new KernelCaller(vm), id);
  if (outcome.kind === "systemEvent") leaveForSystemEvent(frame, vm, outcome);
}

/**
 * All vCPUs stop, and x0 shows a failure to whoever runs on by mistake; a suspend request is left to the VMM
 * with registers untouched.
 */
function leaveForSystemEvent(frame: ExitFrame, vm: Vm, event: CallOutcome & { readonly kind: "systemEvent" }): void {
  if (event.type !== SystemEvent.suspend) {
    vm.states.writeXValue(0, PsciResult.internalFailure);
    vm.powerOffAll();
  }
  leaveToVmm(frame, KvmExit.systemEvent);
  frame[ExitWord.info] = event.type | (event.flags << SYSTEM_EVENT_FLAGS_SHIFT);
}

/** KVM answers SMC with an immediate in x0 alone. */
function isForeignSmc(frame: ExitFrame): boolean {
  const isSmc = frame[ExitWord.reason] === Reason.smc64;
  return isSmc && ((frame[ExitWord.syndromeLow] ?? 0) & IMMEDIATE_MASK) !== 0;
}

/** Why no filter was asked about a call; undefined: it went its usual way. */
export function unruledCall(frame: ExitFrame): string | undefined {
  if (!isForeignSmc(frame)) return undefined;
  return `SMC #${(frame[ExitWord.syndromeLow] ?? 0) & IMMEDIATE_MASK} is no SMCCC call: only #0 is, so no filter is asked`;
}

const RESULTS = ["x0", "x1", "x2", "x3"] as const;

/** Those that the kernel half writes when it finishes a call. */
export function resultRegisters(frame: ExitFrame): readonly string[] {
  const reason = frame[ExitWord.reason];
  const isCall = reason === Reason.hvc64 || reason === Reason.smc64;
  if (!isCall || frame[ExitWord.finishedBy] !== FinishedBy.kernelHalf) return [];
  return isForeignSmc(frame) ? RESULTS.slice(0, 1) : RESULTS;
}

const NOT_SUPPORTED: ResultRegisters = [SmcccResult.notSupported, 0, 0, 0];

/** Finishes a hypercall that no one else does: x0 is its result. True: x1 to x3 are not all zero. */
export function finishHypercall(vm: Vm, frame: ExitFrame): boolean {
  if (isForeignSmc(frame)) {
    vm.states.writeXValue(0, SmcccResult.notSupported);
    return false;
  }
  const id = functionIdOf(frame);
  const isSmc = frame[ExitWord.reason] === Reason.smc64;
  const { action } = routeCall(vm.control, id, isSmc ? "smc" : "hvc");
  if (action !== "handle") return writeResults(vm, NOT_SUPPORTED);
  const outcome = callService(new KernelCaller(vm), id);
  // Only a firmware register or capability changed since the exit can make a system event of it now: refused.
  if (outcome.kind === "systemEvent") return writeResults(vm, NOT_SUPPORTED);
  const hasFurther = writeResults(vm, outcome.registers);
  if (outcome.kind === "wait" && !vm.isSignalled(vm.current)) vm.schedule.currentState.isWaiting = true;
  return hasFurther;
}

function writeResults({ states }: Vm, [x0, x1, x2, x3]: ResultRegisters): boolean {
  states.writeXValue(0, x0);
  states.writeXValue(1, x1);
  states.writeXValue(2, x2);
  states.writeXValue(3, x3);
  return !(isZero(x1) && isZero(x2) && isZero(x3));
}

function isZero(value: ResultValue): boolean {
  return value === 0 || value === 0n;
}
