/** From the options of `record` to a machine description, its board, and the commands before the first instruction. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  type Architecture,
  type BlockBackend,
  type ControlCommand,
  type EventPayload,
  type ExitModel,
  exitModelOf,
  type HostReference,
  isPlainMap,
  type MachineDescription,
  type PlainValue,
  SeededEntropy,
  type VmmParts,
  shellCommand,
} from "@hvjournal/core";
import {
  isArm64Image,
  type KernelFile,
  kernelText,
  loadKernel,
  VIRT_ADDRESS_MAP,
  VIRTIO_BUSES,
  type VirtioBus,
} from "@hvjournal/vmm";
import { architectureNamed } from "../architectures.js";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, listOption, stringOption, textOption } from "../commands/command.js";
import { HANDLER_OPTION, handlersPayload, type LoadedHandler, loadHandlers } from "../handlers/handler-option.js";
import { nodeDigester } from "../host/node-digester.js";
import { type DriveFile, openDriveFile, reason } from "../host/drive-file.js";
import { parseSize, parseU64 } from "../sizes.js";
import { boardNamed, boardOf } from "./boards.js";
import { hostNamed, hostOption } from "./host-option.js";
import { locateKallsyms } from "../symbols/kallsyms.js";
import { ARCHITECTURE_WORDS } from "./machine-keys.js";

const DEFAULT_MEMORY = "256M";
const MEMORY_BYTES_MIN = 64 * 2 ** 10;
/** Guest RAM and the engine's tables share an address space of 32 bits. */
const MEMORY_BYTES_MAX = 3 * 2 ** 30;
const SEED_BYTES = 4;
const MACHINE_ARM64_ELF = 183;
const MACHINE_AMD64_ELF = 62;

/** What a new machine is made of; a recorded one is what it is. */
export const MACHINE_OPTIONS = {
  arch: textOption("arm64 or amd64; default: what the kernel image says"),
  machine: { ...textOption("board: virt for arm64, pc for amd64"), alias: "M" },
  cpu: textOption("CPU model"),
  smp: textOption("vCPUs (1)"),
  memory: { ...textOption("RAM (256M)"), alias: "m" },
  kernel: textOption("kernel image, as the word KERNEL"),
  flat: textOption("OFFSET: the kernel is plain code, placed so far from the start of RAM and entered there"),
  initrd: textOption("initial RAM disk"),
  append: textOption("kernel command line"),
  host: textOption(
    "simulated host: arm64 has unaffected (default), mitigated, vulnerable, linux-6.4, linux-6.1, linux-5.15; amd64 has intel (default), amd, intel-no-nested, intel-no-smt, intel-linux-5.10, amd-linux-5.10",
  ),
  "host-vendor": textOption("intel or amd: the CPUs of an amd64 VM's simulated host, and its exit model (intel)"),
  "exit-model": textOption("which guest actions leave guest mode: kvm-arm64; kvm-intel (default on amd64), kvm-amd"),
  cap: textOption("KVM capability to enable: NAME[=ARG,...]; repeatable"),
  "smccc-filter": textOption(
    "BASE+COUNT=handle|deny|forward; repeatable. A forwarded call is answered by --handler, else x0 = -1",
  ),
  handler: HANDLER_OPTION,
  vmport: textOption("on: board pc has VMware's backdoor at port 0x5658 (off)"),
  "virtio-bus": textOption("mmio or pci: where a guest finds its virtio devices; board pc has a PCI bus for it (mmio)"),
  "firmware-reg": textOption("firmware pseudo-register, or ID register: NAME=VALUE; repeatable"),
  policy: textOption("what upstream KVM does not have: NAME=VALUE (hvjournal help policies); repeatable"),
  hv: textOption("Hyper-V enlightenments that an amd64 guest is offered: vpindex,time,... or all"),
  cpuid: textOption("LEAF[.SUBLEAF]:EAX|EBX|ECX|EDX=VALUE: what an amd64 guest is told instead; repeatable"),
  "msr-filter": textOption("BASE+COUNT=rw|r|w|-: what an amd64 guest may do with MSRs; repeatable, the last one holds"),
  xen: textOption(
    "MSR: an amd64 guest's write of it gives it Xen's page of calls, and its calls leave with KVM_EXIT_XEN",
  ),
  ioeventfd: textOption(
    "mmio|pio:ADDR[+BYTES][=DATA],fd=N: such a write signals an eventfd and does not leave to the VMM; fd from 3 on; repeatable",
  ),
  "hv-eventfd": textOption("CONNECTION,fd=N: so does HvCallSignalEvent of an amd64 guest; repeatable"),
  "pvtime-ipa": textOption("VCPU=ADDRESS: where a vCPU's stolen time is told to the guest; repeatable"),
  seed: textOption("entropy for the guest and the vCPU schedule; random, printed. A run is the same with --rtc only"),
  rtc: textOption("base=now|DATE: guest wall clock at start; now, printed, and so another in each run"),
} as const;

