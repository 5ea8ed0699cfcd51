/** Recordings of guests, made through the interfaces that the command line uses. */
import { arm64 } from "@hvjournal/cpu-arm64";
import { amd64 } from "@hvjournal/cpu-x86";
import {
  type Architecture,
  type BlockBackend,
  type CacheOptions,
  type Cadence,
  CoreKind,
  type ControlCommand,
  type Digester,
  exitModelOf,
  type GuestStop,
  HOT_EVENT_KINDS,
  type MachineDescription,
  machinePayload,
  parseInputScript,
  Recorder,
  type RecordingParent,
  SeededEntropy,
  type VmmParts,
} from "@hvjournal/core";
import { createRecording, FORMAT_VERSION, type RecordingWriter } from "@hvjournal/journal";
import {
  createPcBoard,
  createVirtBoard,
  type KernelFile,
  type NamedHandler,
  PC_ADDRESS_MAP,
  VIRT_ADDRESS_MAP,
  type VirtioBus,
} from "@hvjournal/vmm";
import { createHash } from "node:crypto";
import { readBareMetalImage } from "../guests/bare-metal.js";

export const MIB = 1 << 20;

/** What a VM is made from. Equal setups give equal recordings. */
export interface GuestSetup {
  /** Default: arm64. */
  readonly architecture?: Architecture;
  /** Of the architecture's exit models; default: its first. */
  readonly exitModel?: string;
  /** Default: the bare-metal guest. */
  readonly kernel?: KernelFile;
  readonly initrd?: KernelFile;
  readonly append: string;
  readonly seed?: bigint;
  readonly vcpuCount?: number;
  readonly memoryBytes?: number;
  readonly drives?: readonly BlockBackend[];
  readonly handlers?: readonly NamedHandler[];
  /** Of board `pc`. */
  readonly virtioBus?: VirtioBus;
  readonly commands?: readonly ControlCommand[];
  /** Lines of an input script. */
  readonly script?: string;
  readonly caches?: CacheOptions;
  readonly cadence?: Cadence;
}

/** Often enough that a short guest meets each kind of snapshot several times. */
export const TEST_CADENCE: Cadence = { digestEvery: 10_000, seekPointEvery: 50_000, fullSnapshotEvery: 100_000 };

/** 2026-01-01T00:00:00Z. */
const RTC_BASE_NS = 1_767_225_600_000_000_000n;
/** Recordings of one setup are equal to the last byte of the chain, which the identity is part of. */
const RECORDING_ID = "0".repeat(32);

export const digester: Digester = { sha256: (bytes) => createHash("sha256").update(bytes).digest() };

/** The machine of a setup, as its recording's header has it. */
export function describeGuest(setup: GuestSetup): MachineDescription {
  const { architecture = arm64, append, seed = 42n, vcpuCount = 1, memoryBytes = 64 * MIB } = setup;
  const isWanted = ({ name }: { readonly name: string }): boolean => name === (setup.exitModel ?? name);
  const exitModel = architecture.exitModels.find(isWanted);
  const [cpuModel] = architecture.cpuModels;
  if (exitModel === undefined || cpuModel === undefined)
    throw new Error(`${architecture.name} has no such exit model, or no cpu model`);
  const isArm64 = architecture === arm64;
  return {
    architecture: architecture.name,
    board: isArm64 ? "virt" : "pc",
    cpuModel,
    vcpuCount,
    memoryBase: isArm64 ? VIRT_ADDRESS_MAP.ram.base : PC_ADDRESS_MAP.ram.base,
    memoryBytes,
    exitModel: exitModelOf(exitModel),
    seed,
    boardOptions: { append, rtcBaseNs: RTC_BASE_NS },
  };
}

