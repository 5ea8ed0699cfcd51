/** Function ids of the SMC Calling Convention's services that the tables call (DEN0028; DEN0098; DEN0057; DEN0022). */
export const SMCCC_VERSION = 0x8000_0000;
export const ARCH_FEATURES = 0x8000_0001;
export const ARCH_SOC_ID = 0x8000_0002;

export const Trng = {
  version: 0x8400_0050,
  features: 0x8400_0051,
  uuid: 0x8400_0052,
  random32: 0x8400_0053,
  random64: 0xc400_0053,
} as const;

export const PvTime = { features: 0xc500_0020, stolen: 0xc500_0021 } as const;

export const Vendor = { features: 0x8600_0000, ptp: 0x8600_0001, uid: 0x8600_ff01 } as const;

export const SDEI_VERSION = 0xc400_0020;

export const Psci = {
  version: 0x8400_0000,
  cpuOff: 0x8400_0002,
  cpuOn32: 0x8400_0003,
  cpuOn64: 0xc400_0003,
  affinityInfo64: 0xc400_0004,
  systemOff: 0x8400_0008,
  features: 0x8400_000a,
  systemSuspend64: 0xc400_000e,
  systemReset2In64: 0xc400_0012,
  systemOff2In64: 0xc400_0015,
} as const;

/** PSCI 0.1's CPU_ON, as KVM numbers it. */
export const LEGACY_CPU_ON: number = 0x95c1_ba5e + 2;
