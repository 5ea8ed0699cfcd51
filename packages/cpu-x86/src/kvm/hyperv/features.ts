/**
 * Hyper-V enlightenments by QEMU's names, and the CPUID bits by which a guest finds each: Hypervisor Top-Level Functional
 * Specification, "Feature and Interface Discovery"; docs/system/i386/hyperv.rst for what needs what.
 */

/** Leaf 0x40000003: privileges, features. Leaf 0x40000004: recommendations. */
export interface FeatureBits {
  readonly privileges?: number;
  readonly privilegesHigh?: number;
  readonly features?: number;
  readonly recommendations?: number;
}

export interface HyperVFeature extends FeatureBits {
  readonly name: string;
  readonly requires: readonly string[];
  /** Not among "all": it is for a debugger. */
  readonly isSpecial?: true;
}

/** EAX of leaf 0x40000003. */
export const Privilege = {
  vpRuntime: 1 << 0,
  timeReferenceCount: 1 << 1,
  synic: 1 << 2,
  syntheticTimers: 1 << 3,
  apic: 1 << 4,
  hypercall: 1 << 5,
  vpIndex: 1 << 6,
  reset: 1 << 7,
  referenceTsc: 1 << 9,
  frequency: 1 << 11,
  reenlightenment: 1 << 13,
  invariantTsc: 1 << 15,
} as const;
/** EBX of it. */
export const HypercallPrivilege = {
  postMessages: 1 << 4,
  signalEvents: 1 << 5,
  debugging: 1 << 11,
  extended: 1 << 20,
} as const;
/** EDX of it. */
export const Feature = {
  guestDebugging: 1 << 1,
  xmmInput: 1 << 4,
  frequencyMsrs: 1 << 8,
  crash: 1 << 10,
  debugMsrs: 1 << 11,
  extendedRanges: 1 << 14,
  xmmOutput: 1 << 15,
  directTimers: 1 << 19,
} as const;
/** EAX of leaf 0x40000004. */
export const Recommendation = {
  remoteFlush: 1 << 2,
  apicMsrs: 1 << 3,
  relaxedTiming: 1 << 5,
  noAutoEoi: 1 << 9,
  clusterIpi: 1 << 10,
  extendedMasks: 1 << 11,
} as const;

/** What every Hyper-V guest is offered. */
export const BASIC_PRIVILEGES: number = Privilege.hypercall;

export const HYPERV_FEATURES: readonly HyperVFeature[] = [
  { name: "relaxed", requires: [], recommendations: Recommendation.relaxedTiming },
  { name: "vapic", requires: [], privileges: Privilege.apic, recommendations: Recommendation.apicMsrs },
  { name: "spinlocks", requires: [] },
  { name: "vpindex", requires: [], privileges: Privilege.vpIndex },
  { name: "runtime", requires: [], privileges: Privilege.vpRuntime },
  { name: "crash", requires: [], features: Feature.crash },
  { name: "time", requires: [], privileges: Privilege.timeReferenceCount | Privilege.referenceTsc },
  {
    name: "synic",
    requires: ["vpindex"],
    privileges: Privilege.synic,
    privilegesHigh: HypercallPrivilege.postMessages | HypercallPrivilege.signalEvents,
  },
  { name: "stimer", requires: ["vpindex", "synic", "time"], privileges: Privilege.syntheticTimers },
  { name: "stimer-direct", requires: ["vpindex", "synic", "time", "stimer"], features: Feature.directTimers },
  {
    name: "tlbflush",
    requires: ["vpindex"],
    recommendations: Recommendation.remoteFlush | Recommendation.extendedMasks,
  },
  { name: "ipi", requires: ["vpindex"], recommendations: Recommendation.clusterIpi | Recommendation.extendedMasks },
  { name: "reset", requires: [], privileges: Privilege.reset },
  { name: "frequencies", requires: [], privileges: Privilege.frequency, features: Feature.frequencyMsrs },
  { name: "reenlightenment", requires: [], privileges: Privilege.reenlightenment },
  { name: "xmm-input", requires: [], features: Feature.xmmInput },
  { name: "ext-calls", requires: [], privilegesHigh: HypercallPrivilege.extended },
  { name: "tsc-invariant", requires: [], privileges: Privilege.invariantTsc },
  {
    name: "syndbg",
    requires: ["relaxed", "time", "vapic", "vpindex", "synic", "runtime", "stimer"],
    privilegesHigh: HypercallPrivilege.debugging,
    features: Feature.guestDebugging | Feature.debugMsrs,
    isSpecial: true,
  },
];

export function featureNamed(name: string): HyperVFeature | undefined {
  return HYPERV_FEATURES.find((feature) => feature.name === name);
}

/** All bits of a list of features. */
export function bitsOf(names: readonly string[]): Required<FeatureBits> {
  const chosen = HYPERV_FEATURES.filter(({ name }) => names.includes(name));
  const sum = (key: keyof FeatureBits): number => chosen.reduce((bits, feature) => bits | (feature[key] ?? 0), 0);
  return {
    privileges: BASIC_PRIVILEGES | sum("privileges"),
    privilegesHigh: sum("privilegesHigh"),
    features: sum("features"),
    recommendations: sum("recommendations"),
  };
}
