/** A guest's CPUID as items: by bit where bits have names, by register else, by text where a leaf spells one. */
import type { AskedAs, ContractItem } from "@hvjournal/core";
import { cpuid, type CpuidSource, type CpuidWords } from "../cpuid.js";
import { CPUID_REGISTERS, type CpuidRegister, leafKey, namesOf } from "./cpuid-names.js";
import { hypervCallsOf, hypervCallItem } from "./item-names.js";

const BASIC = 0;
const HYPERVISOR = 0x4000_0000;
const BESIDE_HYPERV = 0x4000_0100;
const EXTENDED = 0x8000_0000;
/** A leaf beyond these is no leaf of a block, whatever its first one says. */
const LEAVES_MAX = 0x100;
/** Leaves whose answer depends on ECX, and up to which of it. */
const SUBLEAVES: ReadonlyMap<number, number> = new Map([
  [4, 3],
  [7, 1],
  [0xb, 2],
  [0xd, 2],
]);
const KVM_SIGNATURE = "KVMKVMKVM";
const BRAND = [EXTENDED + 2, EXTENDED + 3, EXTENDED + 4];

interface Leaf {
  readonly leaf: number;
  readonly subleaf: number | undefined;
  readonly words: CpuidWords;
}

/** What a question about a leaf is counted under. */
export function leafItem(leaf: number, subleaf: number): string {
  return `CPUID ${leafKey(leaf, SUBLEAVES.has(leaf) ? subleaf : undefined)}`;
}

function textOf(words: readonly number[]): string {
  const codes = words.flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff));
  return String.fromCharCode(...codes.filter((code) => code !== 0));
}

/** EBX, ECX, EDX of a first leaf; of the processor's own EBX, EDX, ECX. */
function signatureOf([, ebx, ecx, edx]: CpuidWords, isBasic: boolean): string {
  return textOf(isBasic ? [ebx, edx, ecx] : [ebx, ecx, edx]);
}

/** The leaves of a block, by what its first one says is the highest. */
function leavesOf(source: CpuidSource, first: number): Leaf[] {
  const ask = (leaf: number, subleaf: number): CpuidWords => cpuid(source, 0, leaf, subleaf, 0);
  const [highest] = ask(first, 0);
  if (highest < first) return [];
  return Array.from({ length: Math.min(highest - first + 1, LEAVES_MAX) }, (_, at) => first + at).flatMap(
    (leaf): Leaf[] => {
      const subleaves = SUBLEAVES.get(leaf);
      if (subleaves === undefined) return [{ leaf, subleaf: undefined, words: ask(leaf, 0) }];
      return Array.from({ length: subleaves }, (_, subleaf) => ({ leaf, subleaf, words: ask(leaf, subleaf) }));
    },
  );
}

function item(name: string, value: string, leaf: Leaf, more: readonly AskedAs[] = []): ContractItem {
  return {
    ...{ name, value, isObservable: true },
    askedAs: [...more, { name: leafItem(leaf.leaf, leaf.subleaf ?? 0) }],
    advice: "a host whose kernel serves this can take the VM",
  };
}

/** A call is served because a bit says so: it shows more than having read the leaf. */
function callsOf(name: string): AskedAs[] {
  return hypervCallsOf(name).map((code) => ({
    ...{ name: hypervCallItem(code), did: `called 0x${code.toString(16)}` },
  }));
}

function registerItems(leaf: Leaf, register: CpuidRegister, word: number, kvmBase: number | undefined): ContractItem[] {
  const { word: name, bits = new Map<number, string>() } = namesOf(leaf.leaf, leaf.subleaf, register, kvmBase);
  const place = `CPUID ${leafKey(leaf.leaf, leaf.subleaf)}.${register}`;
  if (name !== undefined) return [item(`${place} ${name}`, hex(word), leaf, callsOf(place))];
  const items = [...bits].map(([bit, text]) => {
    const own = `${place}[${bit}]`;
    return item(`${own} ${text}`, String((word >>> bit) & 1), leaf, callsOf(own));
  });
  const rest = [...bits.keys()].reduce((left, bit) => left & ~(1 << bit), word) >>> 0;
  if (rest !== 0) items.push(item(bits.size === 0 ? place : `${place} other bits`, hex(rest), leaf));
  return items;
}

function hex(word: number): string {
  return `0x${word.toString(16)}`;
}

function leafItems(leaf: Leaf, kvmBase: number | undefined): ContractItem[] {
  const isFirst = [BASIC, HYPERVISOR, BESIDE_HYPERV].includes(leaf.leaf);
  const registers = isFirst ? CPUID_REGISTERS.slice(0, 1) : CPUID_REGISTERS;
  const texts = isFirst
    ? [item(`CPUID ${leafKey(leaf.leaf)} vendor`, signatureOf(leaf.words, leaf.leaf === BASIC), leaf)]
    : [];
  return [
    ...texts,
    ...registers.flatMap((register, at) => registerItems(leaf, register, leaf.words[at] ?? 0, kvmBase)),
  ];
}

function brandItem(leaves: readonly Leaf[]): ContractItem[] {
  const own = leaves.filter(({ leaf }) => BRAND.includes(leaf));
  const [first] = own;
  return first === undefined ? [] : [item("CPUID brand string", textOf(own.flatMap(({ words }) => [...words])), first)];
}

/** Of vCPU 0: the others differ from it by their numbers, or by events that stand in the configuration. */
export function cpuidItems(source: CpuidSource): ContractItem[] {
  const blocks = [BASIC, HYPERVISOR, BESIDE_HYPERV, EXTENDED].map((first) => leavesOf(source, first));
  const kvmBase = [HYPERVISOR, BESIDE_HYPERV].find(
    (base) => signatureOf(cpuid(source, 0, base, 0, 0), false) === KVM_SIGNATURE,
  );
  const leaves = blocks.flat();
  const plain = leaves.filter(({ leaf }) => !BRAND.includes(leaf));
  return [...plain.flatMap((leaf) => leafItems(leaf, kvmBase)), ...brandItem(leaves)];
}
