/** The CPUID of the model `hvj-v1`: what a vCPU tells of itself, never the host's. Intel SDM volume 2, CPUID. */
import { XSAVE_BYTES, XSAVE_COMPONENTS } from "../isa/instructions/fxsave.js";
import { Cr4 } from "../isa/registers.js";
import { PHYSICAL_ADDRESS_BITS } from "../isa/translation.js";
import { Feature } from "./hyperv/features.js";
import { type HypervOffer, hypervLeaf, KVM_LEAF_BESIDE_HYPERV, readHypervOffer } from "./hyperv/leaves.js";
import { APIC_BUS_HZ } from "./irqchip/apic-timer.js";
import { SIGNATURE } from "./cpu-model.js";
import { type Amd64ControlState, isHaltInGuest, mayHaveHyperv, policyValue } from "./control/control-state.js";
import { CPUID_WORDS, type CpuidEntry, type CpuidWords, entryOf, lookUp } from "./cpuid-entry.js";
import { notifyBits } from "./notify-policy.js";
import { TSC_HZ } from "./time-stamp-counter.js";

export type { CpuidWords } from "./cpuid-entry.js";

/** What a vCPU's CPUID follows from. */
export interface CpuidSource {
  readonly control: Amd64ControlState;
  readonly vcpuCount: number;
}

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
/** Of leaf 1's EDX: there are several processors. */
const HTT = mask(28);
/** Of leaf 1's ECX: CR4.OSXSAVE as the system has set it. */
const OSXSAVE = mask(27);
const XSAVE = mask(26);
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
/** CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2, STEAL_TIME, PV_EOI, CLOCKSOURCE_STABLE: what QEMU's named models offer, and is there. */
const KVM_FEATURES = mask(0, 1, 3, 5, 6, 24);
/** What KVM has beside: PV_UNHALT, PV_SEND_IPI, POLL_CONTROL, PV_SCHED_YIELD. */
const KVM_FEATURES_ON_REQUEST = mask(7, 11, 12, 13);
const PV_UNHALT = mask(7);

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
function topologyLeaf(vcpuCount: number, vcpu: number, subleaf: number): CpuidWords {
  const shift = Math.ceil(Math.log2(vcpuCount));
  if (subleaf === 0) return [0, 1, 1 << 8, vcpu];
  if (subleaf === 1) return [shift, vcpuCount, 1 | (2 << 8), vcpu];
  return [0, 0, subleaf, vcpu];
}

/** Leaf 0xd: components and size of the XSAVE area; XSAVEOPT and XSAVEC. */
function extendedStateLeaf(subleaf: number): CpuidWords {
  if (subleaf === 0) return [XSAVE_COMPONENTS, XSAVE_BYTES, XSAVE_BYTES, 0];
  return subleaf === 1 ? [mask(0, 1), XSAVE_BYTES, 0, 0] : NOTHING;
}

