/** `struct kvm_cpuid_entry2`: one leaf of a vCPU's CPUID as KVM_SET_CPUID2 takes it. */
import type { PayloadFields } from "@hvjournal/core";

/** EAX, EBX, ECX, EDX. */
export type CpuidWords = readonly [eax: number, ebx: number, ecx: number, edx: number];

export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the leaf has subleaves, of which this is `index`. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX, as the header spells it. */
export const SIGNIFICANT_INDEX = 1;
export const CPUID_WORDS = ["eax", "ebx", "ecx", "edx"] as const;
export type CpuidWord = (typeof CPUID_WORDS)[number];

/** One word of a leaf; `subleaf` is 0 where it has none. */
export interface CpuidPlace {
  readonly leaf: number;
  readonly subleaf: number;
  readonly word: CpuidWord;
}

export interface SetCpuidWord extends CpuidPlace {
  readonly value: number;
}

export function entryOf(leaf: number, subleaf: number | undefined, words: CpuidWords): CpuidEntry {
  const [eax, ebx, ecx, edx] = words.map((word) => word >>> 0) as unknown as CpuidWords;
  return {
    ...{ function: leaf, index: subleaf ?? 0, flags: subleaf === undefined ? 0 : SIGNIFICANT_INDEX },
    ...{ eax, ebx, ecx, edx },
  };
}

export function wordsOf({ eax, ebx, ecx, edx }: CpuidEntry): CpuidWords {
  return [eax, ebx, ecx, edx];
}

/** Throws PayloadError for what is no such structure. */
export function readEntry(fields: PayloadFields): CpuidEntry {
  const word = (name: string): number => fields.number(name) >>> 0;
  return {
    ...{ function: word("function"), index: word("index"), flags: word("flags") },
    ...{ eax: word("eax"), ebx: word("ebx"), ecx: word("ecx"), edx: word("edx") },
  };
}

const HYPERVISOR_FIRST = 0x4000_0000;
const HYPERVISOR_LAST = 0x4fff_ffff;

/** The first leaf of the block that a leaf belongs to. */
function blockOf(leaf: number): number {
  if (leaf >= HYPERVISOR_FIRST && leaf <= HYPERVISOR_LAST) return (leaf & 0xffff_ff00) >>> 0;
  return (leaf & 0x8000_0000) >>> 0;
}

function find(entries: readonly CpuidEntry[], leaf: number, subleaf: number): CpuidEntry | undefined {
  return entries.find(
    (each) => each.function === leaf && ((each.flags & SIGNIFICANT_INDEX) === 0 || each.index === subleaf),
  );
}

/** "AuthenticAMD": EBX of leaf 0. */
const AMD_VENDOR = 0x6874_7541;
const NOTHING: CpuidWords = [0, 0, 0, 0];
const TOPOLOGY_LEAVES: ReadonlySet<number> = new Set([0xb, 0x1f]);

/**
 * What a guest is told of a leaf where these are all that there are (kvm_cpuid): beyond the highest leaf of a block the highest
 * basic one answers, but for AMD's.
 */
export function lookUp(entries: readonly CpuidEntry[], leaf: number, subleaf: number): CpuidWords {
  const found = find(entries, leaf, subleaf);
  if (found !== undefined) return wordsOf(found);
  const basic = find(entries, 0, 0);
  const block = find(entries, blockOf(leaf), 0);
  const isBeyond = block === undefined || leaf > block.eax;
  if (isBeyond && basic !== undefined && basic.ebx !== AMD_VENDOR) {
    const highest = find(entries, basic.eax, subleaf);
    if (highest !== undefined) return wordsOf(highest);
  }
  // A level of the topology that there is not still tells its number and the vCPU's.
  const first = TOPOLOGY_LEAVES.has(leaf) ? find(entries, leaf, 1) : undefined;
  return first === undefined ? NOTHING : [0, 0, subleaf & 0xff, first.edx];
}
