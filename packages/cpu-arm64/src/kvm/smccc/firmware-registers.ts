/** KVM's firmware pseudo-registers on arm64 (Documentation/virt/kvm/arm/fw-pseudo-registers.rst), with its rules for writing them. */
import type { HostReference, Refusal } from "@hvjournal/core";
import { hostModelOf, type HostModel, Workaround2Level, writtenHost } from "../host-model.js";
import { PSCI_0_2 } from "../control/vcpu-features.js";

/** Firmware registers of a VM that can be configured. All are VM-wide. */
export interface FirmwareRegisters {
  /** The host that offers them; absent: the default one. */
  readonly host?: HostReference;
  readonly psciVersion: bigint;
  readonly standardServices: bigint;
  readonly standardHypervisorServices: bigint;
  readonly vendorHypervisorServices: bigint;
  readonly vendorHypervisorServices2: bigint;
}

export const StandardService = { trng: 1n } as const;
export const StandardHypervisorService = { pvTime: 1n } as const;
export const VendorHypervisorService = { features: 1n, ptp: 2n } as const;

/** major << 16 | minor */
export const PsciVersion = {
  v0_1: 0x1n,
  v0_2: 0x2n,
  v1_0: 0x1_0000n,
  v1_1: 0x1_0001n,
  v1_2: 0x1_0002n,
  v1_3: 0x1_0003n,
} as const;
const PSCI_VERSIONS: readonly bigint[] = [
  PsciVersion.v0_2,
  PsciVersion.v1_0,
  PsciVersion.v1_1,
  PsciVersion.v1_2,
  PsciVersion.v1_3,
];

/** Services that a kernel has had since before there was a register that could take them away. */
const ALWAYS_SERVED = {
  standardServices: StandardService.trng,
  standardHypervisorServices: StandardHypervisorService.pvTime,
  vendorHypervisorServices: VendorHypervisorService.features | VendorHypervisorService.ptp,
} as const;

/** What a VM on this host starts with. */
export function firmwareReset(host?: HostReference): FirmwareRegisters {
  const { psciVersion } = hostModelOf(host);
  const written = host === undefined ? undefined : writtenHost(host);
  return {
    ...(written === undefined ? {} : { host: written }),
    psciVersion,
    ...ALWAYS_SERVED,
    // The discovery calls need a VMM that answers them.
    vendorHypervisorServices2: 0n,
  };
}

export const FIRMWARE_RESET: FirmwareRegisters = firmwareReset();

const LEVEL_MASK = 0xfn;
const WORKAROUND_2_ENABLED = 0x10n;

type BitmapField = Exclude<keyof FirmwareRegisters, "psciVersion" | "host">;

type Rule =
  | { readonly kind: "psciVersion"; readonly field: "psciVersion" }
  | { readonly kind: "bitmap"; readonly field: BitmapField }
  | { readonly kind: "workaround"; readonly index: 0 | 2 }
  | { readonly kind: "workaround2"; readonly index: 1 };

export interface FirmwareRegister {
  readonly name: string;
  /** KVM_{GET,SET}_ONE_REG id. */
  readonly id: bigint;
  readonly rule: Rule;
}

export const FIRMWARE_PREFIX = "KVM_REG_ARM_";
/** KVM_REG_ARM64 | KVM_REG_SIZE_U64 */
const ID_BASE = 0x6030_0000_0000_0000n;
const COPROC_FW = 0x14n << 16n;
const COPROC_FW_FEAT_BMAP = 0x16n << 16n;

function firmware(name: string, index: bigint, rule: Rule): FirmwareRegister {
  return { name: `${FIRMWARE_PREFIX}${name}`, id: ID_BASE | COPROC_FW | index, rule };
}

function bitmap(name: string, index: bigint, field: BitmapField): FirmwareRegister {
  return {
    name: `${FIRMWARE_PREFIX}${name}`,
    id: ID_BASE | COPROC_FW_FEAT_BMAP | index,
    rule: { kind: "bitmap", field },
  };
}

export const FIRMWARE_REGISTERS: readonly FirmwareRegister[] = [
  firmware("PSCI_VERSION", 0n, { kind: "psciVersion", field: "psciVersion" }),
  firmware("SMCCC_ARCH_WORKAROUND_1", 1n, { kind: "workaround", index: 0 }),
  firmware("SMCCC_ARCH_WORKAROUND_2", 2n, { kind: "workaround2", index: 1 }),
  firmware("SMCCC_ARCH_WORKAROUND_3", 3n, { kind: "workaround", index: 2 }),
  bitmap("STD_BMAP", 0n, "standardServices"),
  bitmap("STD_HYP_BMAP", 1n, "standardHypervisorServices"),
  bitmap("VENDOR_HYP_BMAP", 2n, "vendorHypervisorServices"),
  bitmap("VENDOR_HYP_BMAP_2", 3n, "vendorHypervisorServices2"),
];

/** By KVM's name, or without its prefix: KVM_REG_ARM_PSCI_VERSION, PSCI_VERSION. */
export function firmwareRegisterNamed(name: string): FirmwareRegister | undefined {
  const wanted = name.toUpperCase();
  return FIRMWARE_REGISTERS.find(
    (register) => register.name === wanted || register.name === `${FIRMWARE_PREFIX}${wanted}`,
  );
}

