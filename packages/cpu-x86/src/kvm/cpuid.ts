/** The CPUID of the model `hvj-v1`: what a vCPU tells of itself, never the host's. Intel SDM volume 2, CPUID. */
import { XSAVE_BYTES, XSAVE_COMPONENTS } from "../isa/instructions/fxsave.js";
import { Cr4 } from "../isa/registers.js";
import { PHYSICAL_ADDRESS_BITS } from "../isa/translation.js";
import { hypervLeaf, KVM_LEAF_BESIDE_HYPERV } from "./hyperv/leaves.js";
import { APIC_BUS_HZ } from "./irqchip/apic-timer.js";
import { SIGNATURE } from "./cpu-model.js";
import { TSC_HZ } from "./time-stamp-counter.js";
import type { Vm } from "./vm.js";

/** What a guest's CPUID follows from. */
export type CpuidSource = Pick<Vm, "vcpuCount" | "control"> & Partial<Pick<Vm, "hyperv">>;

/** EAX, EBX, ECX, EDX. */
export type CpuidWords = readonly [eax: number, ebx: number, ecx: number, edx: number];

function mask(...bits: readonly number[]): number {
  return bits.reduce((sum, bit) => sum | (1 << bit), 0) >>> 0;
}

/** Bytes of a text, four to a word. */
function textWords(text: string, count: number): number[] {
  return Array.from({ length: count }, (_, word) =>
    [0, 1, 2, 3].reduce((sum, byte) => sum | ((text.charCodeAt(4 * word + byte) || 0) << (8 * byte)), 0),
  );
}

const VENDOR = textWords("GenuineIntel", 3);
const BRAND = textWords("hvjournal virtual CPU hvj-v1".padEnd(48, "\0"), 12);

/** FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 */
const FEATURES_1_EDX = mask(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26);
/** SSE3 SSSE3 CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline XSAVE RDRAND hypervisor */
const FEATURES_1_ECX = mask(0, 9, 13, 17, 19, 20, 21, 22, 23, 24, 26, 30, 31);
/** Of leaf 1's ECX: CR4.OSXSAVE as the system has set it. */
const OSXSAVE = mask(27);
/** FSGSBASE TSC_ADJUST SMEP INVPCID "no FCS and FDS" RDSEED SMAP */
const FEATURES_7_EBX = mask(0, 1, 7, 10, 13, 18, 20);
/** UMIP */
const FEATURES_7_ECX = mask(2);
/** LAHF LZCNT PREFETCHW */
const FEATURES_EXTENDED_ECX = mask(0, 5, 8);
/** SYSCALL NX 1-GB pages RDTSCP LM */
const FEATURES_EXTENDED_EDX = mask(11, 20, 26, 27, 29);
const INVARIANT_TSC = 1 << 8;
const LINEAR_ADDRESS_BITS = 48;

const KVM_LEAF = 0x4000_0000;
const KVM_SIGNATURE = textWords("KVMKVMKVM\0\0\0", 3);
/** CLOCKSOURCE2, STEAL_TIME, CLOCKSOURCE_STABLE. */
const KVM_FEATURES = mask(3, 5, 24);

const HIGHEST_LEAF = 0x16;
const HIGHEST_EXTENDED_LEAF = 0x8000_0008;
const NOTHING: CpuidWords = [0, 0, 0, 0];
const MEGAHERTZ = 1_000_000;

/** Leaf 4: type, level; ways, line bytes, sets. */
function cacheLeaf(subleaf: number): CpuidWords {
  const caches = [
    { type: 1, level: 1, ways: 8, sets: 64 },
    { type: 2, level: 1, ways: 8, sets: 64 },
    { type: 3, level: 2, ways: 16, sets: 2048 },
  ];
  const cache = caches[subleaf];
  if (cache === undefined) return NOTHING;
  const { type, level, ways, sets } = cache;
  return [type | (level << 5) | (1 << 8), 63 | ((ways - 1) << 22), sets - 1, 0];
}

/** Leaf 0xb: each vCPU is a core of one package. */
function topologyLeaf(vm: CpuidSource, vcpu: number, subleaf: number): CpuidWords {
  const shift = Math.ceil(Math.log2(vm.vcpuCount));
  if (subleaf === 0) return [0, 1, 1 << 8, vcpu];
  if (subleaf === 1) return [shift, vm.vcpuCount, 1 | (2 << 8), vcpu];
  return [0, 0, subleaf, vcpu];
}

/** Leaf 0xd: components and size of the XSAVE area; XSAVEOPT and XSAVEC. */
function extendedStateLeaf(subleaf: number): CpuidWords {
  if (subleaf === 0) return [XSAVE_COMPONENTS, XSAVE_BYTES, XSAVE_BYTES, 0];
  return subleaf === 1 ? [mask(0, 1), XSAVE_BYTES, 0, 0] : NOTHING;
}