/** The KVM surface, in the order in which a VMM sets it up, with the word by which the control plane knows each. */
export const CONTROL_OPTIONS = [
  ["cap", "cap"],
  ["smccc-filter", "smccc-filter"],
  ["firmware-reg", "one-reg"],
  ["policy", "policy"],
  ["hv", "hv"],
  ["cpuid", "cpuid"],
  ["msr-filter", "msr-filter"],
  ["xen", "xen"],
  ["pvtime-ipa", "pvtime-ipa"],
  ["ioeventfd", "ioeventfd"],
  ["hv-eventfd", "hv-eventfd"],
] as const;

export interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface NewMachine {
  readonly architecture: Architecture;
  readonly description: MachineDescription;
  readonly vmm: VmmParts;
  readonly commands: readonly ControlCommand[];
  readonly drives: readonly DriveFile[];
}

/** Everything that `record` needs before it makes a file. Throws for files that are not there and options that make no sense. */
export function newMachine(args: Arguments): NewMachine {
  const kernelPath = kernelOption(args);
  if (kernelPath === undefined)
    throw new UsageError("record needs a kernel, or a machine file that names one", "hvjournal record --help");
  const kernel = readNamed("kernel", kernelPath);
  const initrdPath = stringOption(args, "initrd");
  const initrd = initrdPath === undefined ? undefined : readNamed("initrd", initrdPath);
  const architecture = architectureNamed(archOption(args) ?? architectureOfKernel(kernel));
  const handlers = loadHandlers(listOption(args, "handler"), args);
  const drives = openDrives(listOption(args, "drive"));
  const description = describeMachine(args, architecture, { kernel, initrd, drives, handlers });
  const board = boardFor(description, { kernel, initrd, drives, handlers });
  return { architecture, description, vmm: board, commands: controlCommands(args, architecture), drives };
}

/** The kernel may be named by its option, or by a word of its own. Throws UsageError when it is named twice. */
export function kernelOption(args: Arguments): string | undefined {
  const [option, word] = [stringOption(args, "kernel"), stringOption(args, "image")];
  if (option !== undefined && word !== undefined)
    throw new UsageError(`two kernels are given: ${word} and --kernel ${option}`);
  return option ?? word;
}

export interface BoardFiles {
  readonly kernel?: NamedFile | undefined;
  readonly initrd?: NamedFile | undefined;
  readonly drives: readonly BlockBackend[];
  readonly handlers?: readonly LoadedHandler[];
}

/** The board of a description. Without a kernel it can only take over a saved state. */
export function boardFor(description: MachineDescription, files: BoardFiles): VmmParts {
  const board = boardNamed(description.board);
  const entropy = new SeededEntropy(description.seed, "vmm");
  const { append, rtcBaseNs, vmport, virtioBus } = description.boardOptions;
  const half = board.create({
    memoryBytes: description.memoryBytes,
    vcpuCount: description.vcpuCount,
    cpuModel: description.cpuModel,
    ...(files.kernel === undefined ? {} : { kernel: { ...files.kernel, ...flatFormat(description) } }),
    ...(files.initrd === undefined ? {} : { initrd: files.initrd }),
    append: typeof append === "string" ? append : "",
    drives: files.drives,
    handlers: files.handlers ?? [],
    vmport: vmport === true,
    virtioBus: virtioBus === "pci" ? "pci" : "mmio",
    rtcBaseNs: typeof rtcBaseNs === "bigint" ? rtcBaseNs : 0n,
    entropy,
  });
  return { half, entropy };
}

export function readNamed(what: string, path: string): NamedFile {
  try {
    return { name: path, bytes: readFileSync(path) };
  } catch (cause) {
    throw new CliError(`can't read ${what} ${path}: ${reason(cause)}`, { code: "no-file", cause });
  }
}

interface MachineFiles extends BoardFiles {
  readonly drives: readonly DriveFile[];
}

