/**
 * What an amd64 guest's VMM is asked, as a handler sees it: KVM_EXIT_HYPERV, KVM_EXIT_HYPERCALL, KVM_EXIT_XEN,
 * KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR (Documentation/virt/kvm/api.rst, section 5), and the VMware backdoor's port. Names are kvm_run's.
 */
import { type ExitFrame, ExitWord, frameU64, KvmExit, type VmmPort } from "@hvjournal/core";
import {
  type Amd64ControlState,
  carriesXmm,
  HypervExit,
  HypervMsr,
  hypervCallName,
  hypervInputOf,
  KVM_CALL_NAMES,
  kvmCallName,
  KvmVcpu,
  msrName,
  xenCallInfo,
  xenCallName,
  xenParameters,
} from "@hvjournal/cpu-x86";

/** What every question says. */
interface AskedOf {
  /** Who asks, from 0. */
  readonly vcpu: number;
}

/** An XMM register: 64 bits each. */
export interface XmmValue {
  readonly low: bigint;
  readonly high: bigint;
}

/** KVM_EXIT_HYPERV_HCALL: a hypercall by the TLFS's ABI. */
export interface HvCall extends AskedOf {
  readonly type: "hv-call" | "hv-call-xmm";
  /** Bits 15 to 0 of the input value. */
  readonly code: number;
  /** The parameters are values, not addresses. */
  readonly fast: boolean;
  /** Units of 8 bytes. */
  readonly variableHeaderSize: number;
  readonly repCount: number;
  readonly repStart: number;
  /** `hcall.input`: the input value, of which the fields above are parts. */
  readonly inputValue: bigint;
  /** `hcall.params`. */
  readonly params: readonly [bigint, bigint];
  /** `params[0]`: guest-physical address of the input block, or the first parameter. */
  readonly input: bigint;
  /** `params[1]`: guest-physical address of the output block, or the second parameter. */
  readonly output: bigint;
  /** XMM0 to XMM5, where the exit carries them: `hv-call-xmm`, or a struct that has grown. Not upstream. */
  readonly xmm?: readonly XmmValue[];
}

/** KVM_EXIT_HYPERV_SYNIC: the guest writes SCONTROL, SIEFP or SIMP. Told, not asked. */
export interface HvSynic extends AskedOf {
  readonly type: "hv-synic";
  readonly msr: number;
  /** SCONTROL, SIEFP and SIMP as they are once the write has been carried out. */
  readonly control: bigint;
  readonly evtPage: bigint;
  readonly msgPage: bigint;
}

/** KVM_EXIT_HYPERV_SYNDBG: the guest writes the synthetic debugger's control register. */
export interface HvSyndbg extends AskedOf {
  readonly type: "hv-syndbg";
  readonly msr: number;
  readonly control: bigint;
  /** As it is: what the answer is to change. */
  readonly status: bigint;
  readonly sendPage: bigint;
  readonly recvPage: bigint;
  readonly pendingPage: bigint;
}

/** KVM_EXIT_HYPERCALL: a call by KVM's own ABI. */
export interface KvmCall extends AskedOf {
  readonly type: "kvm-call";
  readonly nr: number;
  readonly args: readonly bigint[];
  /** KVM_HYPERCALL_EXIT_LONG_MODE */
  readonly longMode: boolean;
}

/** KVM_EXIT_XEN_HCALL: a call by Xen's interface, as KVM_XEN_HVM_CONFIG has it. */
export interface XenCall extends AskedOf {
  readonly type: "xen-call";
  /** `hcall.input`: __HYPERVISOR_*. */
  readonly nr: number;
  /** `hcall.params`, six. */
  readonly params: readonly bigint[];
  readonly longMode: boolean;
  /** Who may call is the VMM's to say. */
  readonly cpl: number;
}

/** KVM_MSR_EXIT_REASON_*. */
export type MsrExitReason = "inval" | "unknown" | "filter";

