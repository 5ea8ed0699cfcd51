/** What a VM is made of: the header's `machine`, repeated as the payload of `VmCreated`. */
import type { Architecture, ExitModel } from "../ports/architecture.js";
import { type HostReference, hostText } from "../ports/host.js";
import type { EventPayload } from "../event/event-kind.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { plainValue, isPlainMap } from "../canonical/canonical-encoding.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";

/** Guest RAM and the engine's own tables share one 32-bit address space. */
export const MEMORY_BYTES_MAX = 3 * 1024 ** 3;
export const VCPU_COUNT_MAX = 64;

export interface MachineDescription {
  readonly architecture: string;
  /** "virt", "pc". */
  readonly board: string;
  readonly cpuModel: string;
  readonly vcpuCount: number;
  /** Guest-physical address of the first byte of RAM. */
  readonly memoryBase: number;
  readonly memoryBytes: number;
  readonly exitModel: { readonly name: string; readonly version: number; readonly reasons: readonly string[] };
  /** The simulated host that it was created on; absent: the architecture's default, as in recordings from before there were others. */
  readonly host?: HostReference;
  /** u64. */
  readonly seed: bigint;
  /** What only the board knows: kernel and drive fingerprints, command line, clock base. */
  readonly boardOptions: EventPayload;
}

/** A machine that this build can't make, or that nobody can. */
export class MachineDescriptionError extends Error {
  override readonly name = "MachineDescriptionError";
  readonly field: string;
  /** True: another build might. */
  readonly unsupported: boolean;
  constructor(field: string, reason: string, unsupported = false) {
    super(`can't create this machine: ${field}: ${reason}`);
    this.field = field;
    this.unsupported = unsupported;
  }
}

export function exitModelOf(model: ExitModel): MachineDescription["exitModel"] {
  return { name: model.name, version: model.version, reasons: model.reasons.map((reason) => reason.name) };
}

export function machinePayload(machine: MachineDescription): EventPayload {
  const plain = plainValue(machine, "machine");
  if (!isPlainMap(plain)) throw new MachineDescriptionError("machine", "not a map");
  return plain;
}

/** Throws PayloadError for a field that is missing or of another form. */
export function parseMachine(payload: EventPayload): MachineDescription {
  const fields = new PayloadFields("machine description", payload);
  const model = new PayloadFields("machine description: exitModel", fields.map("exitModel"));
  return {
    architecture: fields.string("architecture"),
    board: fields.string("board"),
    cpuModel: fields.string("cpuModel"),
    vcpuCount: fields.number("vcpuCount"),
    memoryBase: fields.number("memoryBase"),
    memoryBytes: fields.number("memoryBytes"),
    exitModel: {
      name: model.string("name"),
      version: model.number("version"),
      reasons: model.array("reasons").map(String),
    },
    ...(fields.has("host") ? { host: parseHost(fields.map("host")) } : {}),
    seed: fields.bigint("seed"),
    boardOptions: fields.map("boardOptions"),
  };
}

/** Throws PayloadError. */
export function parseHost(payload: EventPayload): HostReference {
  const fields = new PayloadFields("host", payload);
  return { name: fields.string("name"), version: fields.number("version") };
}

/** Throws MachineDescriptionError for a host that this build does not have. */
export function checkHost({ name, version }: HostReference, { contract }: Architecture): void {
  const hosts = contract?.hosts ?? [];
  if (hosts.some((each) => each.name === name && each.version === version)) return;
  const known = hosts.length === 0 ? "none" : hosts.map(hostText).join(", ");
  throw new MachineDescriptionError("host", `${hostText({ name, version })} is not one of ${known}`, true);
}

function checkMemory(machine: MachineDescription): void {
  const { memoryBytes, memoryBase } = machine;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes <= 0 || memoryBytes % PAGE_BYTES !== 0)
    throw new MachineDescriptionError("memoryBytes", `${memoryBytes} is no positive multiple of ${PAGE_BYTES}`);
  if (memoryBytes > MEMORY_BYTES_MAX)
    throw new MachineDescriptionError("memoryBytes", `${memoryBytes} is more than ${MEMORY_BYTES_MAX} (3 GiB)`);
  if (!Number.isSafeInteger(memoryBase) || memoryBase < 0 || memoryBase % PAGE_BYTES !== 0)
    throw new MachineDescriptionError("memoryBase", `${memoryBase} is no multiple of ${PAGE_BYTES}`);
}

/** Checks a description against an architecture and gives its exit model. Throws MachineDescriptionError. */
export function checkMachine(machine: MachineDescription, architecture: Architecture): ExitModel {
  if (machine.architecture !== architecture.name)
    throw new MachineDescriptionError("architecture", `${machine.architecture} wanted, ${architecture.name} given`);
  if (!architecture.cpuModels.includes(machine.cpuModel))
    throw new MachineDescriptionError(
      "cpuModel",
      `${machine.cpuModel} is not one of ${architecture.cpuModels.join(", ")}`,
      true,
    );
  if (!Number.isInteger(machine.vcpuCount) || machine.vcpuCount < 1 || machine.vcpuCount > VCPU_COUNT_MAX)
    throw new MachineDescriptionError("vcpuCount", `${machine.vcpuCount} is not in 1..${VCPU_COUNT_MAX}`);
  checkMemory(machine);
  if (machine.host !== undefined) checkHost(machine.host, architecture);
  const { name, version } = machine.exitModel;
  const model = architecture.exitModels.find((each) => each.name === name && each.version === version);
  if (model === undefined) {
    const known = architecture.exitModels.map((each) => `${each.name} version ${each.version}`).join(", ");
    throw new MachineDescriptionError("exitModel", `${name} version ${version} is not one of ${known}`, true);
  }
  return model;
}
