/** What `struct kvm_run` holds after KVM_RUN on x86, by exit reason (Documentation/virt/kvm/api.rst, 5). */
import {
  accessOf,
  completeRead,
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
  type ToldExit,
  type VmmPort,
} from "@hvjournal/core";
import { HypervExit } from "../kvm/hyperv/exit-types.js";
import { HypervMsr } from "../kvm/hyperv/registers.js";
import { carriesXmm, outputRegister } from "../kvm/hyperv/xmm-output.js";
import { MSR_ERROR } from "../kvm/named-registers.js";
import { xenCallInfo, xenParameters } from "../kvm/xen/exit-info.js";
import type { KvmVm } from "./kvm-vm.js";

/** Each element of a string instruction is an exit of its own: `count` is 1. */
export interface IoRun extends RunBase {
  readonly exitReason: "IO";
  readonly io: {
    /** KVM_EXIT_IO_IN or KVM_EXIT_IO_OUT. */
    readonly direction: 0 | 1;
    /** In bytes. */
    readonly size: number;
    readonly port: number;
    readonly count: 1;
    /** 8 bytes, little-endian; of IN, for the VMM to fill before it runs again. */
    readonly data: Uint8Array;
  };
}

/** One of KVM's own hypercalls that KVM_CAP_EXIT_HYPERCALL has asked for. */
export interface HypercallRun extends RunBase {
  readonly exitReason: "HYPERCALL";
  readonly hypercall: {
    /** KVM_HC_*: RAX. */
    readonly nr: bigint;
    /** RBX, RCX, RDX, and zeros. */
    readonly args: readonly bigint[];
    /** What RAX is to be, for the VMM to set before it runs again. */
    ret: bigint;
    /** KVM_HYPERCALL_EXIT_LONG_MODE. */
    readonly flags: bigint;
  };
}

/** KVM_EXIT_HYPERV_SYNIC: a register of the SynIC was written; nothing is to be answered. */
interface HypervSynic {
  readonly type: 1;
  readonly msr: number;
  /** As they are once the write has been carried out. */
  readonly control: bigint;
  readonly evtPage: bigint;
  readonly msgPage: bigint;
}

/** An XMM register. */
export interface XmmHalves {
  low: bigint;
  high: bigint;
}

/** KVM_EXIT_HYPERV_SYNDBG: the guest writes the debugger's control register. */
interface HypervDebugger {
  readonly type: 3;
  readonly msr: number;
  readonly control: bigint;
  /** For the VMM to set before it runs again; it begins as it is. */
  status: bigint;
  readonly sendPage: bigint;
  readonly recvPage: bigint;
  readonly pendingPage: bigint;
}

/** KVM_EXIT_HYPERV_HCALL; 4, which is not upstream: KVM_EXIT_HYPERV_HCALL_XMM. */
interface HypervCall {
  readonly type: 2 | 4;
  /** The input value. */
  readonly input: bigint;
  /** For the VMM to set before it runs again; it begins as HV_STATUS_INVALID_HYPERCALL_CODE, where upstream leaves what was there. */
  result: bigint;
  /** Addresses of input and output, or the two parameters of a fast call. */
  readonly params: readonly [bigint, bigint];
  /**
   * XMM0 to XMM5, of type 4 and of a struct that has grown (policy `hv.xmmOutput`): input, and for the VMM to set before it runs
   * again. What it sets reaches the guest if the call succeeds, and not in registers that hold input.
   */
  readonly xmm?: readonly XmmHalves[];
  /** Bit 0: `xmm` is there. Of the policy's value `valid-fields` only. */
  readonly validFields?: bigint;
}

export interface HypervRun extends RunBase {
  readonly exitReason: "HYPERV";
  readonly hyperv: HypervSynic | HypervCall | HypervDebugger;
}

/** KVM_EXIT_XEN_HCALL: a call that KVM_XEN_HVM_CONFIG has the VMM answer. */
export interface XenRun extends RunBase {
  readonly exitReason: "XEN";
  readonly xen: {
    readonly type: 1;
    /** 1: in 64-bit mode. */
    readonly longmode: 0 | 1;
    /** Who may call is the VMM's to say. */
    readonly cpl: number;
    /** The number of the call: RAX. */
    readonly input: bigint;
    /** What RAX is to be, for the VMM to set before it runs again. */
    result: bigint;
    /** RDI, RSI, RDX, R10, R8, R9; outside 64-bit mode EBX, ECX, EDX, ESI, EDI, EBP. */
    readonly params: readonly bigint[];
  };
}

