/**
 * KVM_GET_SUPPORTED_HV_CPUID: ten leaves, in KVM's order, with all that it serves a guest (arch/x86/kvm/hyperv.c,
 * kvm_get_hv_cpuid).
 */
import { type CpuidEntry, type CpuidWords, entryOf } from "../cpuid-entry.js";
import { bitsOf, featureNamed, HYPERV_FEATURES, Recommendation } from "./features.js";

/** "Linux KVM Hv". */
const VENDOR: readonly [number, number, number] = [0x756e_694c, 0x564b_2078, 0x7648_204d];
/** "Hv#1" and "VS#1". */
const INTERFACE = 0x3123_7648;
const DEBUG_INTERFACE = 0x3123_5356;
const HIGHEST = 0x4000_0082;
const BUILD = 0x3839;
const VERSION = 0x000a_0000;
const SPIN_ATTEMPTS = 0xfff;
/** KVM_MAX_VCPUS, and the most logical processors. */
const VCPUS_MAX = 1024;
const PROCESSORS_MAX = 64;
/** Kernel debugging is allowed. */
const DEBUGGING = 1 << 1;
/** Direct flush and the enlightened MSR bitmap; the lower half has the versions of the enlightened VMCS. */
const NESTED_FEATURES = (1 << 17) | (1 << 19);
const PERF_GLOBAL_CONTROL = 1;
const ENLIGHTENED_VMCS = 1 << 14;
const NO_CORE_SHARING = 1 << 18;

/** From the lowest to the highest version: 1 is all. */
export const EVMCS_VERSIONS = 0x0101;
export const SUPPORTED_LEAVES = 10;

/** What the answer hangs on. */
export interface HypervSupport {
  /** Of the vCPU form: KVM_CAP_HYPERV_ENLIGHTENED_VMCS is enabled on it. Of the system form: the host has VMX for guests. */
  readonly hasEvmcs: boolean;
  /** Two virtual processors may share a core of the host. */
  readonly isSmtPossible: boolean;
  /** The local APIC is the kernel's. */
  readonly hasApic: boolean;
  /** Bits that the host's kernel does not have: "CPUID 0x40000003.EBX[20]". */
  readonly lackedCpuid?: readonly string[];
}

const ALL = HYPERV_FEATURES.map(({ name }) => name);
/** What needs the kernel's local APIC. */
const NEEDS_APIC = ["ipi", "stimer-direct"];

export function supportedHypervLeaves(support: HypervSupport): readonly CpuidEntry[] {
  const { hasEvmcs, isSmtPossible, hasApic, lackedCpuid = [] } = support;
  const bits = bitsOf(hasApic ? ALL : ALL.filter((name) => !NEEDS_APIC.includes(name)));
  const recommendations =
    bits.recommendations |
    Recommendation.noAutoEoi |
    Recommendation.extendedMasks |
    (hasEvmcs ? ENLIGHTENED_VMCS : 0) |
    (isSmtPossible ? 0 : NO_CORE_SHARING);
  const hasDebugger = featureNamed("syndbg") !== undefined;
  const leaves: readonly (readonly [leaf: number, words: CpuidWords])[] = [
    [0x4000_0000, [HIGHEST, ...VENDOR]],
    [0x4000_0001, [INTERFACE, 0, 0, 0]],
    [0x4000_0002, [BUILD, VERSION, 0, 0]],
    [0x4000_0003, [bits.privileges, bits.privilegesHigh, 0, bits.features]],
    [0x4000_0004, [recommendations, SPIN_ATTEMPTS, 0, 0]],
    [0x4000_0005, [VCPUS_MAX, PROCESSORS_MAX, 0, 0]],
    [0x4000_0080, [0, ...VENDOR]],
    [0x4000_0081, [DEBUG_INTERFACE, 0, 0, 0]],
    [0x4000_0082, [hasDebugger ? DEBUGGING : 0, 0, 0, 0]],
    [0x4000_000a, [NESTED_FEATURES | (hasEvmcs ? EVMCS_VERSIONS : 0), PERF_GLOBAL_CONTROL, 0, 0]],
  ];
  return leaves.map(([leaf, words]) => entryOf(leaf, undefined, withoutLacked(leaf, words, lackedCpuid)));
}

const BIT = /^CPUID (0x[0-9a-f]+)\.E([A-D])X\[(\d+)\]$/;

function withoutLacked(leaf: number, words: CpuidWords, lacked: readonly string[]): CpuidWords {
  const own = lacked.map((name) => BIT.exec(name)).filter((match) => Number(match?.[1]) === leaf);
  return words.map((word, at) =>
    own.filter((match) => match?.[2] === "ABCD"[at]).reduce((left, match) => left & ~(1 << Number(match?.[3])), word),
  ) as unknown as CpuidWords;
}
