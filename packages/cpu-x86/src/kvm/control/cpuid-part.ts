/**
 * CPUID as configuration. Commands: {name: "cpuid2", vcpu, entries}, KVM_SET_CPUID2 of one vCPU, whose guest is told that and
 * nothing else; {name: "cpuid", leaf, subleaf, word, value}, one word of what all vCPUs without it are told. Both are refused
 * with EINVAL once a vCPU has run, unless nothing changes (kvm_set_cpuid).
 */
import { type ControlCommand, type Errno, type EventKind, isPlainMap, PayloadFields } from "@hvjournal/core";
import { CPUID_WORDS, type CpuidEntry, type CpuidWord, readEntry } from "../cpuid-entry.js";
import { cpuidEntries, isIndexed } from "../cpuid.js";
import { refusedWord, wordOf } from "../cpuid-words.js";
import { decided, type ControlPart, NUMBER, refuse } from "./control-part.js";
import type { Amd64ControlState } from "./control-state.js";

const CALL = "KVM_SET_CPUID2";
/** KVM_MAX_CPUID_ENTRIES. */
const ENTRIES_MAX = 256;
const ADDRESS_SIZES = 0x8000_0008;
/** Linear address widths that a vCPU may be told of; 0: it is not. */
const LINEAR_WIDTHS: ReadonlySet<number> = new Set([0, 48, 57]);
const FROZEN = "a vCPU has run; its CPUID can't change";

const cpuidSet: EventKind = { name: "x86.CpuidSet", version: 1, role: "vmm output", fields: ["entries"] };
const wordSet: EventKind = {
  name: "x86.CpuidWordSet",
  version: 1,
  role: "vmm output",
  fields: ["leaf", "subleaf", "word", "old", "new"],
};

function entriesIn(fields: PayloadFields): CpuidEntry[] {
  return fields
    .array("entries")
    .map((entry, index) => readEntry(new PayloadFields(`entries[${index}]`, isPlainMap(entry) ? entry : {})));
}

function sameEntries(left: readonly CpuidEntry[], right: readonly CpuidEntry[]): boolean {
  const text = (entries: readonly CpuidEntry[]): string =>
    entries
      .map((each) => [each.function, each.index, each.flags, ...CPUID_WORDS.map((word) => each[word])].join())
      .join(";");
  return text(left) === text(right);
}

/** KVM's own rules, the first that is broken. */
function brokenRule(entries: readonly CpuidEntry[]): { readonly errno: Errno; readonly reason: string } | undefined {
  if (entries.length > ENTRIES_MAX)
    return { errno: "E2BIG", reason: `${entries.length} entries: there may be ${ENTRIES_MAX}` };
  const sizes = entries.find((each) => each.function === ADDRESS_SIZES);
  const width = ((sizes?.eax ?? 0) >>> 8) & 0xff;
  return LINEAR_WIDTHS.has(width)
    ? undefined
    : { errno: "EINVAL", reason: `leaf 0x80000008 tells of linear addresses with ${width} bits: 48 or 57` };
}