function describeMachine(args: Arguments, architecture: Architecture, files: MachineFiles): MachineDescription {
  const given = hostNamed(hostOption(args), architecture);
  const model = exitModelFor(args, architecture, given);
  const host = given ?? hostOfModel(architecture, model);
  const cpuModel = choose("cpu", stringOption(args, "cpu"), architecture, architecture.cpuModels, String);
  const board = boardOf(architecture.name, stringOption(args, "machine"));
  const memoryBytes = parseMemory(stringOption(args, "memory") ?? DEFAULT_MEMORY);
  return {
    architecture: architecture.name,
    board: board.name,
    cpuModel,
    vcpuCount: parseVcpuCount(stringOption(args, "smp") ?? "1"),
    memoryBase: board.memoryBase,
    memoryBytes,
    exitModel: exitModelOf(model),
    ...(host === undefined ? {} : { host }),
    seed: seedOption(args),
    boardOptions: boardOptions(args, files, { name: architecture.name, base: board.memoryBase, bytes: memoryBytes }),
  };
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}

/** What an architecture has by this name, by default its first one. Throws UsageError. */
function choose<Choice>(
  option: string,
  wanted: string | undefined,
  { name }: Architecture,
  choices: readonly Choice[],
  textOf: (choice: Choice) => string,
): Choice {
  const found = wanted === undefined ? choices[0] : choices.find((choice) => textOf(choice) === wanted);
  if (found === undefined)
    throw new UsageError(`--${option} ${wanted ?? ""}: ${name} has ${[...new Set(choices.map(textOf))].join(", ")}`);
  return found;
}

/** The one that was asked for, or else the host's. Throws UsageError for one of CPUs that the host does not have. */
function exitModelFor(args: Arguments, architecture: Architecture, host: HostReference | undefined): ExitModel {
  const wanted = stringOption(args, "exit-model");
  const own = host && architecture.contract?.exitModelOf?.(host);
  const model = choose("exit-model", wanted ?? own, architecture, architecture.exitModels, nameOf);
  if (own === undefined || model.name === own) return model;
  throw new UsageError(`--exit-model ${model.name}: host ${host?.name ?? ""} leaves by ${own}`);
}

/** undefined: the default one. */
function hostOfModel({ contract }: Architecture, { name }: ExitModel): HostReference | undefined {
  const found = contract?.hosts.find((host) => contract.exitModelOf?.(host) === name);
  return found === contract?.hosts[0] || found === undefined ? undefined : { name: found.name, version: found.version };
}

function parseVcpuCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 8)
    throw new UsageError(`--smp ${text}: 1 to 8 vCPUs are possible`);
  return count;
}

/** A word that no build knows is a slip; one that this build lacks is `architectureNamed`'s. */
function archOption(args: Arguments): string | undefined {
  const name = stringOption(args, "arch");
  if (name !== undefined && !ARCHITECTURE_WORDS.includes(name))
    throw new UsageError(`--arch ${name}: expected one of ${ARCHITECTURE_WORDS.join(", ")}`);
  return name;
}

export function parseMemory(text: string): number {
  const bytes = parseSize("--memory", text);
  if (bytes < MEMORY_BYTES_MIN || bytes > MEMORY_BYTES_MAX || bytes % MEMORY_BYTES_MIN !== 0)
    throw new UsageError(`--memory ${text}: 64K to ${MEMORY_BYTES_MAX / 2 ** 20}M in steps of 64K are possible`);
  return bytes;
}

function seedOption(args: Arguments): bigint {
  const text = stringOption(args, "seed");
  // A short random number can be read out and typed again.
  return text === undefined ? BigInt(randomBytes(SEED_BYTES).readUInt32LE()) : parseU64("--seed", text);
}

/** Where a kernel is loaded. */
interface KernelPlace {
  /** Of the architecture. */
  readonly name: string;
  readonly base: number;
  readonly bytes: number;
}

function boardOptions(args: Arguments, files: MachineFiles, place: KernelPlace): EventPayload {
  const fingerprint = (file: NamedFile): EventPayload => ({
    name: file.name,
    bytes: file.bytes.length,
    sha256: nodeDigester.sha256(file.bytes),
  });
  return {
    append: stringOption(args, "append") ?? "",
    rtcBaseNs: rtcBase(stringOption(args, "rtc")),
    ...(files.kernel === undefined
      ? {}
      : {
          kernel: {
            ...fingerprint(files.kernel),
            ...flatOption(args),
            ...kernelSymbols(files.kernel),
            text: textSpans(files.kernel, flatOption(args), place),
          },
        }),
    ...(files.initrd === undefined ? {} : { initrd: fingerprint(files.initrd) }),
    drives: files.drives.map((drive) => ({
      id: drive.id,
      name: drive.path,
      bytes: drive.bytes,
      readOnly: drive.readOnly,
      sha256: drive.fingerprint(),
    })),
    ...handlersPayload(files.handlers ?? []),
    ...(vmportOption(args) ? { vmport: true } : {}),
    ...(virtioBusOption(args) === "pci" ? { virtioBus: "pci" } : {}),
  };
}

