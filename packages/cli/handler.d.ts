/**
 * Handlers of what a guest asks its VMM, for `hvjournal record --handler FILE`. On arm64:
 *
 *     import type { Handler } from "hvjournal/handler";
 *     const handler: Handler = (call, vm) => (call.nr === 0xc6000001 ? [0, 7n] : vm.notHandled);
 *     export default handler;
 *
 * On amd64 it is an `X86Handler`, which is asked for what KVM_EXIT_HYPERV, KVM_EXIT_HYPERCALL, KVM_EXIT_XEN, KVM_EXIT_X86_RDMSR
 * and WRMSR tell:
 *
 *     const handler: X86Handler = (call, vm) =>
 *       call.type === "hv-call" && call.code === 0x8001 ? vm.hvExt(call, 1n) : vm.notHandled;
 *
 * `hvjournal help handlers` says what they may do, and when.
 */

/** A call that left with KVM_EXIT_HYPERCALL. */
export interface HypercallCall {
  /** The function identifier: W0. */
  readonly nr: number;
  readonly conduit: "hvc" | "smc";
  /** The instruction was one of Thumb's, 16 bits wide. */
  readonly is16Bit: boolean;
  /** The immediate of the instruction; upstream KVM does not tell it. */
  readonly immediate: number;
  /** Who calls, from 0. */
  readonly vcpu: number;
  /** x0 to x17 as they were when the guest left. */
  readonly args: readonly bigint[];
}

/** 64 bits. Negative numbers stand for their two's complement; a number is whole and at most 2^53 - 1. */
export type RegisterValue = bigint | number;

declare const notHandled: unique symbol;
export type NotHandled = typeof notHandled;

/**
 * - undefined: registers stay as they are, so x0 keeps the function identifier, as KVM does;
 * - a number: x0; a list: x0, x1 and so on; an object: registers x0 to x17 by name;
 * - `vm.notHandled`: the next handler is asked, the board (-1, NOT_SUPPORTED) last.
 *
 * Anything else is an error, and the call waits.
 */
export type HandlerAnswer =
  | void
  | undefined
  | RegisterValue
  | readonly RegisterValue[]
  | { readonly [register: `x${number}`]: RegisterValue }
  | NotHandled;

/** Of an ioctl that fails. */
export interface KvmError extends Error {
  /** "EINVAL", "EBUSY" ... */
  readonly errno: string;
  /** "KVM_SET_ONE_REG" */
  readonly call: string;
}

export interface DeviceAttribute {
  readonly group: number;
  readonly attr: number;
}

/** An address, a count or an index: what comes in a register of the call is a bigint. */
export type WholeNumber = number | bigint;

/** A vCPU by KVM's ioctls. All of them throw KvmError. */
export interface Vcpu {
  readonly index: number;
  /** KVM_ARM_VCPU_INIT: features by name ("PSCI_0_2", "POWER_OFF"), or as a mask. */
  vcpuInit(features: readonly string[] | number): void;
  /** KVM_GET_ONE_REG, by id or by name: "x0", "pc", "sctlr_el1", "KVM_REG_ARM_PSCI_VERSION". */
  getOneReg(register: bigint | string): bigint;
  setOneReg(register: bigint | string, value: WholeNumber): void;
  /** 0 RUNNABLE, 5 STOPPED, 10 SUSPENDED. */
  getMpState(): number;
  setMpState(state: number): void;
}

/** Plain data: null, booleans, numbers, bigints of 64 bits, strings, bytes, lists and maps of such. */
export type PlainValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly PlainValue[]
  | { readonly [key: string]: PlainValue };

/**
 * The VM while the call waits. What a handler does is seen by itself at once, and takes effect with its answer, all of it or
 * nothing. Once the call is over, nothing can be done through it any more.
 */
export interface HandlerVm {
  readonly notHandled: NotHandled;
  readonly vcpuCount: number;
  /** Throws RangeError for a vCPU that there is not. */
  vcpu(index: WholeNumber): Vcpu;
  /** KVM_CHECK_EXTENSION, KVM_ENABLE_CAP, by number or name. */
  checkExtension(cap: number | string): number;
  enableCap(cap: { readonly cap: number | string; readonly args?: readonly bigint[] }): void;
  hasDeviceAttr(attribute: DeviceAttribute): void;
  setDeviceAttr(attribute: DeviceAttribute, memory: Uint8Array | undefined): void;
  /** Guest RAM, by guest-physical address. Throws RangeError outside, and TypeError where `bytes` is text. */
  readMemory(physical: WholeNumber, bytes: WholeNumber): Uint8Array;
  writeMemory(physical: WholeNumber, bytes: Uint8Array): void;
  /** An SPI, by its number from 0. */
  setIrqLine(spi: WholeNumber, level: 0 | 1): void;
  /** Bytes that leave the machine; port 0 is the console. */
  output(port: number, bytes: Uint8Array): void;
  /** Ends the VM: `what` the guest has done ("powered off", "reset"), and by what. */
  stop(reason: { readonly what: string; readonly by: string; readonly status?: number }): void;
  /** Nanoseconds. */
  readonly guestTimeNs: number;
  /** Saved with the VM, and shared by its handlers: what must outlast the call stands here and not in a variable. */
  readonly state: { [key: string]: PlainValue };
  /** PSCI by KVM's rules; `notHandled` for any other call. */
  psci(call: HypercallCall): HandlerAnswer;
  /** SDEI 1.0; `notHandled` for any other call. */
  sdei(call: HypercallCall): HandlerAnswer;
}