export function createBoard(setup: GuestSetup): VmmParts {
  const { memoryBytes, vcpuCount, cpuModel, seed, board } = describeGuest(setup);
  const entropy = new SeededEntropy(seed, "vmm");
  const options = {
    memoryBytes,
    vcpuCount,
    kernel: setup.kernel ?? { name: "guest.img", bytes: readBareMetalImage() },
    ...(setup.initrd && { initrd: setup.initrd }),
    append: setup.append,
    drives: setup.drives ?? [],
    rtcBaseNs: RTC_BASE_NS,
    entropy,
    handlers: setup.handlers ?? [],
  };
  const half =
    board === "pc"
      ? createPcBoard({ ...options, virtioBus: setup.virtioBus ?? "mmio" })
      : createVirtBoard({ ...options, cpuModel });
  return { half, entropy };
}

export function createWriter(setup: GuestSetup, path: string): RecordingWriter {
  return createWriterFor(describeGuest(setup), path);
}

export function createWriterFor(machine: MachineDescription, path: string, parent?: RecordingParent): RecordingWriter {
  const architecture = machine.architecture === amd64.name ? amd64 : arm64;
  const header = {
    id: RECORDING_ID,
    formatVersion: FORMAT_VERSION,
    createdBy: "conformance",
    architecture: architecture.name,
    architectureRevision: architecture.revision,
    machine: machinePayload(machine),
    quirks: [],
    parent,
  };
  const kinds = [...HOT_EVENT_KINDS, ...Object.values(CoreKind), ...architecture.control.kinds];
  return createRecording(path, header, { kinds });
}

/** A VM at its start, recorded into a new file. */
export function createGuest(setup: GuestSetup, path: string): Recorder {
  const writer = createWriter(setup, path);
  try {
    return Recorder.create(
      {
        architecture: setup.architecture ?? arm64,
        digester,
        writer,
        vmm: createBoard(setup),
        cadence: setup.cadence ?? TEST_CADENCE,
        ...(setup.caches && { caches: setup.caches }),
        script: parseInputScript(setup.script ?? ""),
      },
      setup.commands ?? [],
    );
  } catch (error) {
    writer.close();
    throw error;
  }
}

/** How the host drives a run: nothing that a guest could see. */
export interface HostSide {
  /** Units of the next slice. */
  readonly slice?: () => number;
  /** Called between two slices. */
  readonly betweenSlices?: (recorder: Recorder) => void;
  /** A guest that has not stopped by then is an error. */
  readonly unitsMax?: number;
}

const UNITS_MAX = 50_000_000;

/** Runs to the guest's own end and closes the recording. */
export async function runGuest(recorder: Recorder, host: HostSide = {}): Promise<GuestStop> {
  const { slice = () => 1e9, betweenSlices, unitsMax = UNITS_MAX } = host;
  for (;;) {
    const left = unitsMax - recorder.machine.icount;
    if (left <= 0) throw new Error(`the guest still runs after ${unitsMax} units`);
    const result = await recorder.step({ units: Math.min(slice(), left) });
    if (result.why === "stopped") {
      recorder.finish({ index: false });
      return result.stop;
    }
    betweenSlices?.(recorder);
  }
}

export interface GuestRecording {
  readonly path: string;
  readonly stop: GuestStop;
  readonly console: string;
}

/** Records a guest from its start to its own end. */
export async function recordGuest(setup: GuestSetup, path: string, host: HostSide = {}): Promise<GuestRecording> {
  const recorder = createGuest(setup, path);
  const console = collectConsole(recorder);
  const stop = await runGuest(recorder, host);
  return { path, stop, console: console() };
}

/** What the guest writes to its console from now on. */
export function collectConsole(recorder: Recorder): () => string {
  const parts: Buffer[] = [];
  recorder.onOutput((port, bytes) => {
    if (port === 0) parts.push(Buffer.from(bytes));
  });
  return () => Buffer.concat(parts).toString("latin1");
}

/** One command from the text that `record` and `ctl` take. */
export function command(word: string, text: string, architecture: Architecture = arm64): ControlCommand {
  const parsed = architecture.control.parse(word, text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}