function vmportOption(args: Arguments): boolean {
  const text = stringOption(args, "vmport") ?? "off";
  if (text !== "on" && text !== "off") throw new UsageError(`--vmport ${text}: expected on or off`);
  return text === "on";
}

function virtioBusOption(args: Arguments): VirtioBus {
  const text = stringOption(args, "virtio-bus") ?? "mmio";
  const found = VIRTIO_BUSES.find((bus) => bus === text);
  if (found === undefined) throw new UsageError(`--virtio-bus ${text}: expected ${VIRTIO_BUSES.join(" or ")}`);
  return found;
}

/** `--flat OFFSET`: the kernel is plain code, which nothing in the file says. */
function flatOption(args: Arguments): { readonly flatOffset?: number } {
  const text = stringOption(args, "flat");
  return text === undefined ? {} : { flatOffset: Number(parseU64("--flat", text)) };
}

function flatFormat({ boardOptions: { kernel } }: MachineDescription): Pick<KernelFile, "format" | "flatOffset"> {
  const flatOffset = isPlainMap(kernel) ? kernel["flatOffset"] : undefined;
  return typeof flatOffset === "number" ? { format: "flat", flatOffset } : {};
}

/** For `attest`: what of the kernel is executed and not written. */
function textSpans(
  kernel: NamedFile,
  { flatOffset }: { readonly flatOffset?: number },
  { name, ...ram }: KernelPlace,
): PlainValue[] {
  const file = flatOffset === undefined ? kernel : { ...kernel, format: "flat" as const, flatOffset };
  return kernelText(file, name, ram).map(({ address, bytes }) => ({ gpa: address, length: bytes }));
}

/** Where a kernel's own symbol table will lie, for whoever names addresses of the recording. */
function kernelSymbols({ name, bytes }: NamedFile): EventPayload {
  const table = isArm64Image(bytes) ? locateKallsyms(bytes) : undefined;
  if (table === undefined) return {};
  const { base } = VIRT_ADDRESS_MAP.ram;
  const [image] = loadKernel({ name, bytes }, { base, bytes: Number.MAX_SAFE_INTEGER - base }).segments;
  return image === undefined ? {} : { symbols: { kernel: image.address, ...table } };
}

/** "base=now", "base=2026-11-21T09:00:00Z", or the bare date. Nanoseconds since 1970. */
export function rtcBase(text: string | undefined): bigint {
  const base = text?.replace(/^base=/, "") ?? "now";
  const milliseconds =
    base === "now"
      ? Math.floor(Date.now() / 1000) * 1000
      : Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(base) || !base.includes("T") ? base : `${base}Z`);
  if (Number.isNaN(milliseconds))
    throw new UsageError(`--rtc ${text ?? ""}: expected base=now or base=2026-11-21T09:00:00`);
  return BigInt(milliseconds) * 1_000_000n;
}

export function openDrives(texts: readonly string[]): DriveFile[] {
  return texts.map((text, index) => {
    const parts = new Map(
      text.split(",").map((part) => [part.split("=")[0] ?? "", part.slice(part.indexOf("=") + 1)] as const),
    );
    const path = parts.get("file");
    const unknown = [...parts.keys()].find((key) => !["file", "readonly", "id", "format", "if"].includes(key));
    if (path === undefined || unknown !== undefined)
      throw new UsageError(`--drive ${text}: expected file=PATH[,readonly=on][,id=ID]`);
    if ((parts.get("format") ?? "raw") !== "raw")
      throw new UsageError(
        `--drive ${text}: only raw images are read`,
        shellCommand("qemu-img", "convert", "-O", "raw", path, `${path}.raw`),
      );
    return openDriveFile(path, parts.get("id") ?? `drive${index}`, parts.get("readonly") === "on");
  });
}

/** The KVM surface of the options, in order. */
export function controlCommands(args: Arguments, architecture: Architecture): ControlCommand[] {
  return CONTROL_OPTIONS.flatMap(([option, word]) =>
    listOption(args, option).map((text) => {
      const command = architecture.control.parse(word, text);
      if (typeof command === "string") throw new UsageError(`--${option} ${text}: ${command}`);
      return command;
    }),
  );
}

/** What an image says of itself; the loader says more of one that it does not like. */
function architectureOfKernel(kernel: NamedFile): string {
  const { bytes } = kernel;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 64 && view.getUint32(0, false) === 0x7f45_4c46) {
    const machine = view.getUint16(18, true);
    if (machine === MACHINE_AMD64_ELF) return "amd64";
    if (machine === MACHINE_ARM64_ELF) return "arm64";
  }
  const isBzImage = bytes.length > 0x206 && view.getUint32(0x202, true) === 0x5372_6448;
  return isBzImage ? "amd64" : "arm64";
}
