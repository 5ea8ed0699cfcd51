/** What `struct kvm_run` holds after KVM_RUN, by exit reason (Documentation/virt/kvm/api.rst, 5). */
import {
  type ExitFrame,
  ExitWord,
  frameU64,
  type InternalErrorRun,
  KvmExit,
  mmioOf,
  type MmioRun,
  type RunBase,
  type SystemEventRun,
  systemEventOf,
} from "@hvjournal/core";
import { policyTable } from "../kvm/control/policies.js";
import { HYPERCALL_SMC } from "../kvm/exit-frames.js";
import { SystemEvent } from "../kvm/smccc/call.js";
import type { KvmVm } from "./kvm-vm.js";

export interface HypercallRun extends RunBase {
  readonly exitReason: "HYPERCALL";
  readonly hypercall: {
    /** The function id: W0. */
    readonly nr: bigint;
    /** Zeros, as upstream has it; with the policy arm.smccc.args the argument registers as they were, x0 first. */
    readonly args: readonly bigint[];
    /** Not used on arm64: what is put here does nothing. */
    ret: bigint;
    /** Bit 0 KVM_HYPERCALL_EXIT_SMC; bit 1 KVM_HYPERCALL_EXIT_16BIT, of Thumb code, which this CPU does not have. */
    readonly flags: bigint;
  };
  /** Not upstream: the immediate of the instruction. */
  readonly immediate: number;
}

/** Nothing of the access has happened: the VMM sets registers and pc before it runs again, or it comes again. */
export interface NisvRun extends RunBase {
  readonly exitReason: "ARM_NISV";
  readonly armNisv: { readonly esrIss: bigint; readonly faultIpa: bigint };
}

/** After KVM_SET_GUEST_DEBUG: `hsr` is the ESR_EL2 of a software step or a breakpoint. */
export interface DebugRun extends RunBase {
  readonly exitReason: "DEBUG";
  readonly debug: { readonly hsr: number; readonly far: bigint };
}

/** What arm64's KVM tells of. */
export type ArmRun = HypercallRun | SystemEventRun | MmioRun | NisvRun | DebugRun;

export type KvmRun = ArmRun | InternalErrorRun;

const UPSTREAM_ARGS = 6;
const IMMEDIATE_MASK = 0xffffn;

/** The exit that waits for its answer. */
export function describeRun(vm: KvmVm, frame: ExitFrame, exitNumber: number): ArmRun {
  const base = { vcpu: frame[ExitWord.vcpu] ?? 0, exitNumber };
  const info = frame[ExitWord.info] ?? 0;
  switch (frame[ExitWord.kvmExit]) {
    case KvmExit.hypercall:
      return { ...base, exitReason: "HYPERCALL", ...hypercallOf(vm, frame) };
    case KvmExit.mmio:
      return { ...base, exitReason: "MMIO", mmio: mmioOf(frame) };
    case KvmExit.armNisv: {
      const esrIss = frameU64(frame, ExitWord.arg1Low);
      return { ...base, exitReason: "ARM_NISV", armNisv: { esrIss, faultIpa: frameU64(frame, ExitWord.arg0Low) } };
    }
    case KvmExit.systemEvent: {
      const { type, flags } = systemEventOf(info);
      const data = hasData(type) ? [BigInt(flags)] : [];
      return { ...base, exitReason: "SYSTEM_EVENT", systemEvent: { type, ndata: data.length, data } };
    }
    default:
      throw new RangeError(`no VMM is told of exit ${exitNumber}`);
  }
}

/** kvm_prepare_system_event: shutdowns and resets come with their flags, suspend and wake-up with nothing. */
function hasData(type: number): boolean {
  return type === SystemEvent.shutdown || type === SystemEvent.reset;
}

function hypercallOf(vm: KvmVm, frame: ExitFrame): Pick<HypercallRun, "hypercall" | "immediate"> {
  const argsCount = Number(policyTable.valueIn(vm.controlState, "arm.smccc.args"));
  const vcpu = vm.vcpu(frame[ExitWord.vcpu] ?? 0);
  const args = Array.from({ length: Math.max(UPSTREAM_ARGS, argsCount) }, (_, index) =>
    index < argsCount ? vcpu.getOneReg(`x${index}`) : 0n,
  );
  return {
    hypercall: {
      nr: BigInt(frame[ExitWord.arg0Low] ?? 0),
      args,
      ret: 0n,
      flags: BigInt((frame[ExitWord.info] ?? 0) & HYPERCALL_SMC),
    },
    immediate: Number(frameU64(frame, ExitWord.syndromeLow) & IMMEDIATE_MASK),
  };
}
