/** Features of KVM_ARM_VCPU_INIT (arch/arm64/include/uapi/asm/kvm.h). */

/** By bit number. */
export const VCPU_FEATURES = [
  "POWER_OFF",
  "EL1_32BIT",
  "PSCI_0_2",
  "PMU_V3",
  "SVE",
  "PTRAUTH_ADDRESS",
  "PTRAUTH_GENERIC",
  "HAS_EL2",
  "HAS_EL2_E2H0",
] as const;

export const FEATURE_PREFIX = "KVM_ARM_VCPU_";

/** POWER_OFF says how a vCPU starts and is no feature of the VM. */
export const POWER_OFF = 1;
export const PSCI_0_2 = 4;
export const SVE = 16;

/** What a vCPU without AArch32, performance monitors, SVE, pointer authentication and EL2 can have. */
export const SUPPORTED_FEATURES: number = POWER_OFF | PSCI_0_2;

/** Names of a mask's bits; those without a name by number. */
export function featureNames(mask: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) if (((mask >>> bit) & 1) === 1) names.push(VCPU_FEATURES[bit] ?? `bit ${bit}`);
  return names;
}

/** With or without KVM's prefix; undefined for a name that there is not. */
export function featureMask(names: readonly string[]): number | undefined {
  let mask = 0;
  for (const name of names) {
    const plain = name.startsWith(FEATURE_PREFIX) ? name.slice(FEATURE_PREFIX.length) : name;
    const bit = VCPU_FEATURES.findIndex((feature) => feature === plain);
    if (bit < 0) return undefined;
    mask |= 1 << bit;
  }
  return mask;
}
