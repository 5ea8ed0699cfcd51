/** Handlers of a VM that forwards no call: they wait for what never comes, and people wonder why. */
import type { ContractItem, Machine } from "@hvjournal/core";
import { recordedHandlers } from "./recorded-handlers.js";

/** A range of the filter, or the policy that is the rule of all others. */
function forwards({ range }: ContractItem): boolean {
  return range?.effect.startsWith("forward") === true;
}

/** Of a VM whose configuration stands; undefined: a call may come, or this architecture has no filter. */
export function unaskedHandlers(machine: Machine): string | undefined {
  const { architecture, description } = machine;
  const names = recordedHandlers(description).map(({ name }) => name);
  const items = architecture.contract?.items(machine.plainControl()["architecture"] ?? null) ?? [];
  const hasFilter = items.some(({ range }) => range !== undefined);
  if (names.length === 0 || !hasFilter || items.some(forwards)) return undefined;
  return `--handler ${names.join(", ")} will never be asked: nothing is forwarded (--smccc-filter BASE+COUNT=forward, or --policy arm.smccc.default=forward-unhandled)`;
}