/** RDMSR or WRMSR that KVM_CAP_X86_USER_SPACE_MSR has asked for. */
export interface MsrRun extends RunBase {
  readonly exitReason: "X86_RDMSR" | "X86_WRMSR";
  readonly msr: {
    /** For the VMM to set before it runs again: not 0 makes the access #GP. */
    error: number;
    /** KVM_MSR_EXIT_REASON_*: 1 invalid, 2 unknown, 4 filter. */
    readonly reason: number;
    readonly index: number;
    /** Of RDMSR, for the VMM to set before it runs again. */
    data: bigint;
  };
}

/** A fault at the delivery of a double fault: the vCPU has shut down. */
export interface ShutdownRun extends RunBase {
  readonly exitReason: "SHUTDOWN";
}

/** After KVM_SET_GUEST_DEBUG. */
export interface DebugRun extends RunBase {
  readonly exitReason: "DEBUG";
  readonly debug: { readonly exception: number; readonly pc: bigint; readonly dr6: bigint };
}

/** What amd64's KVM tells of. */
export type X86Run =
  IoRun | MmioRun | HypercallRun | HypervRun | XenRun | MsrRun | SystemEventRun | ShutdownRun | DebugRun;

export type KvmRun = X86Run | InternalErrorRun;

const HYPERCALL_ARGS = 6;
/** HV_STATUS_INVALID_HYPERCALL_CODE. */
const INVALID_HYPERCALL_CODE = 2n;
const WORD_BITS = 32n;

/** The exit that waits for its answer. */
export function describeRun(vm: KvmVm, frame: ExitFrame, exitNumber: number): ToldExit<X86Run> {
  const base = { vcpu: frame[ExitWord.vcpu] ?? 0, exitNumber };
  switch (frame[ExitWord.kvmExit]) {
    case KvmExit.io:
      return describeIo(base, frame);
    case KvmExit.mmio: {
      const mmio = mmioOf(frame);
      const run = { ...base, exitReason: "MMIO", mmio } as const;
      return mmio.isWrite ? { run } : { run, answer: (port) => completeRead(port, mmio), isRestarted: true };
    }
    case KvmExit.hypercall:
      return describeHypercall(base, frame);
    case KvmExit.hyperv:
      return describeHyperv(base, vm, frame);
    case KvmExit.xen:
      return describeXen(base, vm, frame);
    case KvmExit.x86Rdmsr:
    case KvmExit.x86Wrmsr:
      return describeMsr(base, frame);
    case KvmExit.systemEvent: {
      const { type } = systemEventOf(frame[ExitWord.info] ?? 0);
      return { run: { ...base, exitReason: "SYSTEM_EVENT", systemEvent: { type, ndata: 0, data: [] } } };
    }
    case KvmExit.shutdown:
      return { run: { ...base, exitReason: "SHUTDOWN" } };
    default:
      throw new RangeError(`no VMM is told of exit ${exitNumber}`);
  }
}

function describeIo(base: RunBase, frame: ExitFrame): ToldExit<IoRun> {
  const { data, len, isWrite } = accessOf(frame);
  const io = { direction: isWrite ? 1 : 0, size: len, port: frame[ExitWord.arg0Low] ?? 0, count: 1, data } as const;
  const run = { ...base, exitReason: "IO", io } as const;
  return isWrite
    ? { run, isRestarted: true }
    : { run, answer: (port) => completeRead(port, { data }), isRestarted: true };
}

function complete(port: VmmPort, value: bigint): void {
  port.complete(Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(32, value >> WORD_BITS)));
}

function describeHypercall(base: RunBase, frame: ExitFrame): ToldExit<HypercallRun> {
  const given = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((word) => frameU64(frame, word));
  const hypercall = {
    nr: frameU64(frame, ExitWord.arg0Low),
    args: Array.from({ length: HYPERCALL_ARGS }, (_, index) => given[index] ?? 0n),
    ret: 0n,
    flags: BigInt(frame[ExitWord.info] ?? 0),
  };
  return { run: { ...base, exitReason: "HYPERCALL", hypercall }, answer: (port) => complete(port, hypercall.ret) };
}

function describeHyperv(base: RunBase, vm: KvmVm, frame: ExitFrame): ToldExit<HypervRun> {
  const type = frame[ExitWord.info];
  if (type === HypervExit.synic) return { run: { ...base, exitReason: "HYPERV", hyperv: synicOf(vm, frame) } };
  if (type === HypervExit.syndbg) {
    const hyperv = debuggerOf(vm, frame);
    return { run: { ...base, exitReason: "HYPERV", hyperv }, answer: (port) => complete(port, hyperv.status) };
  }
  return describeHypervCall(base, vm, frame);
}

const XMM_REGISTERS = 6;
const WORD = (1n << 64n) - 1n;