/** The VM stands still as a whole until the answer is there. */
export type Handler = (call: HypercallCall, vm: HandlerVm) => HandlerAnswer | Promise<HandlerAnswer>;

/** What every question of an amd64 guest's VMM says. */
interface AskedOf {
  /** Who asks, from 0. */
  readonly vcpu: number;
}

/** An XMM register: 64 bits each. */
export interface XmmValue {
  readonly low: bigint;
  readonly high: bigint;
}

/** KVM_EXIT_HYPERV_HCALL. `hv-call-xmm` is not upstream: the exit of a call that may give back XMM registers. */
export interface HvCall extends AskedOf {
  readonly type: "hv-call" | "hv-call-xmm";
  readonly code: number;
  /** The parameters are values, not addresses. */
  readonly fast: boolean;
  /** Units of 8 bytes. */
  readonly variableHeaderSize: number;
  readonly repCount: number;
  readonly repStart: number;
  /** The input value, of which the fields above are parts. */
  readonly inputValue: bigint;
  readonly params: readonly [bigint, bigint];
  /** `params[0]`: guest-physical address of the input block, or the first parameter. Of a slow HvCallSignalEvent: its value. */
  readonly input: bigint;
  /** `params[1]`: guest-physical address of the output block, or the second parameter. */
  readonly output: bigint;
  /** XMM0 to XMM5, where the exit carries them. */
  readonly xmm?: readonly XmmValue[];
}

/** KVM_EXIT_HYPERV_SYNIC: the guest writes SCONTROL, SIEFP or SIMP, given as they will be. Told, not asked. */
export interface HvSynic extends AskedOf {
  readonly type: "hv-synic";
  readonly msr: number;
  readonly control: bigint;
  readonly evtPage: bigint;
  readonly msgPage: bigint;
}

/** KVM_EXIT_HYPERV_SYNDBG: the guest writes the synthetic debugger's control register; the answer is its status. */
export interface HvSyndbg extends AskedOf {
  readonly type: "hv-syndbg";
  readonly msr: number;
  readonly control: bigint;
  /** As it is. */
  readonly status: bigint;
  readonly sendPage: bigint;
  readonly recvPage: bigint;
  readonly pendingPage: bigint;
}

/**
 * KVM_EXIT_HYPERCALL: KVM_HC_MAP_GPA_RANGE (12), where KVM_CAP_EXIT_HYPERCALL has asked for it; and what KVM does not know, with
 * --policy x86.hypercall.unhandled=forward.
 */
export interface KvmCall extends AskedOf {
  readonly type: "kvm-call";
  readonly nr: number;
  readonly args: readonly bigint[];
  readonly longMode: boolean;
}

/**
 * KVM_EXIT_XEN: a call by Xen's interface, with --xen MSR. nr is __HYPERVISOR_*, params are RDI, RSI, RDX, R10, R8, R9, or EBX, ECX,
 * EDX, ESI, EDI, EBP outside 64-bit mode. Every privilege level may call: cpl says which did.
 */
export interface XenCall extends AskedOf {
  readonly type: "xen-call";
  readonly nr: number;
  readonly params: readonly bigint[];
  readonly longMode: boolean;
  readonly cpl: number;
}

export type MsrExitReason = "inval" | "unknown" | "filter";

/** Where KVM_CAP_X86_USER_SPACE_MSR has asked for it. */
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

/** The VMware backdoor's ports, with --vmport on: the command is in CX. Registers are 32 bits wide. */
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

/** An access to a port that no device claims. Answer of a read: data. */
export interface IoAccess extends AskedOf {
  readonly type: "io";
  readonly port: number;
  readonly isWrite: boolean;
  readonly bytes: number;
  readonly data: bigint;
}

/** An access to guest-physical memory that neither is RAM nor any device's. Answer of a read: data. */
export interface MmioAccess extends AskedOf {
  readonly type: "mmio";
  readonly address: number;
  readonly isWrite: boolean;
  readonly bytes: number;
  readonly data: bigint;
}

