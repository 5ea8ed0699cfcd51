/** Handlers of a VM that forwards no call: they wait for what never comes, and people wonder why. */
import type { ContractItem, Machine } from "@hvjournal/core";
import { recordedHandlers } from "./recorded-handlers.js";

/** What an arm64 VM forwards its calls by. */
function isOfCalls({ range }: ContractItem): boolean {
  return range?.group.startsWith("KVM_ARM_VM_SMCCC_FILTER") === true;
}

/** A range of the filter, or the policy that is the rule of all others. */
function forwards({ range }: ContractItem): boolean {
  return range?.effect.startsWith("forward") === true;
}

/** Of a VM whose configuration stands; undefined: a call may come, or this architecture has no filter. */
export function unaskedHandlers(machine: Machine): string | undefined {
  const { architecture, description } = machine;
  const names = recordedHandlers(description).map(({ name }) => name);
  const items = architecture.contract?.items(machine.plainControl()["architecture"] ?? null, description) ?? [];
  const hasFilter = items.some(isOfCalls);
  if (names.length === 0 || !hasFilter || items.some(forwards)) return undefined;
  return `--handler ${names.join(", ")} will never be asked: nothing is forwarded (--smccc-filter BASE+COUNT=forward, or --policy arm.smccc.default=forward-unhandled)`;
}
