/** What a guest may observe of its host, item by item: what two ends of a move must have in common. */
import type { Architecture, KernelHalf } from "../ports/architecture.js";
import type { ContractItem, Observation } from "../ports/contract.js";
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { toHex } from "../memory/page-hash.js";
import type { MachineDescription } from "../machine/machine-description.js";
import type { BoardDevice } from "../ports/vmm-half.js";
import { askedNumbers, deviceItem, HANDLER_ITEM, type Observations } from "./observations.js";

export interface ContractSubject {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  /** The control plane's state, as a snapshot keeps it. */
  readonly control: EventPayload;
  /** Of this machine; registers that nothing can change are read from it. */
  readonly kernel: KernelHalf;
  readonly formatVersion: number;
  readonly devices?: readonly BoardDevice[] | undefined;
  readonly observations?: Observations | undefined;
}

function valueText(value: PlainValue): string {
  if (value instanceof Uint8Array) return toHex(value);
  return typeof value === "bigint" ? `0x${value.toString(16)}` : String(value);
}

function plain(name: string, value: string): ContractItem {
  return { name, value, isObservable: false };
}

/** Leaves of plain data by their path. */
export function flatItems(place: string, value: PlainValue): ContractItem[] {
  if (Array.isArray(value))
    return [
      plain(`${place} count`, String(value.length)),
      ...value.flatMap((item: PlainValue, index) => flatItems(`${place}[${index}]`, item)),
    ];
  if (isPlainMap(value))
    return Object.keys(value)
      .sort()
      .flatMap((key) => flatItems(`${place}.${key}`, value[key] ?? null));
  return [plain(place, valueText(value))];
}

function machineItems({ architecture, machine, formatVersion }: ContractSubject): ContractItem[] {
  const { exitModel } = machine;
  const reasons = architecture.exitModels.find(
    ({ name, version }) => name === exitModel.name && version === exitModel.version,
  )?.reasons;
  return [
    plain("recording format", String(formatVersion)),
    plain("architecture", architecture.name),
    plain("architecture revision", String(architecture.revision)),
    plain("board", machine.board),
    plain("cpu model", machine.cpuModel),
    plain("vCPUs", String(machine.vcpuCount)),
    plain("memory", `${machine.memoryBytes} bytes at 0x${machine.memoryBase.toString(16)}`),
    // A VM takes its model along, or is refused by who does not know it.
    { ...plain("exit model", `${exitModel.name} version ${exitModel.version}`), rule: "hidden" },
    ...(reasons ?? []).map(({ name, code, pc }) => exitReasonItem(name, `0x${code.toString(16)}, pc ${pc}`)),
  ];
}

/** What an exit is called is between the two halves. */
function exitReasonItem(name: string, value: string): ContractItem {
  return { ...plain(`exit reason ${name}`, value), rule: "hidden" };
}

function controlItems({
  architecture,
  control,
  machine,
  kernel,
  observations,
}: ContractSubject): readonly ContractItem[] {
  const state = control["architecture"] ?? null;
  const { contract } = architecture;
  if (contract === undefined) return flatItems("config", state);
  const features = contract.featureItems?.(kernel) ?? [];
  return [
    ...contract.items(state, machine),
    ...features,
    ...(contract.runningItems?.(kernel, observations ?? new Map()) ?? []),
  ];
}

function registerItems({ architecture, kernel }: ContractSubject): ContractItem[] {
  return kernel.registers
    .filter(({ isConstant }) => isConstant === true)
    .map(({ name }) => {
      const value = kernel.readRegister(0, name);
      return architecture.contract?.registerItem(name, value) ?? plain(`register ${name}`, valueText(value));
    });
}

function deviceItems(devices: readonly BoardDevice[]): ContractItem[] {
  return devices.map(({ name, base, bytes }) => ({
    name: deviceItem(name),
    value: `0x${base.toString(16)}+0x${bytes.toString(16)}`,
    isObservable: true,
  }));
}

/** Who answers forwarded calls: files by what is in them, not by where they lie. */
function handlerItem({ boardOptions }: MachineDescription, { contract }: Architecture): ContractItem {
  const { handlers } = boardOptions;
  const texts = (Array.isArray(handlers) ? handlers : []).map((each: PlainValue) => {
    if (!isPlainMap(each)) return valueText(each);
    const { name, sha256 } = each;
    const isFile = typeof sha256 === "string" || sha256 instanceof Uint8Array;
    return isFile ? `${fileName(String(name))} sha256:${valueText(sha256)}` : String(name);
  });
  const value =
    texts.length === 0
      ? `none: ${contract?.unansweredCall ?? "the guest is told that there is none"}`
      : texts.join(", ");
  return {
    name: HANDLER_ITEM,
    value,
    isObservable: true,
    rule: "at least",
    level: texts.length === 0 ? 0 : 1,
    enough: "from there on another one answers, as the operator says",
    advice: "start the destination with the source's --handler: receive --handler FILE, or migrate --handler FILE",
  };
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function observationOf({ name, askedAs }: ContractItem, observations: Observations): Observation | undefined {
  if (askedAs === undefined) return observations.get(name);
  const known = askedAs.find((each) => observations.has(each.name));
  const observation = known && observations.get(known.name);
  return observation === undefined || known?.did === undefined ? observation : { ...observation, did: known.did };
}

function observedItem(item: ContractItem, observations: Observations): ContractItem {
  const observed = observationOf(item, observations);
  const asked = item.range?.isRest === true ? askedNumbers(observations, item.range.group) : [];
  return { ...item, ...(observed === undefined ? {} : { observed }), ...(asked.length === 0 ? {} : { asked }) };
}

export function contractOf(subject: ContractSubject): ContractItem[] {
  const { machine, devices = [], observations, architecture } = subject;
  const items = [
    ...machineItems(subject),
    ...controlItems(subject),
    handlerItem(machine, architecture),
    ...deviceItems(devices),
    ...registerItems(subject),
  ];
  return observations === undefined ? items : items.map((item) => observedItem(item, observations));
}
