/** What `struct kvm_run` holds after KVM_RUN, by exit reason (Documentation/virt/kvm/api.rst, 5). */
import { type ExitFrame, ExitWord, frameU64, KvmExit, systemEventOf } from "@hvjournal/core";
import { HYPERCALL_SMC, MMIO_WRITE } from "../kvm/exit-frames.js";
import { SystemEvent } from "../kvm/smccc/call.js";
import type { KvmVm } from "./kvm-vm.js";

interface RunBase {
  readonly vcpu: number;
  /** Number of the exit in the recording, from 1; 0 where none was made. */
  readonly exitNumber: number;
}

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

export interface SystemEventRun extends RunBase {
  readonly exitReason: "SYSTEM_EVENT";
  readonly systemEvent: { readonly type: number; readonly ndata: number; readonly data: readonly bigint[] };
}

export interface MmioRun extends RunBase {
  readonly exitReason: "MMIO";
  readonly mmio: {
    readonly physAddr: bigint;
    /** 8 bytes, little-endian; of a read, for the VMM to fill before it runs again. */
    readonly data: Uint8Array;
    readonly len: number;
    readonly isWrite: boolean;
  };
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

/** KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: the guest does what is not simulated; `reason` says what. */
export interface InternalErrorRun extends RunBase {
  readonly exitReason: "INTERNAL_ERROR";
  readonly internal: { readonly suberror: number; readonly reason: string };
}

export type KvmRun = HypercallRun | SystemEventRun | MmioRun | NisvRun | DebugRun | InternalErrorRun;

const MMIO_BYTES = 8;
const MMIO_LENGTH_MASK = 0xff;
const UPSTREAM_ARGS = 6;
const IMMEDIATE_MASK = 0xffffn;

/** The exit that waits for its answer. */
export function describeRun(vm: KvmVm, frame: ExitFrame, exitNumber: number, argsCount: number): KvmRun {
  const base = { vcpu: frame[ExitWord.vcpu] ?? 0, exitNumber };
  const info = frame[ExitWord.info] ?? 0;
  switch (frame[ExitWord.kvmExit]) {
    case KvmExit.hypercall:
      return { ...base, exitReason: "HYPERCALL", ...hypercallOf(vm, frame, argsCount) };
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

function hypercallOf(vm: KvmVm, frame: ExitFrame, argsCount: number): Pick<HypercallRun, "hypercall" | "immediate"> {
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

function mmioOf(frame: ExitFrame): MmioRun["mmio"] {
  const info = frame[ExitWord.info] ?? 0;
  const isWrite = (info & MMIO_WRITE) !== 0;
  const data = new Uint8Array(MMIO_BYTES);
  if (isWrite) new DataView(data.buffer).setBigUint64(0, frameU64(frame, ExitWord.arg1Low), true);
  return { physAddr: frameU64(frame, ExitWord.arg0Low), data, len: info & MMIO_LENGTH_MASK, isWrite };
}
