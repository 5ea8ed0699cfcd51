/** Contracts of two VMs that exist, by the judgement of a move: what `migrate --explain` says of a difference is said of it here too. */
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import type { ContractItem } from "../ports/contract.js";
import type { EventPayload } from "../event/event-kind.js";
import type { MachineDescription } from "../machine/machine-description.js";
import { compareContracts, type ContractComparison } from "./compare-contracts.js";
import { judgeConfiguration } from "./judge-configuration.js";

export interface ContractedVm {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  /** The control plane's state, plain. */
  readonly control: EventPayload;
  readonly items: readonly ContractItem[];
}

/** As if `source` had moved to the host of `destination`, and had become what stands there. */
export function compareAsMove(source: ContractedVm, destination: ContractedVm): ContractComparison {
  return compareContracts(source.items, destinationItems(source, destination));
}

function hostOf({ architecture, control, machine }: ContractedVm): HostReference | undefined {
  return architecture.contract?.hostOf(control["architecture"] ?? null, machine);
}

function destinationItems(source: ContractedVm, destination: ContractedVm): readonly ContractItem[] {
  const { architecture, machine, control } = source;
  const { items } = destination;
  const [from, to] = [hostOf(source), hostOf(destination)];
  const isOtherHost = from?.name !== to?.name || from?.version !== to?.version;
  if (architecture.name !== destination.architecture.name || !isOtherHost) return items;
  const told = judgeConfiguration({ architecture, machine, control, host: to }).remark(items, source.items);
  const own = new Map(items.map(({ name, value }) => [name, value]));
  // What a move would make anew is told where it is what stands there; nothing comes along that is not there.
  return told.filter(({ name, value }, index) => index < items.length || value === (own.get(name) ?? "absent"));
}
