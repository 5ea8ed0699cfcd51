/** Single words of CPUID that a user sets: which there are, and what the CPU has of each. */
import { CPUID_WORDS, type CpuidPlace, type CpuidWord, type SetCpuidWord } from "./cpuid-entry.js";
import { type CpuidSource, cpuid, isIndexed, modelCpuid } from "./cpuid.js";
import { CPUID_REGISTERS, namesOf } from "./contract/cpuid-names.js";
import { HYPERV_FEATURES } from "./hyperv/features.js";
import { HYPERV_LEAF, hypervLeaf, KVM_LEAF_BESIDE_HYPERV } from "./hyperv/leaves.js";

const HYPERVISOR_BLOCK = 4;
const KVM_FEATURES = KVM_LEAF_BESIDE_HYPERV + 1;
/** The words whose bits are features, by leaf, and subleaf where there are some. */
const FEATURE_WORDS: ReadonlyMap<string, readonly CpuidWord[]> = new Map<string, readonly CpuidWord[]>([
  ["1", ["ecx", "edx"]],
  ["7.0", ["ebx", "ecx", "edx"]],
  ["d.0", ["eax", "edx"]],
  ["d.1", ["eax"]],
  ["80000001", ["ecx", "edx"]],
  ["80000007", ["edx"]],
  ["40000003", ["eax", "ebx", "edx"]],
  ["40000004", ["eax"]],
  ["40000101", ["eax"]],
]);
/** Highest leaves: not above what there is. */
const HIGHEST_LEAVES: ReadonlySet<number> = new Set([0, 0x8000_0000]);
/** What address sizes follow from is the CPU's. */
const ADDRESS_SIZES = 0x8000_0008;

function keyOf({ leaf, subleaf }: CpuidPlace): string {
  const key = leaf.toString(16);
  return isIndexed(leaf) ? `${key}.${subleaf}` : key;
}

function wordAt(words: readonly number[], word: CpuidWord): number {
  return (words[CPUID_WORDS.indexOf(word)] ?? 0) >>> 0;
}

/** What guests are told now. */
export function wordOf(source: CpuidSource, { leaf, subleaf, word }: CpuidPlace): number {
  return wordAt(cpuid(source, 0, leaf, subleaf, 0), word);
}

const ALL_HYPERV = HYPERV_FEATURES.map(({ name }) => name);

/** All bits that the CPU, KVM or its Hyper-V has. */
function supportedWord(vcpuCount: number, { leaf, subleaf, word }: CpuidPlace): number {
  if (leaf >>> 28 === HYPERVISOR_BLOCK && leaf < KVM_LEAF_BESIDE_HYPERV)
    return wordAt(hypervLeaf(ALL_HYPERV, leaf), word);
  // KVM's own leaves say the same wherever they stand.
  const own = leaf === KVM_FEATURES ? leaf - (KVM_LEAF_BESIDE_HYPERV - HYPERV_LEAF) : leaf;
  return wordAt(modelCpuid({ control: { capabilities: [] }, vcpuCount }, 0, own, subleaf), word);
}

function bitsIn(mask: number): number[] {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((mask >>> bit) & 1) === 1);
}

function isLeafOfModel(vcpuCount: number, leaf: number, subleaf: number): boolean {
  if (leaf >>> 28 === HYPERVISOR_BLOCK) return true;
  const words = modelCpuid({ control: { capabilities: [] }, vcpuCount }, 0, leaf, subleaf);
  const [highest] = modelCpuid({ control: { capabilities: [] }, vcpuCount }, 0, (leaf & 0x8000_0000) >>> 0, 0);
  return leaf <= highest && (!isIndexed(leaf) || subleaf === 0 || words.some((word) => word !== 0));
}

function bitName({ leaf, subleaf, word }: CpuidPlace, bit: number): string {
  const register = CPUID_REGISTERS.find((each) => each.toLowerCase() === word) ?? "EAX";
  const kvmBase = leaf === KVM_FEATURES ? KVM_LEAF_BESIDE_HYPERV : undefined;
  return (
    namesOf(leaf, isIndexed(leaf) ? subleaf : undefined, register, kvmBase).bits?.get(bit) ??
    "what a reserved bit tells of"
  );
}

/** Why a word can't be set to a value; undefined: it can. */
export function refusedWord(vcpuCount: number, { value, ...place }: SetCpuidWord): string | undefined {
  const { leaf, subleaf, word } = place;
  const name = `0x${keyOf(place)}.${word.toUpperCase()}`;
  if (!isLeafOfModel(vcpuCount, leaf, subleaf)) return `the CPU has no leaf 0x${keyOf(place)}`;
  const supported = supportedWord(vcpuCount, place);
  if (FEATURE_WORDS.get(keyOf(place))?.includes(word) === true) {
    const missing = bitsIn((value & ~supported) >>> 0);
    if (missing.length > 0)
      return `the CPU does not have ${missing.map((bit) => `${bitName(place, bit)} (${name}[${bit}])`).join(", ")}`;
  }
  if (HIGHEST_LEAVES.has(leaf) && word === "eax" && value > supported)
    return `${name}=0x${value.toString(16)}: the highest leaf is 0x${supported.toString(16)}`;
  if (leaf === ADDRESS_SIZES && word === "eax" && value !== supported)
    return `${name}=0x${value.toString(16)}: the CPU's addresses are told by 0x${supported.toString(16)}`;
  return undefined;
}