function basicLeaf(vcpuCount: number, vcpu: number, leaf: number, subleaf: number): CpuidWords {
  switch (leaf) {
    case 0:
      return [HIGHEST_LEAF, VENDOR[0] ?? 0, VENDOR[2] ?? 0, VENDOR[1] ?? 0];
    case 1: {
      const identity = (vcpu << 24) | (vcpuCount << 16) | (8 << 8);
      const hasHtt = vcpuCount > 1 ? HTT : 0;
      return [SIGNATURE, identity, FEATURES_1_ECX, FEATURES_1_EDX | hasHtt];
    }
    case 4:
      return cacheLeaf(subleaf);
    case 7:
      return subleaf === 0 ? [0, FEATURES_7_EBX, FEATURES_7_ECX, 0] : NOTHING;
    case 0xb:
      return topologyLeaf(vcpuCount, vcpu, subleaf);
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

function extendedLeaf(leaf: number): CpuidWords {
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
      return [0, 0, 0, INVARIANT_TSC];
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

/** ECX of the leaf of features, which upstream leaves 0, tells how the guest may notify its VMM where a policy says so. */
function kvmLeafUnder(control: Amd64ControlState, leaf: number, first: number): CpuidWords {
  const [eax, ebx, ecx, edx] = kvmLeaf(leaf, first);
  return [eax, ebx, leaf === first + 1 ? notifyBits(control) : ecx, edx];
}

/** Who is offered input in XMM registers is offered output in them, where the VMM has asked for it. */
function xmmOutputBit(control: Amd64ControlState, features: readonly string[]): number {
  return features.includes("xmm-input") && policyValue(control, "hv.xmmOutput") !== "absent" ? Feature.xmmOutput : 0;
}

/** KVM's leaves move up where Hyper-V's come first. */
function leafOfHypervisor(control: Amd64ControlState, leaf: number): CpuidWords {
  const { hyperv } = control;
  // Linux takes the highest of the hypervisors that it finds: beside Hyper-V's, KVM's leaves are there only if asked for.
  const chosen = control.policies?.find(({ name }) => name === "x86.cpuid.hypervisor")?.value;
  const hasKvm = (chosen ?? (hyperv === undefined ? "kvm" : "plain")) === "kvm";
  if (hyperv === undefined) return hasKvm ? kvmLeafUnder(control, leaf, KVM_LEAF) : NOTHING;
  if (leaf < KVM_LEAF_BESIDE_HYPERV) return hypervLeaf(hyperv.features, leaf, xmmOutputBit(control, hyperv.features));
  return hasKvm ? kvmLeafUnder(control, leaf, KVM_LEAF_BESIDE_HYPERV) : NOTHING;
}

/** Of the model with what Hyper-V's list adds. A basic leaf beyond the highest one is answered as the highest one. */
export function modelCpuid(
  { control, vcpuCount }: CpuidSource,
  vcpu: number,
  leaf: number,
  subleaf: number,
): CpuidWords {
  if (leaf >>> 28 === 4) return leafOfHypervisor(control, leaf);
  if (leaf >>> 28 === 8) return extendedLeaf(leaf);
  return basicLeaf(vcpuCount, vcpu, Math.min(leaf, HIGHEST_LEAF), subleaf);
}

/** KVM_SET_CPUID2's entries, or the model with the words that were set. */
function givenCpuid(source: CpuidSource, vcpu: number, leaf: number, subleaf: number): CpuidWords {
  const own = source.control.cpuidEntries?.find((each) => each.vcpu === vcpu);
  if (own !== undefined) return lookUp(own.entries, leaf, subleaf);
  const words = modelCpuid(source, vcpu, leaf, subleaf);
  const set = source.control.cpuidWords;
  if (set === undefined) return words;
  const index = isIndexed(leaf) ? subleaf : 0;
  return CPUID_WORDS.map(
    (word, at) =>
      set.find((each) => each.leaf === leaf && each.subleaf === index && each.word === word)?.value ?? words[at] ?? 0,
  ) as unknown as CpuidWords;
}

/**
 * What holds whatever the state of the vCPU is. Where HLT does not leave guest mode KVM can't end it, and clears PV_UNHALT of
 * what it was given (arch/x86/kvm/cpuid.c).
 */
function configuredCpuid(source: CpuidSource, vcpu: number, leaf: number, subleaf: number): CpuidWords {
  const words = givenCpuid(source, vcpu, leaf, subleaf);
  if (!isHaltInGuest(source.control) || !mayBeKvmFeatures(leaf)) return words;
  const [eax, ...others] = words;
  return isKvmSignature(givenCpuid(source, vcpu, leaf - 1, 0)) ? [(eax & ~PV_UNHALT) >>> 0, ...others] : words;
}

/** Of a vCPU. `cr4`: its own, for what the system has enabled. */
export function cpuid(source: CpuidSource, vcpu: number, leaf: number, subleaf: number, cr4: number): CpuidWords {
  const words = configuredCpuid(source, vcpu, leaf, subleaf);
  if (leaf !== 1) return words;
  const [eax, ebx, ecx, edx] = words;
  // KVM keeps this bit itself, whatever the VMM has set.
  const isEnabled = (cr4 & Cr4.OSXSAVE) !== 0 && (ecx & XSAVE) !== 0;
  return [eax, ebx, isEnabled ? ecx | OSXSAVE : ecx & ~OSXSAVE, edx];
}

/** Leaves whose answer depends on ECX, and how many subleaves each has. */
const SUBLEAVES: ReadonlyMap<number, number> = new Map([
  [4, 4],
  [7, 1],
  [0xb, 3],
  [0xd, 2],
]);

/** Whether a leaf has subleaves. */
export function isIndexed(leaf: number): boolean {
  return SUBLEAVES.has(leaf);
}

function rangeOf(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

/** Each leaf, and of those with subleaves the first and all that say something. */
function entriesOf(ask: (leaf: number, subleaf: number) => CpuidWords, leaves: readonly number[]): CpuidEntry[] {
  return leaves.flatMap((leaf) => {
    const count = SUBLEAVES.get(leaf);
    const subleaves = count === undefined ? [undefined] : rangeOf(0, count - 1);
    return subleaves
      .map((subleaf) => entryOf(leaf, subleaf, ask(leaf, subleaf ?? 0)))
      .filter(({ eax, ebx, ecx, edx, index }) => index === 0 || (eax | ebx | ecx | edx) !== 0);
  });
}

const MODEL_LEAVES: readonly number[] = [...rangeOf(0, HIGHEST_LEAF), ...rangeOf(0x8000_0000, HIGHEST_EXTENDED_LEAF)];

/** KVM_GET_CPUID2: what the guest of a vCPU is told, leaf by leaf. */
export function cpuidEntries(source: CpuidSource, vcpu: number): readonly CpuidEntry[] {
  const ask = (leaf: number, subleaf: number): CpuidWords => configuredCpuid(source, vcpu, leaf, subleaf);
  const own = source.control.cpuidEntries?.find((each) => each.vcpu === vcpu);
  if (own !== undefined)
    return own.entries.map((entry) =>
      mayBeKvmFeatures(entry.function) ? { ...entry, eax: ask(entry.function, entry.index)[0] } : entry,
    );
  const blocks = [KVM_LEAF, KVM_LEAF_BESIDE_HYPERV].flatMap((first) => {
    const [highest] = ask(first, 0);
    return highest < first ? [] : rangeOf(first, Math.min(highest, first + 0xff));
  });
  return entriesOf(ask, [...MODEL_LEAVES, ...blocks]);
}

/** KVM_GET_SUPPORTED_CPUID: what the CPU and KVM have. Hyper-V's leaves are not in it. */
export function supportedCpuid(vcpuCount: number, vcpu = 0): readonly CpuidEntry[] {
  const ask = (leaf: number, subleaf: number): CpuidWords => {
    const words = modelCpuid({ control: { capabilities: [] }, vcpuCount }, vcpu, leaf, subleaf);
    if (leaf !== KVM_LEAF + 1) return words;
    const [features, ...others] = words;
    return [(features | KVM_FEATURES_ON_REQUEST) >>> 0, ...others];
  };
  return entriesOf(ask, [...MODEL_LEAVES, KVM_LEAF, KVM_LEAF + 1]);
}

/** KVM's own leaves, where they stand behind Hyper-V's. */
export function kvmLeaves(): readonly CpuidEntry[] {
  return entriesOf(
    (leaf) => kvmLeaf(leaf, KVM_LEAF_BESIDE_HYPERV),
    [0, 1, 0x10].map((at) => KVM_LEAF_BESIDE_HYPERV + at),
  );
}

/** By vCPU: each hypercall asks, and to make the leaves takes tens of microseconds. A command makes another state. */
const offers = new WeakMap<Amd64ControlState, Map<number, HypervOffer | undefined>>();

/** What Hyper-V's leaves offer a guest; undefined: the interface is not there. */
export function hypervOffer(source: CpuidSource, vcpu: number): HypervOffer | undefined {
  const { control } = source;
  // Without these there can be none, which is what most VMs have.
  if (!mayHaveHyperv(control)) return undefined;
  const known = offers.get(control) ?? new Map<number, HypervOffer | undefined>();
  offers.set(control, known);
  if (!known.has(vcpu))
    known.set(
      vcpu,
      readHypervOffer((leaf) => configuredCpuid(source, vcpu, leaf, 0)),
    );
  return known.get(vcpu);
}

const KVM_LEAVES_END = 0x4001_0000;
const KVM_LEAVES_STEP = 0x100;

function isKvmSignature([, ...signature]: CpuidWords): boolean {
  return signature.every((word, at) => word === KVM_SIGNATURE[at]);
}

function mayBeKvmFeatures(leaf: number): boolean {
  return leaf >= KVM_LEAF && leaf < KVM_LEAVES_END && leaf % KVM_LEAVES_STEP === 1;
}

/** EAX of KVM's leaf of features, wherever it stands; 0: KVM does not tell of itself. */
export function kvmFeatures(source: CpuidSource, vcpu: number): number {
  for (let first = KVM_LEAF; first < KVM_LEAVES_END; first += KVM_LEAVES_STEP) {
    if (isKvmSignature(configuredCpuid(source, vcpu, first, 0))) return configuredCpuid(source, vcpu, first + 1, 0)[0];
  }
  return 0;
}
