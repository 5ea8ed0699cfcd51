/** What becomes of a VM's contract on another host: calls of the other vendor, exits by other names, CPUID that nobody serves. */
import { type Arrival, type ContractItem, HANDLER_ITEM } from "@hvjournal/core";
import type { Amd64ControlState } from "../control/control-state.js";
import { answerOf } from "../control/passthrough-part.js";
import { CPUID_WORDS, type CpuidEntry, type CpuidWord } from "../cpuid-entry.js";
import { hasReasonsOf } from "../exit-model.js";
import { type HostModel, hostModelOf } from "../host-model.js";
import { patchesCalls } from "../hypercall-patching.js";
import { CALL_OF } from "./contract-items.js";
import { type CpuidRegister, leafKey, namesOf } from "./cpuid-names.js";
import { CALL_INSTRUCTION_ITEM, EXITS_ITEM, isCallPageItem, isPatchedItem, PASSTHROUGH_ITEM } from "./item-names.js";

const EXTENDED_CALLS = "CPUID 0x40000003.EBX[20] ";
const HASH = "its attested hash changes";
const WITHOUT_PATCHES =
  "calls are not written over there (policy x86.hypercall.patch, KVM_X86_QUIRK_FIX_HYPERCALL_INSN)";

type Remark = NonNullable<ContractItem["remark"]>;

function fix(text: string): Remark {
  return { verdict: "fix", text };
}

/** Who comes, with what its guest has asked for, and to which host. */
interface Journey {
  readonly here: HostModel;
  readonly isOtherVendor: boolean;
  readonly patches: boolean;
  readonly source: ReadonlyMap<string, ContractItem>;
  readonly canLeave: boolean;
  /** With hv-passthrough: what this host answers otherwise. */
  readonly otherAnswers: readonly string[];
}

function journeyOf({ source, sourceHost, host, control, machine }: Arrival): Journey {
  const here = hostModelOf(host);
  return {
    here,
    isOtherVendor: hostModelOf(sourceHost).vendor !== here.vendor,
    patches: patchesCalls(control as Amd64ControlState),
    source: new Map(source.map((item) => [item.name, item])),
    canLeave: hasReasonsOf(machine.exitModel, here.vendor),
    otherAnswers: otherAnswers(control as Amd64ControlState, here),
  };
}

/** Words of KVM_GET_SUPPORTED_HV_CPUID that are not what the vCPUs of a VM with hv-passthrough are told. */
function otherAnswers(control: Amd64ControlState, here: HostModel): string[] {
  if (control.hypervPassthrough !== true) return [];
  const different = (control.cpuidEntries ?? []).flatMap(({ vcpu, entries }) =>
    answerOf(control, vcpu, here).flatMap((answer) => {
      const told = entries.find((each) => each.function === answer.function);
      return CPUID_WORDS.flatMap((word) => differenceOf(answer, told, word));
    }),
  );
  return [...new Set(different)];
}

function differenceOf(answer: CpuidEntry, told: CpuidEntry | undefined, word: CpuidWord): string[] {
  const bits = ((told?.[word] ?? 0) ^ answer[word]) >>> 0;
  if (bits === 0) return [];
  const register = word.toUpperCase() as CpuidRegister;
  const { bits: names = new Map<number, string>() } = namesOf(answer.function, undefined, register, undefined);
  const place = `${leafKey(answer.function)}.${register}`;
  const named = [...names].filter(([bit]) => ((bits >>> bit) & 1) === 1);
  if (named.length === 0) return [`${place} 0x${answer[word].toString(16)}`];
  return named.map(([bit, name]) => `${place}[${bit}] ${name} ${(answer[word] >>> bit) & 1}`);
}

function otherwise({ here, otherAnswers: answers }: Journey): Partial<ContractItem> {
  const text = `host ${here.name} answers otherwise: ${answers.join(", ")}`;
  return { value: "answers otherwise", remark: { verdict: "block", text } };
}

/** Of the guest's own calls in its text; `observed`: it has made some. */
function callRemark({ patches, source }: Journey, own: string): Remark {
  if (patches)
    return fix(
      "written over with the host's own when it is next executed: an event, and its page's attested hash changes",
    );
  const isCalled = source.get(CALL_INSTRUCTION_ITEM)?.observed !== undefined;
  const hasPage = [...source.keys()].some(isCallPageItem);
  const text = `${WITHOUT_PATCHES}: ${own} raises #UD`;
  // Calls through the page go on: it is made anew.
  return {
    verdict: isCalled && !hasPage ? "block" : "warn",
    text: hasPage ? `${text} outside the page of calls` : text,
  };
}

function exitsRemark({ canLeave, here }: Journey): Remark {
  if (canLeave) return { verdict: "warn", text: "exits from there on have its names; those before keep theirs" };
  return { verdict: "block", text: `the recording's exit model has no names for exits of ${here.vendor}'s` };
}

/** What a guest has that this host's kernel serves nobody: it breaks a guest that knows of it. */
function lackedRemark(name: string, { here, source }: Journey): Remark | undefined {
  if (!here.lackedCpuid.some((each) => name.startsWith(`${each} `)) || source.get(name)?.value === "0")
    return undefined;
  const isKnown = source.get(name)?.observed !== undefined;
  return { verdict: isKnown ? "block" : "warn", text: `the kernel of host ${here.name} does not serve it` };
}

/** What is said of an item here, and its value where that is not what the guest is told. */
function saidOf(item: ContractItem, journey: Journey, hasHandler: boolean): Partial<ContractItem> {
  const { name } = item;
  const { isOtherVendor, source } = journey;
  if (name === CALL_INSTRUCTION_ITEM && isOtherVendor)
    return { remark: callRemark(journey, source.get(name)?.value ?? "it") };
  if (name === EXITS_ITEM && isOtherVendor) return { remark: exitsRemark(journey) };
  if (name.startsWith(EXTENDED_CALLS) && !hasHandler && source.get(name)?.value === "1")
    return { value: "has no handler", remark: { verdict: "block", text: "its kernel only forwards them" } };
  if (name === PASSTHROUGH_ITEM && journey.otherAnswers.length > 0) return otherwise(journey);
  const remark = lackedRemark(name, journey);
  return remark === undefined ? {} : { value: "offers 0", remark };
}

/** The source's item, as it is here once the guest has come. */
function travelled(item: ContractItem, { isOtherVendor, here, patches }: Journey): ContractItem {
  const value = `holds ${CALL_OF[here.vendor]}`;
  if (!isOtherVendor || item.value === value) return item;
  if (isCallPageItem(item.name))
    return { ...item, value, remark: fix(`rewritten when MSR 0x40000001 is restored; ${HASH}`) };
  if (patches) return { ...item, value, remark: fix(`written over again when it is next executed; ${HASH}`) };
  return { ...item, remark: { verdict: "block", text: `${WITHOUT_PATCHES}: it raises #UD` } };
}

/** Whether a handler answered at the source that none does here. */
function losesHandler({ items, source }: Arrival): boolean {
  const levelIn = (all: readonly ContractItem[]): number => all.find(({ name }) => name === HANDLER_ITEM)?.level ?? 0;
  return levelIn(source) > levelIn(items);
}

export function arrive(arrival: Arrival): ContractItem[] {
  const journey = journeyOf(arrival);
  const hasHandler = !losesHandler(arrival);
  const told = arrival.items.map((item) =>
    item.remark === undefined ? { ...item, ...saidOf(item, journey, hasHandler) } : item,
  );
  const came = arrival.source.filter(({ name }) => isCallPageItem(name) || isPatchedItem(name));
  return [...told, ...came.map((item) => travelled(item, journey))];
}
