/** MSRs that the kernel half keeps, beside those of the vCPU's state (`isa/msr.ts`). Intel SDM volume 4. */
import { PHYSICAL_ADDRESS_BITS } from "../isa/translation.js";
import { ApicBase } from "./irqchip/apic-registers.js";
import { Msr } from "./msr-names.js";
import { MTRR_CAP, MTRR_MSRS } from "./mtrr.js";
import { writeStealTime, writeSystemTime, writeWallClock } from "./paravirtual.js";
import type { Vm } from "./vm.js";

/** A register of the current vCPU. */
export interface MsrAccess {
  read(vm: Vm): bigint;
  /** False: #GP. Absent: it can't be written. */
  readonly write?: (vm: Vm, value: bigint) => boolean;
}

const always = (): boolean => true;

/** Writes that KVM takes and forgets, or reads that are always the same. */
function constant(value: bigint, accepts: (value: bigint) => boolean = (written) => written === value): MsrAccess {
  return { read: () => value, write: (_vm, written) => accepts(written) };
}

const BASE_WRITABLE = BigInt(ApicBase.x2apic | ApicBase.enabled | ApicBase.bootProcessor);

const apicBase: MsrAccess = {
  read: ({ irqchip, current }) => BigInt(irqchip.apicOf(current).base),
  write({ irqchip, current }, value) {
    const apic = irqchip.apicOf(current);
    const address = value & ~0xfffn;
    if (value >> BigInt(PHYSICAL_ADDRESS_BITS) !== 0n) return false;
    if ((value & 0xfffn & ~BASE_WRITABLE) !== 0n) return false;
    // The page does not move here: KVM warns where a guest moves it, and goes on as if it had not.
    if (address !== BigInt(apic.base) - (BigInt(apic.base) & 0xfffn)) return true;
    return apic.writeBase(Number(value));
  },
};

const timeStamp: MsrAccess = {
  read: (vm) => vm.timeStampOf(vm.current).at(vm.guestTimeNs),
  write(vm, value) {
    vm.timeStampOf(vm.current).write(value, vm.guestTimeNs);
    vm.timeStampChanged();
    return true;
  },
};

const timeStampAdjust: MsrAccess = {
  read: (vm) => vm.timeStampOf(vm.current).adjust,
  write(vm, value) {
    vm.timeStampOf(vm.current).writeAdjust(value);
    vm.timeStampChanged();
    return true;
  },
};

const deadline: MsrAccess = {
  read: ({ irqchip, current }) => irqchip.apicOf(current).timer.deadline,
  write(vm, value) {
    vm.irqchip.apicOf(vm.current).writeDeadline(value, vm.timeStampOf(vm.current), vm.guestTimeNs);
    return true;
  },
};

/** Fast strings, BTS and PEBS unavailable. */
const MISC_ENABLE = 0x1801n;

const systemTime: MsrAccess = {
  read: ({ paravirtual, current }) => paravirtual.of(current).systemTime,
  write: writeSystemTime,
};

const wallClock: MsrAccess = { read: ({ paravirtual }) => paravirtual.wallClock, write: writeWallClock };

/** Documentation/virt/kvm/x86/msr.rst. */
const KVM_MSRS: readonly (readonly [msr: number, access: MsrAccess])[] = [
  [Msr.MSR_KVM_SYSTEM_TIME_NEW, systemTime],
  [Msr.MSR_KVM_WALL_CLOCK_NEW, wallClock],
  [
    Msr.MSR_KVM_STEAL_TIME,
    { read: ({ paravirtual, current }) => paravirtual.of(current).stealTime, write: writeStealTime },
  ],
];

const registers: readonly (readonly [msr: number, access: MsrAccess])[] = [
  [Msr.IA32_TIME_STAMP_COUNTER, timeStamp],
  [Msr.IA32_TSC_ADJUST, timeStampAdjust],
  [Msr.IA32_TSC_DEADLINE, deadline],
  [Msr.IA32_APIC_BASE, apicBase],
  [Msr.IA32_PLATFORM_ID, { read: () => 0n }],
  // Locked, without VMX.
  [Msr.IA32_FEATURE_CONTROL, { read: () => 1n }],
  [Msr.IA32_BIOS_UPDT_TRIG, constant(0n, always)],
  // As KVM's: revision 1.
  [Msr.IA32_BIOS_SIGN_ID, constant(0x1_0000_0000n, always)],
  [Msr.IA32_MTRRCAP, { read: () => MTRR_CAP }],
  [Msr.IA32_MCG_CAP, { read: () => 0n }],
  [Msr.IA32_MCG_STATUS, constant(0n)],
  [Msr.IA32_MISC_ENABLE, constant(MISC_ENABLE, always)],
  [Msr.IA32_DEBUGCTL, constant(0n)],
  ...MTRR_MSRS,
  ...KVM_MSRS,
];

const byNumber: ReadonlyMap<number, MsrAccess> = new Map(registers);

function accessOf({ irqchip }: Vm, msr: number): MsrAccess | undefined {
  if (!irqchip.isX2apicMsr(msr)) return byNumber.get(msr);
  return {
    read: (vm) => vm.irqchip.readMsr(vm.current, msr) ?? 0n,
    write: (vm, value) => vm.irqchip.writeMsr(vm.current, msr, value),
  };
}

/** Of the current vCPU. undefined: there is no such register. */
export function readMsr(vm: Vm, msr: number): bigint | undefined {
  if (vm.irqchip.isX2apicMsr(msr)) return vm.irqchip.readMsr(vm.current, msr);
  return accessOf(vm, msr)?.read(vm);
}

/** False: there is no such register, or it does not take the value. */
export function writeMsr(vm: Vm, msr: number, value: bigint): boolean {
  return accessOf(vm, msr)?.write?.(vm, value) ?? false;
}