export function firmwareRegisterOf(id: bigint): FirmwareRegister | undefined {
  return FIRMWARE_REGISTERS.find((register) => register.id === id);
}

export function readFirmwareRegister(state: FirmwareRegisters, register: FirmwareRegister): bigint {
  const { rule } = register;
  return "field" in rule ? state[rule.field] : hostModelOf(state.host).workarounds[rule.index];
}

/** Whether the host's kernel has the register at all. */
export function hasFirmwareRegister(state: FirmwareRegisters, { rule }: FirmwareRegister): boolean {
  return rule.kind !== "bitmap" || hostModelOf(state.host)[rule.field] !== undefined;
}

/** What the register may be set to on its host, in words. */
export function offeredValues(state: FirmwareRegisters, { rule }: FirmwareRegister): string {
  const host = hostModelOf(state.host);
  switch (rule.kind) {
    case "psciVersion":
      return `up to ${hex(host.psciVersion)}`;
    case "bitmap": {
      const bits = host[rule.field];
      return bits === undefined ? "no such register" : `bits ${hex(bits)}`;
    }
    default:
      return `level ${hex(host.workarounds[rule.index])}`;
  }
}

function invalid(reason: string): Refusal {
  return { errno: "EINVAL", call: "KVM_SET_ONE_REG", reason };
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** KVM's checks for a write; undefined: it is accepted. What it changes is `writtenFirmwareRegister`. */
export function checkFirmwareWrite(
  { firmware: state, features = PSCI_0_2 }: { readonly firmware: FirmwareRegisters; readonly features?: number },
  register: FirmwareRegister,
  value: bigint,
  hasRun: boolean,
): Refusal | undefined {
  const { name, rule } = register;
  const text = `${name}=${hex(value)}`;
  const host = hostModelOf(state.host);
  switch (rule.kind) {
    case "psciVersion":
      return checkPsciVersion(text, value, { hasPsci0_2: (features & PSCI_0_2) !== 0, host });
    case "bitmap": {
      const supported = host[rule.field];
      if (supported === undefined)
        return { errno: "ENOENT", call: "KVM_SET_ONE_REG", reason: `${text}: host ${host.name} has no such register` };
      if ((value & ~supported) !== 0n) return invalid(`${text}: supported bits are ${hex(supported)}`);
      if (hasRun && value !== state[rule.field])
        return {
          errno: "EBUSY",
          call: "KVM_SET_ONE_REG",
          reason: `${text}: a vCPU has run, and it is ${hex(state[rule.field])}`,
          next: `hvjournal record --firmware-reg ${text}`,
        };
      return undefined;
    }
    case "workaround": {
      const level = host.workarounds[rule.index];
      if ((value & ~LEVEL_MASK) !== 0n) return invalid(`${text}: levels have 4 bits`);
      return value > level ? invalid(`${text}: this host offers ${hex(level)}`) : undefined;
    }
    case "workaround2":
      return checkWorkaround2(text, value, host.workarounds[rule.index]);
    default:
      return rule satisfies never;
  }
}

function checkPsciVersion(
  text: string,
  value: bigint,
  { hasPsci0_2, host }: { readonly hasPsci0_2: boolean; readonly host: HostModel },
): Refusal | undefined {
  if (value !== PsciVersion.v0_1 && !PSCI_VERSIONS.includes(value))
    return invalid(`${text}: known are 0.1, 0.2 and 1.0 to 1.3`);
  if (value > host.psciVersion) return invalid(`${text}: host ${host.name} has PSCI up to ${hex(host.psciVersion)}`);
  if ((value === PsciVersion.v0_1) !== hasPsci0_2) return undefined;
  return invalid(
    hasPsci0_2
      ? `${text}: PSCI 0.1 is for vCPUs without KVM_ARM_VCPU_PSCI_0_2`
      : `${text}: vCPUs without KVM_ARM_VCPU_PSCI_0_2 have PSCI 0.1`,
  );
}

function checkWorkaround2(text: string, value: bigint, hostLevel: bigint): Refusal | undefined {
  const level = value & LEVEL_MASK;
  if ((value & ~(LEVEL_MASK | WORKAROUND_2_ENABLED)) !== 0n)
    return invalid(`${text}: levels have 4 bits, and bit 4 says enabled`);
  if ((value & WORKAROUND_2_ENABLED) !== 0n && level !== Workaround2Level.available)
    return invalid(`${text}: enabled goes with level 2 only`);
  if (level > Workaround2Level.notRequired) return invalid(`${text}: levels are 0 to 3`);
  // KVM takes "unknown" for "not available" and "available" for "not required" here.
  const asked = level <= Workaround2Level.unknown ? 0n : Workaround2Level.notRequired;
  return hostLevel < asked ? invalid(`${text}: this host offers ${hex(hostLevel)}`) : undefined;
}

/** The registers after an accepted write. Workaround levels are the host's: a write only asks whether they will do. */
export function writtenFirmwareRegister(
  state: FirmwareRegisters,
  register: FirmwareRegister,
  value: bigint,
): FirmwareRegisters {
  return "field" in register.rule ? { ...state, [register.rule.field]: value } : state;
}
