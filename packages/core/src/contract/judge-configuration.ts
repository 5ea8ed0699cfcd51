/** Whether a host can give a VM the configuration that it has: set up anew there, and compared with what it has. */
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import type { ContractItem } from "../ports/contract.js";
import type { EventPayload } from "../event/event-kind.js";
import type { MachineDescription } from "../machine/machine-description.js";
import { blockingReasons, compareContracts } from "./compare-contracts.js";
import { setUpControl, type SetUpResult, withRemarks } from "./set-up.js";

export interface ConfigurationSubject {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  /** As it is at the source, plain. */
  readonly control: EventPayload;
  /** undefined: one like the source's. */
  readonly host: HostReference | undefined;
}

export interface JudgedConfiguration {
  readonly made: SetUpResult;
  /** Adds to items of the destination how they come about. */
  remark(items: readonly ContractItem[], source: readonly ContractItem[]): readonly ContractItem[];
}

export function judgeConfiguration({
  architecture,
  machine,
  control,
  host,
}: ConfigurationSubject): JudgedConfiguration {
  const { contract } = architecture;
  const sourceHost = contract?.hostOf(control["architecture"] ?? null, machine) ?? { name: "any", version: 1 };
  const here = host ?? sourceHost;
  const made = setUpControl({ architecture, machine, control, host: here });
  return {
    made,
    remark(items, source) {
      const told = withRemarks(
        items,
        { items: source, host: sourceHost },
        { architecture, machine, host: here, ...made },
      );
      const ends = { source, sourceHost, host: here, control: made.control["architecture"] ?? null, machine };
      return contract?.arrive?.({ items: told, ...ends }) ?? told;
    },
  };
}

/** Why a configuration can't be had there, with values; none: it can. */
export function refusalsOfConfiguration(subject: ConfigurationSubject): string[] {
  const { architecture, control, machine } = subject;
  const { made, remark } = judgeConfiguration(subject);
  const source = architecture.contract?.items(control["architecture"] ?? null, machine) ?? [];
  const here = remark(architecture.contract?.items(made.control["architecture"] ?? null, machine) ?? [], source);
  const reasons = blockingReasons(compareContracts(source, here));
  return reasons.length > 0 ? reasons : [...made.differences];
}
