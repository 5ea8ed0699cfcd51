/**
 * Handlers of forwarded hypercalls, for `hvjournal record --handler FILE`:
 *
 *     import type { Handler } from "hvjournal/handler";
 *     const handler: Handler = (call, vm) => (call.nr === 0xc6000001 ? [0, 7n] : vm.notHandled);
 *     export default handler;
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