export interface RdmsrCall extends AskedOf {
  readonly type: "rdmsr";
  readonly index: number;
  readonly reason: MsrExitReason;
}

export interface WrmsrCall extends AskedOf {
  readonly type: "wrmsr";
  readonly index: number;
  readonly data: bigint;
  readonly reason: MsrExitReason;
}

/** An access to the VMware backdoor's port; registers are 32 bits wide. */
export interface VmportCall extends AskedOf {
  readonly type: "vmport";
  readonly port: number;
  readonly isWrite: boolean;
  readonly bytes: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
  readonly esi: number;
  readonly edi: number;
}

/** KVM_EXIT_IO of a port that no device claims. */
export interface IoAccess extends AskedOf {
  readonly type: "io";
  readonly port: number;
  readonly isWrite: boolean;
  readonly bytes: number;
  /** Of a write. */
  readonly data: bigint;
}

/** KVM_EXIT_MMIO of an address that no device claims. */
export interface MmioAccess extends AskedOf {
  readonly type: "mmio";
  readonly address: number;
  readonly isWrite: boolean;
  readonly bytes: number;
  /** Of a write. */
  readonly data: bigint;
}

/** An eventfd has been signalled, by the guest's write or call that did not leave to the VMM. Told, not asked. */
export interface EventfdSignal extends AskedOf {
  readonly type: "eventfd";
  readonly fd: number;
  /** How often it has been in all. */
  readonly count: number;
}

export type X86Call =
  | HvCall
  | HvSynic
  | HvSyndbg
  | KvmCall
  | XenCall
  | RdmsrCall
  | WrmsrCall
  | VmportCall
  | IoAccess
  | MmioAccess
  | EventfdSignal;

const HYPERCALL_LONG_MODE = 1;
const MSR_REASONS: Readonly<Record<number, MsrExitReason>> = { 1: "inval", 2: "unknown", 4: "filter" };
const IO_WRITE = 0x100;
const IO_LENGTH = 0xff;
const XMM_COUNT = 6;
const VMPORT_REGISTERS = ["eax", "ebx", "ecx", "edx", "esi", "edi"] as const;

function readXmm(vcpu: number, port: VmmPort): readonly XmmValue[] {
  return Array.from({ length: XMM_COUNT }, (_, index) => ({
    low: port.readRegister(vcpu, `xmm${index}.q[0]`),
    high: port.readRegister(vcpu, `xmm${index}.q[1]`),
  }));
}

/** Objects of calls are made for every exit: a literal with a spread in it costs ten times as much as one without. */
function hvCall(exit: ExitFrame, port: VmmPort, type: HvCall["type"]): HvCall {
  const inputValue = frameU64(exit, ExitWord.arg0Low);
  const input = frameU64(exit, ExitWord.arg1Low);
  const output = frameU64(exit, ExitWord.arg2Low);
  const { code, isFast, variableHeader, repCount, repStart } = hypervInputOf(inputValue);
  const call: HvCall = {
    type,
    vcpu: exit[ExitWord.vcpu] ?? 0,
    code,
    fast: isFast,
    variableHeaderSize: variableHeader,
    repCount,
    repStart,
    inputValue,
    params: [input, output],
    input,
    output,
  };
  if (!carriesXmm(port.configuration as Amd64ControlState, exit)) return call;
  return { ...call, xmm: readXmm(call.vcpu, port) };
}

function synicWrite(exit: ExitFrame, port: VmmPort): HvSynic {
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  const msr = exit[ExitWord.arg0Low] ?? 0;
  const registers = new KvmVcpu(port, vcpu);
  const value = (index: number): bigint =>
    index === msr ? frameU64(exit, ExitWord.arg1Low) : (registers.getMsr(index) ?? 0n);
  return {
    ...{ type: "hv-synic", vcpu, msr, control: value(HypervMsr.HV_X64_MSR_SCONTROL) },
    ...{ evtPage: value(HypervMsr.HV_X64_MSR_SIEFP), msgPage: value(HypervMsr.HV_X64_MSR_SIMP) },
  };
}