/**
 * An eventfd was signalled by a write or a call that did not leave to the VMM (--ioeventfd, --hv-eventfd). Told, right behind
 * that instruction; a promise is refused.
 */
export interface EventfdSignal extends AskedOf {
  readonly type: "eventfd";
  readonly fd: number;
  /** In all. */
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

/** Of a hypercall. */
export interface HvAnswer {
  /** HV_STATUS_*: 0 success, 2 unknown code, 4 alignment ... */
  readonly status: number;
  /** Of a rep call: counted from its first element, whatever its start index. */
  readonly repsCompleted?: number;
  /** XMM0 to XMM5, written on success; of an exit that carries them. */
  readonly xmm?: readonly (XmmValue | undefined)[];
}

/** Of an MSR: `error: 1` is #GP. */
export interface MsrAnswer {
  readonly data?: RegisterValue;
  readonly error?: 0 | 1;
}

/** Of the VMware backdoor. */
export interface VmportAnswer {
  readonly eax?: RegisterValue;
  readonly ebx?: RegisterValue;
  readonly ecx?: RegisterValue;
  readonly edx?: RegisterValue;
  readonly esi?: RegisterValue;
  readonly edi?: RegisterValue;
}

/**
 * A number is a hypercall's result, RDMSR's data, or EAX of the backdoor. undefined is what kvm_run holds when the guest leaves:
 * result 2 (unknown code) of Hyper-V's calls, 0 of KVM's, data 0, a WRMSR that succeeds. `vm.notHandled`: the next handler is
 * asked, the board last: 2, -1000, #GP. An exit that the board does not know waits.
 */
export type X86Answer = void | undefined | RegisterValue | HvAnswer | MsrAnswer | VmportAnswer | NotHandled;

/** What KVM_GET_SUPPORTED_HV_CPUID answers. */
export interface SupportedHypervCpuid {
  readonly entries: readonly {
    readonly function: number;
    readonly index: number;
    readonly flags: number;
    readonly eax: number;
    readonly ebx: number;
    readonly ecx: number;
    readonly edx: number;
  }[];
  readonly scope: "system" | "vcpu";
  /** Another answer may come once one of these has changed. */
  readonly dependsOn: readonly { readonly on: string; readonly is: boolean }[];
  /** Equal keys, equal answers on one host. */
  readonly cacheKey: string;
}

/** A vCPU by KVM's ioctls. */
export interface X86Vcpu {
  readonly index: number;
  /** By its name: "rax", "rip", "cr3", "xmm0.q[1]". Throws RangeError for none. */
  getReg(name: string): bigint;
  setReg(name: string, value: WholeNumber): void;
  /** undefined: there is none. */
  getMsr(index: WholeNumber): bigint | undefined;
  /** How many were set, before the first that is refused. */
  setMsrs(entries: readonly { readonly index: number; readonly data: bigint }[]): number;
  getMpState(): number;
  setMpState(state: number): void;
  /** KVM_ENABLE_CAP on the vCPU. */
  enableCap(cap: { readonly cap: number | string; readonly args?: readonly bigint[] }): number | undefined;
  /** The vCPU's form: it changes with what is enabled on it. */
  getSupportedHvCpuid(n?: number): SupportedHypervCpuid;
}

/** As `HandlerVm`, of an amd64 guest. */
export interface X86HandlerVm {
  readonly notHandled: NotHandled;
  readonly vcpuCount: number;
  /** RAM begins at 0. */
  readonly memoryBytes: number;
  vcpu(index: WholeNumber): X86Vcpu;
  /** /dev/kvm: the form that hangs on no vCPU. */
  readonly system: { getSupportedHvCpuid(n?: number): SupportedHypervCpuid };
  checkExtension(cap: number | string): number;
  enableCap(cap: { readonly cap: number | string; readonly args?: readonly bigint[] }): void;
  readMemory(physical: WholeNumber, bytes: WholeNumber): Uint8Array;
  writeMemory(physical: WholeNumber, bytes: Uint8Array): void;
  /** A GSI. */
  setIrqLine(gsi: WholeNumber, level: 0 | 1): void;
  output(port: number, bytes: Uint8Array): void;
  stop(reason: { readonly what: string; readonly by: string; readonly status?: number }): void;
  readonly guestTimeNs: number;
  readonly state: { [key: string]: PlainValue };
  /** Hyper-V's extended calls, of which the mask of 0x8001 is `capabilities`; `notHandled` for what it does not offer. */
  hvExt(call: X86Call, capabilities?: bigint): HvAnswer | NotHandled;
}

export type X86Handler = (call: X86Call, vm: X86HandlerVm) => X86Answer | Promise<X86Answer>;
