/** Numbers and names of MSRs, as the Intel SDM (volume 4), the AMD APM and Documentation/virt/kvm/x86/msr.rst have them. */
import { ApicRegister, X2APIC_MSR } from "./irqchip/apic-registers.js";
import { HypervMsr } from "./hyperv/registers.js";
import { msrs } from "../isa/msr.js";

export const Msr = {
  IA32_TIME_STAMP_COUNTER: 0x10,
  IA32_PLATFORM_ID: 0x17,
  IA32_APIC_BASE: 0x1b,
  IA32_FEATURE_CONTROL: 0x3a,
  IA32_TSC_ADJUST: 0x3b,
  IA32_BIOS_UPDT_TRIG: 0x79,
  IA32_BIOS_SIGN_ID: 0x8b,
  IA32_MTRRCAP: 0xfe,
  IA32_ARCH_CAPABILITIES: 0x10a,
  IA32_MCG_CAP: 0x179,
  IA32_MCG_STATUS: 0x17a,
  IA32_MISC_ENABLE: 0x1a0,
  IA32_DEBUGCTL: 0x1d9,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_MTRR_FIX16K_80000: 0x258,
  IA32_MTRR_FIX16K_A0000: 0x259,
  IA32_MTRR_FIX4K_C0000: 0x268,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_TSC_DEADLINE: 0x6e0,
  MSR_KVM_WALL_CLOCK: 0x11,
  MSR_KVM_SYSTEM_TIME: 0x12,
  MSR_KVM_WALL_CLOCK_NEW: 0x4b56_4d00,
  MSR_KVM_SYSTEM_TIME_NEW: 0x4b56_4d01,
  MSR_KVM_STEAL_TIME: 0x4b56_4d03,
  MSR_KVM_EOI_EN: 0x4b56_4d04,
  MSR_KVM_POLL_CONTROL: 0x4b56_4d05,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(HypervMsr).map(([name, number]) => [number, name] as const),
  ...Object.entries(Msr).map(([name, number]) => [number, name] as const),
  ...msrs.map(({ name, number }) => [number, name] as const),
]);

/** x2APIC's, by the registers of the page. */
const X2APIC_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ApicRegister).map(([name, offset]) => [
    X2APIC_MSR + offset / 0x10,
    `IA32_X2APIC_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
  ]),
);

/** Its name, or its number where it has none here. */
export function msrName(msr: number): string {
  return NAMES.get(msr) ?? X2APIC_NAMES.get(msr) ?? `0x${msr.toString(16)}`;
}
