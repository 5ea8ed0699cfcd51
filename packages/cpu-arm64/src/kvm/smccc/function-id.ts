/** SMC Calling Convention (DEN0028): function identifiers, and the ones that KVM knows by name. */

/** Services, by the owner field. */
export const Owner = { architecture: 0, standardSecure: 4, standardHypervisor: 5, vendorHypervisor: 6 } as const;

const FAST = 0x8000_0000;
const CONVENTION_64 = 0x4000_0000;

export function isFastCall(id: number): boolean {
  return (id & FAST) !== 0;
}

export function ownerOf(id: number): number {
  return (id >>> 24) & 0x3f;
}

export function functionNumberOf(id: number): number {
  return id & 0xffff;
}

/** DEN0028, table 2-1. The legacy ids of PSCI 0.1 are from before it, and have no such parts. */
export function decodeFunctionId(id: number): {
  readonly isFast: boolean;
  /** The convention with 64-bit arguments. */
  readonly is64: boolean;
  readonly owner: number;
  readonly functionNumber: number;
} {
  return {
    isFast: isFastCall(id),
    is64: (id & CONVENTION_64) !== 0,
    owner: ownerOf(id),
    functionNumber: functionNumberOf(id),
  };
}

export const SmcccFunction = {
  version: 0x8000_0000,
  archFeatures: 0x8000_0001,
  archSocId: 0x8000_0002,
  archWorkaround1: 0x8000_8000,
  archWorkaround2: 0x8000_7fff,
  archWorkaround3: 0x8000_3fff,
  trngVersion: 0x8400_0050,
  trngFeatures: 0x8400_0051,
  trngUuid: 0x8400_0052,
  trngRandom32: 0x8400_0053,
  trngRandom64: 0xc400_0053,
  pvTimeFeatures: 0xc500_0020,
  pvTimeStolen: 0xc500_0021,
  vendorUid: 0x8600_ff01,
  vendorFeatures: 0x8600_0000,
  vendorPtp: 0x8600_0001,
} as const;

export const PsciFunction = {
  version: 0x8400_0000,
  cpuSuspend32: 0x8400_0001,
  cpuSuspend64: 0xc400_0001,
  cpuOff: 0x8400_0002,
  cpuOn32: 0x8400_0003,
  cpuOn64: 0xc400_0003,
  affinityInfo32: 0x8400_0004,
  affinityInfo64: 0xc400_0004,
  migrate32: 0x8400_0005,
  migrate64: 0xc400_0005,
  migrateInfoType: 0x8400_0006,
  migrateInfoUpCpu32: 0x8400_0007,
  migrateInfoUpCpu64: 0xc400_0007,
  systemOff: 0x8400_0008,
  systemReset: 0x8400_0009,
  features: 0x8400_000a,
  systemSuspend32: 0x8400_000e,
  systemSuspend64: 0xc400_000e,
  setSuspendMode: 0x8400_000f,
  systemReset2In32: 0x8400_0012,
  systemReset2In64: 0xc400_0012,
  memProtect: 0x8400_0013,
  memProtectCheckRange32: 0x8400_0014,
  memProtectCheckRange64: 0xc400_0014,
  systemOff2In32: 0x8400_0015,
  systemOff2In64: 0xc400_0015,
} as const;

/** PSCI 0.1 as KVM numbered it before there was a standard: CPU_SUSPEND, CPU_OFF, CPU_ON, MIGRATE. */
export const LEGACY_PSCI_BASE = 0x95c1_ba5e;
export const LEGACY_PSCI_COUNT = 4;

/** Return codes, negative in two's complement of the register. */
export const SmcccResult = {
  success: 0,
  notSupported: -1,
  notRequired: -2,
  invalidParameter: -2,
  noEntropy: -3,
} as const;
/** What SMCCC_ARCH_WORKAROUND_1 and 3 say when the CPU has no such weakness. */
export const WORKAROUND_UNAFFECTED = 1;

export const PsciResult = {
  success: 0,
  notSupported: -1,
  invalidParameters: -2,
  denied: -3,
  alreadyOn: -4,
  onPending: -5,
  internalFailure: -6,
} as const;