function debuggerWrite(exit: ExitFrame, port: VmmPort): HvSyndbg {
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  const registers = new KvmVcpu(port, vcpu);
  const value = (index: number): bigint => registers.getMsr(index) ?? 0n;
  return {
    ...{ type: "hv-syndbg", vcpu, msr: exit[ExitWord.arg0Low] ?? 0, control: frameU64(exit, ExitWord.arg1Low) },
    status: value(HypervMsr.HV_X64_MSR_SYNDBG_STATUS),
    sendPage: value(HypervMsr.HV_X64_MSR_SYNDBG_SEND_BUFFER),
    recvPage: value(HypervMsr.HV_X64_MSR_SYNDBG_RECV_BUFFER),
    pendingPage: value(HypervMsr.HV_X64_MSR_SYNDBG_PENDING_BUFFER),
  };
}

function hypervExit(exit: ExitFrame, port: VmmPort): X86Call | undefined {
  switch (exit[ExitWord.info]) {
    case HypervExit.synic:
      return synicWrite(exit, port);
    case HypervExit.syndbg:
      return debuggerWrite(exit, port);
    case HypervExit.hypercall:
      return hvCall(exit, port, "hv-call");
    case HypervExit.hypercallXmm:
      return hvCall(exit, port, "hv-call-xmm");
    default:
      return undefined;
  }
}

function kvmCall(exit: ExitFrame): KvmCall {
  return {
    type: "kvm-call",
    vcpu: exit[ExitWord.vcpu] ?? 0,
    nr: Number(frameU64(exit, ExitWord.arg0Low)),
    args: [frameU64(exit, ExitWord.arg1Low), frameU64(exit, ExitWord.arg2Low), frameU64(exit, ExitWord.arg3Low)],
    longMode: ((exit[ExitWord.info] ?? 0) & HYPERCALL_LONG_MODE) !== 0,
  };
}

function xenCall(exit: ExitFrame, port: VmmPort): XenCall {
  const { longMode, cpl } = xenCallInfo(exit);
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  return {
    type: "xen-call",
    vcpu,
    nr: Number(frameU64(exit, ExitWord.arg0Low)),
    params: xenParameters(longMode).map(({ name }) => port.readRegister(vcpu, name)),
    longMode,
    cpl,
  };
}

function msrCall(exit: ExitFrame): RdmsrCall | WrmsrCall {
  const reason = MSR_REASONS[exit[ExitWord.arg2Low] ?? 0] ?? "unknown";
  const [vcpu, index] = [exit[ExitWord.vcpu] ?? 0, exit[ExitWord.arg0Low] ?? 0];
  if (exit[ExitWord.kvmExit] === KvmExit.x86Rdmsr) return { type: "rdmsr", vcpu, index, reason };
  return { type: "wrmsr", vcpu, index, reason, data: frameU64(exit, ExitWord.arg1Low) };
}

function vmportCall(exit: ExitFrame, port: VmmPort): VmportCall {
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  const info = exit[ExitWord.info] ?? 0;
  const [eax = 0, ebx = 0, ecx = 0, edx = 0, esi = 0, edi = 0] = VMPORT_REGISTERS.map((name) =>
    Number(port.readRegister(vcpu, name)),
  );
  return {
    type: "vmport",
    vcpu,
    port: exit[ExitWord.arg0Low] ?? 0,
    isWrite: (info & IO_WRITE) !== 0,
    bytes: info & IO_LENGTH,
    eax,
    ebx,
    ecx,
    edx,
    esi,
    edi,
  };
}

