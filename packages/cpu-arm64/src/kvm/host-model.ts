/**
 * What a simulated host offers its VMs: how far its CPUs and firmware mitigate Spectre, and how old its kernel is. A named,
 * versioned table; a version's row never changes.
 *
 * Sources: arch/arm64/kvm/hypercalls.c and psci.c of the kernels named (get_kernel_wa_level, kvm_arm_get_fw_num_regs,
 * KVM_ARM_PSCI_LATEST); Documentation/virt/kvm/arm/fw-pseudo-registers.rst.
 */
import type { HostReference } from "@hvjournal/core";

/** A bitmap register's bits; undefined: the kernel has no such register, and serves what is named beside. */
export type SupportedBits = bigint | undefined;

export interface HostModel extends HostReference {
  readonly summary: string;
  /** Levels of KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1 to 3. */
  readonly workarounds: readonly [bigint, bigint, bigint];
  /** The highest PSCI version, and the one that a VM starts with: major << 16 | minor. */
  readonly psciVersion: bigint;
  readonly standardServices: SupportedBits;
  readonly standardHypervisorServices: SupportedBits;
  readonly vendorHypervisorServices: SupportedBits;
  readonly vendorHypervisorServices2: SupportedBits;
  readonly hasSmcccFilter: boolean;
  readonly hasSystemSuspend: boolean;
}

/** Levels of WORKAROUND_1 and 3. */
export const WorkaroundLevel = { notAvailable: 0n, available: 1n, notRequired: 2n } as const;
/** Levels of WORKAROUND_2. */
export const Workaround2Level = { notAvailable: 0n, unknown: 1n, available: 2n, notRequired: 3n } as const;

const NEWEST = {
  version: 1,
  psciVersion: 0x1_0003n,
  standardServices: 1n,
  standardHypervisorServices: 1n,
  vendorHypervisorServices: 3n,
  vendorHypervisorServices2: 3n,
  hasSmcccFilter: true,
  hasSystemSuspend: true,
} as const;

const UNAFFECTED = [WorkaroundLevel.notRequired, Workaround2Level.notRequired, WorkaroundLevel.notRequired] as const;

/** The default first. */
export const HOST_MODELS: readonly HostModel[] = [
  { ...NEWEST, name: "unaffected", summary: "CPUs that need no workaround", workarounds: UNAFFECTED },
  {
    ...NEWEST,
    name: "mitigated",
    summary: "CPUs whose firmware has the workarounds; SSBS is not visible",
    // KVM tells "not required" where WORKAROUND_2 is mitigated all the time.
    workarounds: [WorkaroundLevel.available, Workaround2Level.notRequired, WorkaroundLevel.available],
  },
  {
    ...NEWEST,
    name: "vulnerable",
    summary: "CPUs without any workaround",
    workarounds: [WorkaroundLevel.notAvailable, Workaround2Level.notAvailable, WorkaroundLevel.notAvailable],
  },
  {
    ...NEWEST,
    name: "linux-6.4",
    summary: "a kernel with the SMCCC filter, PSCI 1.1, and without VENDOR_HYP_BMAP_2",
    workarounds: UNAFFECTED,
    psciVersion: 0x1_0001n,
    vendorHypervisorServices2: undefined,
  },
  {
    ...NEWEST,
    name: "linux-6.1",
    summary: "a kernel without the SMCCC filter",
    workarounds: UNAFFECTED,
    psciVersion: 0x1_0001n,
    vendorHypervisorServices2: undefined,
    hasSmcccFilter: false,
  },
  {
    ...NEWEST,
    name: "linux-5.15",
    summary: "a kernel without bitmaps of services, SYSTEM_SUSPEND and the SMCCC filter, with PSCI 1.0",
    workarounds: UNAFFECTED,
    psciVersion: 0x1_0000n,
    standardServices: undefined,
    standardHypervisorServices: undefined,
    vendorHypervisorServices: undefined,
    vendorHypervisorServices2: undefined,
    hasSmcccFilter: false,
    hasSystemSuspend: false,
  },
];

const [first] = HOST_MODELS;
if (first === undefined) throw new RangeError("there is no host");
export const DEFAULT_HOST: HostModel = first;

/** Absent is the default. Throws RangeError for a row that this build does not have. */
export function hostModelOf(host: HostReference | undefined): HostModel {
  if (host === undefined) return DEFAULT_HOST;
  const found = HOST_MODELS.find(({ name, version }) => name === host.name && version === host.version);
  if (found === undefined) throw new RangeError(`there is no host ${host.name} version ${host.version}`);
  return found;
}

/** As the state keeps it: the default is not written down, as in recordings from before there were others. */
export function writtenHost({ name, version }: HostReference): HostReference | undefined {
  return name === DEFAULT_HOST.name && version === DEFAULT_HOST.version ? undefined : { name, version };
}
