/** What a guest may observe of its host, item by item: what two ends of a move must have in common. */
import type { Architecture, KernelHalf } from "../ports/architecture.js";
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { toHex } from "../memory/page-hash.js";
import type { MachineDescription } from "../machine/machine-description.js";

export interface ContractItem {
  /** "cpu model", "firmware.KVM_REG_ARM_PSCI_VERSION", "register id_aa64mmfr0_el1". */
  readonly name: string;
  readonly value: string;
}

export interface ContractDifference {
  readonly name: string;
  /** undefined: that side does not have it. */
  readonly source: string | undefined;
  readonly destination: string | undefined;
}

export interface ContractComparison {
  readonly equal: number;
  readonly differences: readonly ContractDifference[];
}

function valueText(value: PlainValue): string {
  if (value instanceof Uint8Array) return toHex(value);
  return typeof value === "bigint" ? `0x${value.toString(16)}` : String(value);
}

/** Leaves of plain data by their path. */
function flatten(place: string, value: PlainValue, into: ContractItem[]): void {
  if (Array.isArray(value)) {
    into.push({ name: `${place} count`, value: String(value.length) });
    value.forEach((item: PlainValue, index) => flatten(`${place}[${index}]`, item, into));
  } else if (isPlainMap(value))
    for (const key of Object.keys(value).sort()) flatten(`${place}.${key}`, value[key] ?? null, into);
  else into.push({ name: place, value: valueText(value) });
}

export interface ContractSubject {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  /** The control plane's state, as a snapshot keeps it. */
  readonly control: EventPayload;
  /** Of this machine; registers that nothing can change are read from it. */
  readonly kernel: KernelHalf;
  readonly formatVersion: number;
}

export function contractOf(subject: ContractSubject): ContractItem[] {
  const { architecture, machine, control, kernel } = subject;
  const { exitModel } = machine;
  const items: ContractItem[] = [
    { name: "recording format", value: String(subject.formatVersion) },
    { name: "architecture", value: architecture.name },
    { name: "architecture revision", value: String(architecture.revision) },
    { name: "board", value: machine.board },
    { name: "cpu model", value: machine.cpuModel },
    { name: "vCPUs", value: String(machine.vcpuCount) },
    { name: "memory", value: `${machine.memoryBytes} bytes at 0x${machine.memoryBase.toString(16)}` },
    { name: "exit model", value: `${exitModel.name} version ${exitModel.version}` },
  ];
  const reasons = architecture.exitModels.find(
    ({ name, version }) => name === exitModel.name && version === exitModel.version,
  )?.reasons;
  reasons?.forEach(({ name, code, pc }, index) =>
    items.push({ name: `exit reason ${index}`, value: `${name} 0x${code.toString(16)}, pc ${pc}` }),
  );
  flatten("config", control["architecture"] ?? null, items);
  for (const { name, isConstant } of kernel.registers)
    if (isConstant === true) items.push({ name: `register ${name}`, value: valueText(kernel.readRegister(0, name)) });
  return items;
}

export function compareContracts(
  source: readonly ContractItem[],
  destination: readonly ContractItem[],
): ContractComparison {
  const here = new Map(destination.map(({ name, value }) => [name, value]));
  const differences: ContractDifference[] = [];
  let equal = 0;
  for (const { name, value } of source) {
    const other = here.get(name);
    here.delete(name);
    if (other === value) equal += 1;
    else differences.push({ name, source: value, destination: other });
  }
  for (const [name, value] of here) differences.push({ name, source: undefined, destination: value });
  return { equal, differences };
}