function describeHypervCall(base: RunBase, vm: KvmVm, frame: ExitFrame): ToldExit<HypervRun> {
  const validFields = frameU64(frame, ExitWord.arg3Low);
  const before = carriesXmm(vm.controlState, frame) ? xmmOf(vm, base.vcpu) : [];
  const xmm = before.map((each) => ({ ...each }));
  const hyperv: HypervCall = {
    type: frame[ExitWord.info] === HypervExit.hypercallXmm ? 4 : 2,
    input: frameU64(frame, ExitWord.arg0Low),
    result: INVALID_HYPERCALL_CODE,
    params: [frameU64(frame, ExitWord.arg1Low), frameU64(frame, ExitWord.arg2Low)],
    ...(xmm.length === 0 ? {} : { xmm }),
    ...(validFields === 0n ? {} : { validFields }),
  };
  const answer = (port: VmmPort): void => {
    before.forEach(({ low, high }, register) => {
      const now = xmm[register];
      if (now !== undefined && now.low !== low) port.setRegister(base.vcpu, outputRegister(register, 0), now.low);
      if (now !== undefined && now.high !== high) port.setRegister(base.vcpu, outputRegister(register, 1), now.high);
    });
    complete(port, hyperv.result);
  };
  return { run: { ...base, exitReason: "HYPERV", hyperv }, answer };
}

function xmmOf(vm: KvmVm, vcpu: number): XmmHalves[] {
  return Array.from({ length: XMM_REGISTERS }, (_, register) => {
    const value = vm.vcpu(vcpu).getReg(`xmm${register}`);
    return { low: value & WORD, high: value >> 64n };
  });
}

function debuggerOf(vm: KvmVm, frame: ExitFrame): HypervDebugger {
  const vcpu = vm.vcpu(frame[ExitWord.vcpu] ?? 0);
  const value = (index: number): bigint => vcpu.getMsr(index) ?? 0n;
  return {
    type: 3,
    msr: frame[ExitWord.arg0Low] ?? 0,
    control: frameU64(frame, ExitWord.arg1Low),
    status: value(HypervMsr.HV_X64_MSR_SYNDBG_STATUS),
    sendPage: value(HypervMsr.HV_X64_MSR_SYNDBG_SEND_BUFFER),
    recvPage: value(HypervMsr.HV_X64_MSR_SYNDBG_RECV_BUFFER),
    pendingPage: value(HypervMsr.HV_X64_MSR_SYNDBG_PENDING_BUFFER),
  };
}

/** The register that is being written has its new value: the write is carried out when the VMM has been told. */
function synicOf(vm: KvmVm, frame: ExitFrame): HypervSynic {
  const vcpu = vm.vcpu(frame[ExitWord.vcpu] ?? 0);
  const msr = frame[ExitWord.arg0Low] ?? 0;
  const value = (index: number): bigint =>
    index === msr ? frameU64(frame, ExitWord.arg1Low) : (vcpu.getMsr(index) ?? 0n);
  return {
    type: 1,
    msr,
    control: value(HypervMsr.HV_X64_MSR_SCONTROL),
    evtPage: value(HypervMsr.HV_X64_MSR_SIEFP),
    msgPage: value(HypervMsr.HV_X64_MSR_SIMP),
  };
}

function describeXen(base: RunBase, vm: KvmVm, frame: ExitFrame): ToldExit<XenRun> {
  const { longMode, cpl } = xenCallInfo(frame);
  const vcpu = vm.vcpu(base.vcpu);
  const xen: XenRun["xen"] = {
    ...{ type: 1, longmode: longMode ? 1 : 0, cpl, input: frameU64(frame, ExitWord.arg0Low), result: 0n },
    params: xenParameters(longMode).map(({ name }) => vcpu.getReg(name)),
  };
  return { run: { ...base, exitReason: "XEN", xen }, answer: (port) => complete(port, xen.result) };
}

function describeMsr(base: RunBase, frame: ExitFrame): ToldExit<MsrRun> {
  const isRead = frame[ExitWord.kvmExit] === KvmExit.x86Rdmsr;
  const msr = {
    error: 0,
    reason: frame[ExitWord.arg2Low] ?? 0,
    index: frame[ExitWord.arg0Low] ?? 0,
    data: isRead ? 0n : frameU64(frame, ExitWord.arg1Low),
  };
  const answer = (port: VmmPort): void => {
    if (msr.error !== 0) port.setRegister(base.vcpu, MSR_ERROR, 1n);
    else if (isRead) complete(port, msr.data);
  };
  return { run: { ...base, exitReason: isRead ? "X86_RDMSR" : "X86_WRMSR", msr }, answer };
}
