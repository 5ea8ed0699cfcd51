/** Numbers and names of MSRs, as the Intel SDM (volume 4), the AMD APM and Documentation/virt/kvm/x86/msr.rst have them. */
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
  IA32_SYSENTER_CS: 0x174,
  IA32_SYSENTER_ESP: 0x175,
  IA32_SYSENTER_EIP: 0x176,
  IA32_MCG_CAP: 0x179,
  IA32_MCG_STATUS: 0x17a,
  IA32_MISC_ENABLE: 0x1a0,
  IA32_DEBUGCTL: 0x1d9,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_MTRR_FIX16K_80000: 0x258,
  IA32_MTRR_FIX16K_A0000: 0x259,
  IA32_MTRR_FIX4K_C0000: 0x268,
  IA32_PAT: 0x277,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_TSC_DEADLINE: 0x6e0,
  IA32_EFER: 0xc000_0080,
  IA32_STAR: 0xc000_0081,
  IA32_LSTAR: 0xc000_0082,
  IA32_CSTAR: 0xc000_0083,
  IA32_FMASK: 0xc000_0084,
  IA32_FS_BASE: 0xc000_0100,
  IA32_GS_BASE: 0xc000_0101,
  IA32_KERNEL_GS_BASE: 0xc000_0102,
  IA32_TSC_AUX: 0xc000_0103,
  MSR_KVM_WALL_CLOCK: 0x11,
  MSR_KVM_SYSTEM_TIME: 0x12,
  MSR_KVM_WALL_CLOCK_NEW: 0x4b56_4d00,
  MSR_KVM_SYSTEM_TIME_NEW: 0x4b56_4d01,
  MSR_KVM_STEAL_TIME: 0x4b56_4d03,
  MSR_KVM_EOI_EN: 0x4b56_4d04,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(Msr).map(([name, number]) => [number, name]));

/** Its name, or its number where it has none here. */
export function msrName(msr: number): string {
  return NAMES.get(msr) ?? `0x${msr.toString(16)}`;
}