/** "0x7.0:EBX=0x281": a word of a leaf, by its name. */
function parseWord(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}(?:\\.${NUMBER})?:(\\w+)=${NUMBER}$`).exec(text);
  if (match === null) return "expected LEAF:REG=VALUE or LEAF.SUBLEAF:REG=VALUE, such as 0x7.0:EBX=0x281";
  const [, leafText = "", subleafText, register = "", valueText = ""] = match;
  const word = CPUID_WORDS.find((each) => each === register.toLowerCase());
  if (word === undefined) return `'${register}' is none of EAX, EBX, ECX, EDX`;
  const [leaf, value] = [Number(leafText), Number(valueText)];
  if (leaf > 0xffff_ffff) return `'${leafText}' has more than 32 bits`;
  if (value > 0xffff_ffff) return `'${valueText}' has more than 32 bits`;
  if (subleafText !== undefined && !isIndexed(leaf)) return `leaf 0x${leaf.toString(16)} has no subleaves`;
  return { name: "cpuid", leaf, subleaf: Number(subleafText ?? 0), word, value };
}

function wordNamed(name: string): CpuidWord | undefined {
  return CPUID_WORDS.find((word) => word === name);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function describeWord(fields: PayloadFields): string {
  const [leaf, subleaf] = [fields.number("leaf"), fields.number("subleaf")];
  const place = isIndexed(leaf) ? `${hex(leaf)}.${subleaf}` : hex(leaf);
  return `${place}.${fields.string("word").toUpperCase()}  ${hex(fields.number("old"))} -> ${hex(fields.number("new"))}`;
}

/** A list of leaves, and a word of one, can't both be what a vCPU tells. */
function hasOwnEntries({ cpuidEntries: own = [] }: Amd64ControlState): number | undefined {
  return own[0]?.vcpu;
}

export const cpuidPart: ControlPart = {
  decide: {
    cpuid2(state, fields, { hasRun, vcpuCount }) {
      const vcpu = fields.number("vcpu");
      if (vcpu >= vcpuCount) return refuse("EINVAL", CALL, `vcpu${vcpu} of ${vcpuCount}`);
      const entries = entriesIn(fields);
      const broken = brokenRule(entries);
      if (broken !== undefined) return refuse(broken.errno, CALL, broken.reason);
      if (hasRun) {
        const told = (control: Amd64ControlState): readonly CpuidEntry[] => cpuidEntries({ control, vcpuCount }, vcpu);
        const isSame = sameEntries(told({ ...state, cpuidEntries: [{ vcpu, entries }] }), told(state));
        return isSame ? { events: [] } : refuse("EINVAL", CALL, FROZEN);
      }
      return decided(cpuidSet, { entries: entries.map((entry) => ({ ...entry })) }, vcpu);
    },
    cpuid(state, fields, { hasRun, vcpuCount }) {
      const [leaf, subleaf, value] = [fields.number("leaf"), fields.number("subleaf"), fields.number("value")];
      const word = wordNamed(fields.string("word"));
      if (word === undefined) return refuse("EINVAL", CALL, `${fields.string("word")} is none of eax, ebx, ecx, edx`);
      const own = hasOwnEntries(state);
      if (own !== undefined) return refuse("EINVAL", CALL, `vcpu${own} has leaves of its own, by KVM_SET_CPUID2`);
      const place = { leaf, subleaf, word };
      const refused = refusedWord(vcpuCount, { ...place, value });
      if (refused !== undefined) return refuse("EINVAL", CALL, refused);
      const old = wordOf({ control: state, vcpuCount }, place);
      if (hasRun && old !== value) return refuse("EINVAL", CALL, FROZEN);
      return decided(wordSet, { ...place, old, new: value });
    },
  },
  events: [
    {
      kind: cpuidSet,
      evolve: (state, fields, { vcpu }) => {
        const others = (state.cpuidEntries ?? []).filter((each) => each.vcpu !== vcpu);
        return { ...state, cpuidEntries: [...others, { vcpu, entries: entriesIn(fields) }] };
      },
      describe: (fields, { vcpu }) => `vcpu${vcpu}  ${fields.array("entries").length} entries`,
    },
    {
      kind: wordSet,
      evolve: (state, fields) => {
        const word = wordNamed(fields.string("word"));
        if (word === undefined) throw new RangeError(`${fields.string("word")} is no word of CPUID`);
        const [leaf, subleaf] = [fields.number("leaf"), fields.number("subleaf")];
        const others = (state.cpuidWords ?? []).filter(
          (each) => each.leaf !== leaf || each.subleaf !== subleaf || each.word !== word,
        );
        return { ...state, cpuidWords: [...others, { leaf, subleaf, word, value: fields.number("new") }] };
      },
      describe: describeWord,
    },
  ],
  parse: { cpuid: parseWord },
};
