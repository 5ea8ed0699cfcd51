/** MSRs outside guest mode: those that the kernel half keeps, and those of the vCPU's state (`kept-msrs.ts`). Intel SDM volume 4. */
import { PHYSICAL_ADDRESS_BITS } from "../isa/translation.js";
import { hypervMsrOf, isHypervMsr } from "./hyperv/msrs.js";
import { ApicBase } from "./irqchip/apic-registers.js";
import { KEPT_MSRS } from "./kept-msrs.js";
import { KvmFeature, mayUseFeature } from "./kvm-features.js";
import type { MsrAccess } from "./msr-access.js";
import { Msr } from "./msr-names.js";
import { MTRR_CAP, MTRR_MSRS } from "./mtrr.js";
import { acceptsEoiPlace, writeEoiPlace, writeStealTime, writeSystemTime, writeWallClock } from "./paravirtual.js";
import type { Vm } from "./vm.js";
import { xenPageAccess } from "./xen/call-page.js";

const always = (): boolean => true;

/** Writes that KVM takes and forgets, or reads that are always the same. */
function constant(value: bigint, accepts: (value: bigint) => boolean = (written) => written === value): MsrAccess {
  const takes = (_vm: Vm, written: bigint): boolean => accepts(written);
  return { read: () => value, accepts: takes, write: takes };
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

const stealTime: MsrAccess = {
  read: ({ paravirtual, current }) => paravirtual.of(current).stealTime,
  write: writeStealTime,
};

const eoiPlace: MsrAccess = {
  read: ({ paravirtual, current }) => paravirtual.of(current).eoiEnable,
  accepts: acceptsEoiPlace,
  write: writeEoiPlace,
};

const pollControl: MsrAccess = {
  read: ({ paravirtual, current }) => paravirtual.of(current).pollControl,
  accepts: (_vm, value) => value <= 1n,
  write({ paravirtual, current }, value) {
    if (value > 1n) return false;
    paravirtual.of(current).pollControl = value;
    return true;
  },
};

/** Documentation/virt/kvm/x86/msr.rst; each with the feature that offers it. */
const KVM_MSRS: readonly (readonly [msr: number, access: MsrAccess, feature: number])[] = [
  [Msr.MSR_KVM_SYSTEM_TIME, systemTime, KvmFeature.clockSource],
  [Msr.MSR_KVM_WALL_CLOCK, wallClock, KvmFeature.clockSource],
  [Msr.MSR_KVM_SYSTEM_TIME_NEW, systemTime, KvmFeature.clockSource2],
  [Msr.MSR_KVM_WALL_CLOCK_NEW, wallClock, KvmFeature.clockSource2],
  [Msr.MSR_KVM_STEAL_TIME, stealTime, KvmFeature.stealTime],
  [Msr.MSR_KVM_EOI_EN, eoiPlace, KvmFeature.pvEoi],
  [Msr.MSR_KVM_POLL_CONTROL, pollControl, KvmFeature.pollControl],
];
const featureOf: ReadonlyMap<number, number> = new Map(KVM_MSRS.map(([msr, , feature]) => [msr, feature]));

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
  ...KEPT_MSRS,
  ...KVM_MSRS.map(([msr, access]) => [msr, access] as const),
];

const byNumber: ReadonlyMap<number, MsrAccess> = new Map(registers);

/** Of the guest: what it is not offered may not be there for it. */
function accessOf(vm: Vm, msr: number): MsrAccess | undefined {
  const feature = featureOf.get(msr);
  if (feature !== undefined && !mayUseFeature(vm, feature)) return undefined;
  return isHypervMsr(msr) ? hypervMsrOf(vm, msr) : msrAccessOf(vm, msr);
}

function x2apicAccess(msr: number): MsrAccess {
  return {
    read: ({ irqchip, current }) => irqchip.readMsr(current, msr),
    write: ({ irqchip, current }, value) => irqchip.writeMsr(current, msr, value),
  };
}

/** Of the guest's writes, by which it may get Xen's page of calls: KVM looks for that first. */
function writeAccessOf(vm: Vm, msr: number): MsrAccess | undefined {
  return xenPageAccess(vm, msr) ?? accessOf(vm, msr);
}

/** Of those that are not Hyper-V's: undefined where there is none. */
export function msrAccessOf(vm: Vm, msr: number): MsrAccess | undefined {
  return vm.irqchip.isX2apicMsr(msr) ? x2apicAccess(msr) : byNumber.get(msr);
}

/** Of the current vCPU. undefined: there is no such register. */
export function readMsr(vm: Vm, msr: number): bigint | undefined {
  return accessOf(vm, msr)?.read(vm);
}

/** False: there is no such register, or it does not take the value. */
export function writeMsr(vm: Vm, msr: number, value: bigint): boolean {
  return writeAccessOf(vm, msr)?.write?.(vm, value) ?? false;
}

export function isKnownMsr(vm: Vm, msr: number, kind: "read" | "write"): boolean {
  return (kind === "read" ? accessOf(vm, msr) : writeAccessOf(vm, msr)) !== undefined;
}

export function isReadableMsr(vm: Vm, msr: number): boolean {
  return accessOf(vm, msr)?.read(vm) !== undefined;
}

/** As far as it can be told without writing. */
export function isWritableMsr(vm: Vm, msr: number, value: bigint): boolean {
  const access = writeAccessOf(vm, msr);
  if (access?.write === undefined) return false;
  return access.accepts?.(vm, value) ?? true;
}
