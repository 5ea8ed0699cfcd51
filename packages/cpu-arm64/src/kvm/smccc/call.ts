/** What a hypercall service sees of its caller, and what it gives back. */
import type { FirmwareRegisters } from "./firmware-registers.js";

export interface Caller {
  readonly vcpu: number;
  readonly vcpuCount: number;
  /** X register `index` of the caller. */
  argument(index: number): bigint;
  readonly firmware: FirmwareRegisters;
  /** KVM_CAP_ARM_SYSTEM_SUSPEND is enabled. */
  readonly systemSuspendEnabled: boolean;
  /** Ticks of the virtual and of the physical counter. */
  readonly counter: bigint;
  /** Wall-clock time in nanoseconds since 1970, by guest time. */
  readonly wallClockNs: bigint;
  /** The next 64 bits for the guest's TRNG. */
  entropy(): bigint;
  /** Where the caller's stolen time is told, if anywhere. */
  readonly pvTimeIpa: bigint | undefined;
  writePvTime(ipa: bigint): void;
  /** Whether a vCPU is powered on. */
  isOn(vcpu: number): boolean;
  /** Resets a vCPU that is off and lets it run at `entry` with `context` in x0. */
  powerOn(vcpu: number, entry: bigint, context: bigint): void;
  powerOff(vcpu: number): void;
}

/** What PSCI needs of its caller: the kernel half's, or one that a VMM answers. */
export type PsciCaller = Pick<
  Caller,
  "vcpu" | "vcpuCount" | "argument" | "systemSuspendEnabled" | "isOn" | "powerOn" | "powerOff"
> & { readonly firmware: Pick<FirmwareRegisters, "psciVersion"> };

/** A register's value: what fits exactly is a plain number, because hardly any result is more. Negative: in two's complement. */
export type ResultValue = number | bigint;

/** x0 to x3, all of which KVM writes. */
export type ResultRegisters = readonly [ResultValue, ResultValue, ResultValue, ResultValue];

/** KVM_SYSTEM_EVENT_* of include/uapi/linux/kvm.h. */
export const SystemEvent = { shutdown: 1, reset: 2, crash: 3, wakeup: 4, suspend: 5 } as const;

export type CallOutcome =
  | { readonly kind: "return"; readonly registers: ResultRegisters }
  /** Returns, and waits for an interrupt first. */
  | { readonly kind: "wait"; readonly registers: ResultRegisters }
  /** Leaves for the VMM with KVM_EXIT_SYSTEM_EVENT; every vCPU has been stopped unless it is `suspend`. */
  | { readonly kind: "systemEvent"; readonly type: number; readonly flags: number };

export function returning(x0: ResultValue, x1: ResultValue = 0, x2: ResultValue = 0, x3: ResultValue = 0): CallOutcome {
  return { kind: "return", registers: [x0, x1, x2, x3] };
}

const U32_MASK = 0xffff_ffffn;

/** An argument of a call in the 32-bit convention. */
export function argument32(caller: Pick<Caller, "argument">, index: number): bigint {
  return caller.argument(index) & U32_MASK;
}