/** Names as the specifications print them, for people. */
const NAMES: ReadonlyMap<number, string> = new Map<number, string>([
  [SmcccFunction.version, "SMCCC_VERSION"],
  [SmcccFunction.archFeatures, "SMCCC_ARCH_FEATURES"],
  [SmcccFunction.archSocId, "SMCCC_ARCH_SOC_ID"],
  [SmcccFunction.archWorkaround1, "SMCCC_ARCH_WORKAROUND_1"],
  [SmcccFunction.archWorkaround2, "SMCCC_ARCH_WORKAROUND_2"],
  [SmcccFunction.archWorkaround3, "SMCCC_ARCH_WORKAROUND_3"],
  [SmcccFunction.trngVersion, "TRNG_VERSION"],
  [SmcccFunction.trngFeatures, "TRNG_FEATURES"],
  [SmcccFunction.trngUuid, "TRNG_GET_UUID"],
  [SmcccFunction.trngRandom32, "TRNG_RND"],
  [SmcccFunction.trngRandom64, "TRNG_RND"],
  [SmcccFunction.pvTimeFeatures, "PV_TIME_FEATURES"],
  [SmcccFunction.pvTimeStolen, "PV_TIME_ST"],
  [SmcccFunction.vendorUid, "VENDOR_HYP_CALL_UID"],
  [SmcccFunction.vendorFeatures, "VENDOR_HYP_KVM_FEATURES"],
  [SmcccFunction.vendorPtp, "VENDOR_HYP_KVM_PTP"],
  [PsciFunction.version, "PSCI_VERSION"],
  [PsciFunction.cpuSuspend32, "PSCI CPU_SUSPEND"],
  [PsciFunction.cpuSuspend64, "PSCI CPU_SUSPEND"],
  [PsciFunction.cpuOff, "PSCI CPU_OFF"],
  [PsciFunction.cpuOn32, "PSCI CPU_ON"],
  [PsciFunction.cpuOn64, "PSCI CPU_ON"],
  [PsciFunction.affinityInfo32, "PSCI AFFINITY_INFO"],
  [PsciFunction.affinityInfo64, "PSCI AFFINITY_INFO"],
  [PsciFunction.migrate32, "PSCI MIGRATE"],
  [PsciFunction.migrate64, "PSCI MIGRATE"],
  [PsciFunction.migrateInfoType, "PSCI MIGRATE_INFO_TYPE"],
  [PsciFunction.migrateInfoUpCpu32, "PSCI MIGRATE_INFO_UP_CPU"],
  [PsciFunction.migrateInfoUpCpu64, "PSCI MIGRATE_INFO_UP_CPU"],
  [PsciFunction.systemOff, "PSCI SYSTEM_OFF"],
  [PsciFunction.systemReset, "PSCI SYSTEM_RESET"],
  [PsciFunction.features, "PSCI_FEATURES"],
  [PsciFunction.systemSuspend32, "PSCI SYSTEM_SUSPEND"],
  [PsciFunction.systemSuspend64, "PSCI SYSTEM_SUSPEND"],
  [PsciFunction.setSuspendMode, "PSCI SET_SUSPEND_MODE"],
  [PsciFunction.systemReset2In32, "PSCI SYSTEM_RESET2"],
  [PsciFunction.systemReset2In64, "PSCI SYSTEM_RESET2"],
  [PsciFunction.memProtect, "PSCI MEM_PROTECT"],
  [PsciFunction.memProtectCheckRange32, "PSCI MEM_PROTECT_CHECK_RANGE"],
  [PsciFunction.memProtectCheckRange64, "PSCI MEM_PROTECT_CHECK_RANGE"],
  [PsciFunction.systemOff2In32, "PSCI SYSTEM_OFF2"],
  [PsciFunction.systemOff2In64, "PSCI SYSTEM_OFF2"],
]);

/** "PSCI CPU_ON", or undefined for a function without a name here. */
export function functionName(id: number): string | undefined {
  return NAMES.get(id);
}