/** An access of the guest's to what no device claims; undefined: the exit is none. */
export function accessOf(exit: ExitFrame): IoAccess | MmioAccess | undefined {
  const info = exit[ExitWord.info] ?? 0;
  const [bytes, isWrite] = [info & IO_LENGTH, (info & IO_WRITE) !== 0];
  const data = isWrite ? BigInt.asUintN(8 * bytes, frameU64(exit, ExitWord.arg1Low)) : 0n;
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  switch (exit[ExitWord.kvmExit]) {
    case KvmExit.io:
      return { type: "io", port: exit[ExitWord.arg0Low] ?? 0, vcpu, isWrite, bytes, data };
    case KvmExit.mmio:
      return { type: "mmio", address: Number(frameU64(exit, ExitWord.arg0Low)), vcpu, isWrite, bytes, data };
    default:
      return undefined;
  }
}

/** What an exit asks; undefined: of a kind that this build does not know, or that asks nothing. */
export function x86CallOf(exit: ExitFrame, port: VmmPort): X86Call | undefined {
  switch (exit[ExitWord.kvmExit]) {
    case KvmExit.hyperv:
      return hypervExit(exit, port);
    case KvmExit.hypercall:
      return kvmCall(exit);
    case KvmExit.xen:
      return xenCall(exit, port);
    case KvmExit.x86Rdmsr:
    case KvmExit.x86Wrmsr:
      return msrCall(exit);
    case KvmExit.io:
      return vmportCall(exit, port);
    default:
      return undefined;
  }
}

/** What is called: a call code, an MSR, a backdoor command. */
export function x86CallNumber(call: X86Call): number {
  switch (call.type) {
    case "hv-call":
    case "hv-call-xmm":
      return call.code;
    case "hv-synic":
    case "hv-syndbg":
      return call.msr;
    case "kvm-call":
    case "xen-call":
      return call.nr;
    case "vmport":
      return call.ecx & 0xffff;
    case "io":
      return call.port;
    case "mmio":
      return call.address;
    case "eventfd":
      return call.fd;
    default:
      return call.index;
  }
}

/** By call codes, which have 16 bits: one that nobody answers is counted by its text each time. */
const hvCallTexts = new Map<number, string>();

function hvCallText(code: number): string {
  let text = hvCallTexts.get(code);
  if (text === undefined) hvCallTexts.set(code, (text = `KVM_EXIT_HYPERV ${hypervCallName(code)}`));
  return text;
}

/** Of the calls that have names: their numbers have 64 bits. */
const kvmCallTexts: ReadonlyMap<number, string> = new Map(
  Array.from(KVM_CALL_NAMES.keys(), (nr) => [nr, kvmCallText(nr)]),
);

function kvmCallText(nr: number): string {
  return `KVM_EXIT_HYPERCALL ${kvmCallName(nr)}`;
}

/** "KVM_EXIT_HYPERV HvExtCallQueryCapabilities" */
export function x86CallText(call: X86Call): string {
  switch (call.type) {
    case "hv-call":
      return hvCallText(call.code);
    case "hv-call-xmm":
      return `KVM_EXIT_HYPERV type ${HypervExit.hypercallXmm}, ${hypervCallName(call.code)}`;
    case "hv-synic":
    case "hv-syndbg":
      return `KVM_EXIT_HYPERV ${msrName(call.msr)}`;
    case "kvm-call":
      return kvmCallTexts.get(call.nr) ?? kvmCallText(call.nr);
    case "xen-call":
      return `KVM_EXIT_XEN ${xenCallName(call.nr)}`;
    case "rdmsr":
      return `KVM_EXIT_X86_RDMSR ${msrName(call.index)}`;
    case "wrmsr":
      return `KVM_EXIT_X86_WRMSR ${msrName(call.index)}`;
    case "io":
      return `KVM_EXIT_IO 0x${call.port.toString(16)}`;
    case "mmio":
      return `KVM_EXIT_MMIO 0x${call.address.toString(16)}`;
    case "eventfd":
      return `a signal of eventfd ${call.fd}`;
    case "vmport":
      return `the VMware backdoor's command 0x${(call.ecx & 0xffff).toString(16)}`;
    default:
      return call satisfies never;
  }
}
