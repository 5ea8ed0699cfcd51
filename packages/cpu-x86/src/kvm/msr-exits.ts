/** MSRs that are the VMM's to answer: KVM_CAP_X86_USER_SPACE_MSR and filters (Documentation/virt/kvm/api.rst, 4.97, 7.21). */
import { type ExitFrame, ExitWord, frameU64, KvmExit, setFrameU64 } from "@hvjournal/core";
import { Vector } from "../isa/exceptions.js";
import { CAP_USER_SPACE_MSR } from "./capabilities.js";
import { capabilityArgument } from "./control/control-state.js";
import { leaveToVmm } from "./exit-frames.js";
import { routeHypervWrite } from "./hyperv/exits.js";
import { isAllowed } from "./msr-filter.js";
import { isKnownMsr, isReadableMsr, isWritableMsr } from "./msrs.js";
import type { Vm } from "./vm.js";
import { xenPageAccess } from "./xen/call-page.js";

/** KVM_MSR_EXIT_REASON_*. */
export const MsrReason = { invalid: 1, unknown: 2, filter: 4 } as const;

/** Why an access of the guest's does not succeed in the kernel; undefined: it does, as far as can be told beforehand. */
function failure(vm: Vm, msr: number, value: bigint | undefined): number | undefined {
  const kind = value === undefined ? "read" : "write";
  if (!isAllowed(vm.control.msrFilter, msr, kind)) return MsrReason.filter;
  if (!isKnownMsr(vm, msr, kind)) return MsrReason.unknown;
  const isValid = value === undefined ? isReadableMsr(vm, msr) : isWritableMsr(vm, msr, value);
  return isValid ? undefined : MsrReason.invalid;
}

/** An RDMSR or WRMSR that is about to leave. */
export function routeMsr(vm: Vm, frame: ExitFrame, cause: "readMsr" | "writeMsr"): void {
  const isWrite = cause === "writeMsr";
  const msr = frame[ExitWord.arg0Low] ?? 0;
  const reason = failure(vm, msr, isWrite ? frameU64(frame, ExitWord.arg1Low) : undefined);
  if (reason === undefined) {
    if (isWrite && xenPageAccess(vm, msr) === undefined) routeHypervWrite(vm, frame);
    return;
  }
  const asked = capabilityArgument(vm.control, CAP_USER_SPACE_MSR) ?? 0n;
  if ((asked & BigInt(reason)) === 0n) return;
  setFrameU64(frame, ExitWord.arg2Low, BigInt(reason));
  leaveToVmm(frame, isWrite ? KvmExit.x86Wrmsr : KvmExit.x86Rdmsr);
}

/** Whether the kernel half may carry out an access: a filter that nobody is told of makes it #GP. */
export function mayAccess(vm: Vm, msr: number, kind: "read" | "write"): boolean {
  return isAllowed(vm.control.msrFilter, msr, kind);
}

/** The VMM's answer: data of a read; or an error, which raises #GP. */
export function completeMsrExit(vm: Vm, kvmExit: number, data: bigint, next: bigint): void {
  if (vm.takeMsrError()) {
    vm.states.raise(Vector.generalProtection);
    return;
  }
  if (kvmExit === KvmExit.x86Rdmsr) vm.states.edxEax = data;
  vm.retireInstruction(next);
}
