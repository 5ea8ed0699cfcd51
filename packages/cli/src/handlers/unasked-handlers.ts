/** Handlers that wait for what never comes, and people wonder why: of a VM that forwards no call, or offers the guest none. */
import { type ContractItem, isPlainMap, type Machine, type PlainValue } from "@hvjournal/core";
import { recordedHandlers } from "./recorded-handlers.js";

/** What an arm64 VM forwards its calls by. */
function isOfCalls({ range }: ContractItem): boolean {
  return range?.group.startsWith("KVM_ARM_VM_SMCCC_FILTER") === true;
}

/** A range of the filter, or the policy that is the rule of all others. */
function forwards({ range }: ContractItem): boolean {
  return range?.effect.startsWith("forward") === true;
}

/** Whether the guest's CPUID may offer Hyper-V's interface, and with it extended hypercalls. */
function mayOfferHyperV(plainControl: PlainValue | undefined): boolean {
  if (!isPlainMap(plainControl)) return true;
  const { hyperv, cpuidEntries, cpuidWords } = plainControl;
  return [hyperv, cpuidEntries, cpuidWords].some((each) => each !== undefined);
}

/** Of a VM whose configuration stands; undefined: a call may come. */
export function unaskedHandlers(machine: Machine): string | undefined {
  const { architecture, description } = machine;
  const names = recordedHandlers(description).map(({ name }) => name);
  const control = machine.plainControl()["architecture"];
  if (architecture.name === "amd64") return unusedExtensions(names, control);
  const items = architecture.contract?.items(control ?? null, description) ?? [];
  const hasFilter = items.some(isOfCalls);
  if (names.length === 0 || !hasFilter || items.some(forwards)) return undefined;
  return `--handler ${names.join(", ")} will never be asked: nothing is forwarded (--smccc-filter BASE+COUNT=forward, or --policy arm.smccc.default=forward-unhandled)`;
}

/** Accesses that no device claims reach the handlers of every amd64 VM: only one that answers none of them can be without use. */
function unusedExtensions(names: readonly string[], plainControl: PlainValue | undefined): string | undefined {
  const builtin = names.find((name) => /^builtin:hv-ext(,|$)/.test(name));
  if (builtin === undefined || mayOfferHyperV(plainControl)) return undefined;
  return `--handler ${builtin} has nothing to answer: the guest is offered no extended hypercalls (--hv all, or --hv ext-calls)`;
}