function basicLeaf(vm: CpuidSource, vcpu: number, leaf: number, subleaf: number, cr4: number): CpuidWords {
  switch (leaf) {
    case 0:
      return [HIGHEST_LEAF, VENDOR[0] ?? 0, VENDOR[2] ?? 0, VENDOR[1] ?? 0];
    case 1: {
      const identity = (vcpu << 24) | (vm.vcpuCount << 16) | (8 << 8);
      const hasHtt = vm.vcpuCount > 1 ? 1 << 28 : 0;
      const enabled = (cr4 & Cr4.OSXSAVE) === 0 ? 0 : OSXSAVE;
      return [SIGNATURE, identity, FEATURES_1_ECX | enabled, FEATURES_1_EDX | hasHtt];
    }
    case 4:
      return cacheLeaf(subleaf);
    case 7:
      return subleaf === 0 ? [0, FEATURES_7_EBX, FEATURES_7_ECX, 0] : NOTHING;
    case 0xb:
      return topologyLeaf(vm, vcpu, subleaf);
    case 0xd:
      return extendedStateLeaf(subleaf);
    case 0x15:
      return [1, TSC_HZ / APIC_BUS_HZ, APIC_BUS_HZ, 0];
    case 0x16:
      return [TSC_HZ / MEGAHERTZ, TSC_HZ / MEGAHERTZ, APIC_BUS_HZ / MEGAHERTZ, 0];
    default:
      return NOTHING;
  }
}

/** Where Hyper-V's guest is to ask for an invariant counter, it is not told of one before (HV_EXPOSE_INVARIANT_TSC). */
function hasInvariantCounter({ control, hyperv }: CpuidSource): boolean {
  return control.hyperv?.features.includes("tsc-invariant") !== true || hyperv?.vm.invariantTsc === 1n;
}

function extendedLeaf(vm: CpuidSource, leaf: number): CpuidWords {
  switch (leaf) {
    case 0x8000_0000:
      return [HIGHEST_EXTENDED_LEAF, 0, 0, 0];
    case 0x8000_0001:
      return [0, 0, FEATURES_EXTENDED_ECX, FEATURES_EXTENDED_EDX];
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const at = 4 * (leaf - 0x8000_0002);
      return BRAND.slice(at, at + 4) as unknown as CpuidWords;
    }
    case 0x8000_0007:
      return [0, 0, 0, hasInvariantCounter(vm) ? INVARIANT_TSC : 0];
    case 0x8000_0008:
      return [PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8), 0, 0, 0];
    default:
      return NOTHING;
  }
}

/** Documentation/virt/kvm/x86/cpuid.rst. */
function kvmLeaf(leaf: number, first: number): CpuidWords {
  switch (leaf - first) {
    case 0:
      return [first + 0x10, KVM_SIGNATURE[0] ?? 0, KVM_SIGNATURE[1] ?? 0, KVM_SIGNATURE[2] ?? 0];
    case 1:
      return [KVM_FEATURES, 0, 0, 0];
    case 0x10:
      // As VMware's: frequencies in kHz.
      return [TSC_HZ / 1000, APIC_BUS_HZ / 1000, 0, 0];
    default:
      return NOTHING;
  }
}

/** KVM's leaves move up where Hyper-V's come first. */
function leafOfHypervisor(vm: CpuidSource, leaf: number): CpuidWords {
  const { hyperv } = vm.control;
  // Linux takes the highest of the hypervisors that it finds: beside Hyper-V's, KVM's leaves are there only if asked for.
  const chosen = vm.control.policies?.find(({ name }) => name === "x86.cpuid.hypervisor")?.value;
  const hasKvm = (chosen ?? (hyperv === undefined ? "kvm" : "plain")) === "kvm";
  if (hyperv === undefined) return hasKvm ? kvmLeaf(leaf, KVM_LEAF) : NOTHING;
  if (leaf < KVM_LEAF_BESIDE_HYPERV) return hypervLeaf(hyperv.features, leaf);
  return hasKvm ? kvmLeaf(leaf, KVM_LEAF_BESIDE_HYPERV) : NOTHING;
}

/** A basic leaf beyond the highest one is answered as the highest one. `cr4`: the vCPU's, for what the system has enabled. */
export function cpuid(vm: CpuidSource, vcpu: number, leaf: number, subleaf: number, cr4: number): CpuidWords {
  if (leaf >>> 28 === 4) return leafOfHypervisor(vm, leaf);
  if (leaf >>> 28 === 8) return extendedLeaf(vm, leaf);
  return basicLeaf(vm, vcpu, leaf > HIGHEST_LEAF ? HIGHEST_LEAF : leaf, subleaf, cr4);
}
