/** What the control plane's events have made of an arm64 VM. Plain data: it is saved with the control plane's state. */
import type { EnabledCapability, EventfdState, HostReference, PolicySetting } from "@hvjournal/core";
import type { FilterRange } from "../smccc/smccc-filter.js";
import { type FirmwareRegisters, firmwareReset } from "../smccc/firmware-registers.js";
import type { PolicyName } from "./policies.js";

export interface IdRegisterValue {
  /** As the Arm ARM writes it: ID_AA64ISAR0_EL1. */
  readonly name: string;
  /** op0, op1, CRn, CRm, op2, packed as in KVM_REG_ARM64_SYSREG. */
  readonly selector: number;
  readonly value: bigint;
}

/** Where a vCPU's stolen time is told (DEN0057, section 3.3). */
export interface PvTimeStructure {
  readonly vcpu: number;
  /** Guest-physical, a multiple of 64. */
  readonly ipa: bigint;
}

export interface Arm64ControlState extends EventfdState {
  /** In the order in which they were set. */
  readonly smcccFilter: readonly FilterRange[];
  readonly firmware: FirmwareRegisters;
  readonly capabilities: readonly EnabledCapability[];
  // What follows is absent as long as nothing has set it.
  /** KVM_ARM_VCPU_* features of the first KVM_ARM_VCPU_INIT, which hold for the VM: a mask without POWER_OFF. */
  readonly features?: number;
  /** vCPUs that have had their KVM_ARM_VCPU_INIT, in that order. */
  readonly initializedVcpus?: readonly number[];
  readonly idRegisters?: readonly IdRegisterValue[];
  readonly pvTime?: readonly PvTimeStructure[];
  readonly policies?: readonly PolicySetting<PolicyName>[];
}

export function initialArm64State(host?: HostReference): Arm64ControlState {
  return { smcccFilter: [], firmware: firmwareReset(host), capabilities: [] };
}

export function isInitialized({ initializedVcpus = [] }: Arm64ControlState, vcpu: number): boolean {
  return initializedVcpus.includes(vcpu);
}

export function idRegisterOf({ idRegisters = [] }: Arm64ControlState, selector: number): bigint | undefined {
  return idRegisters.find((each) => each.selector === selector)?.value;
}

export function pvTimeIpaOf({ pvTime = [] }: Arm64ControlState, vcpu: number): bigint | undefined {
  return pvTime.find((each) => each.vcpu === vcpu)?.ipa;
}
