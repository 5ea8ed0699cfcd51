/**
 * Programs around KVM_RUN, as the conformance tables drive them: a guest in a few words, the ioctls of a VMM, and a recording
 * of both that must replay to the same digests without the program.
 */
import {
  bareMachine,
  type HypercallRun,
  KvmError,
  type KvmRun,
  KvmSession,
  type KvmVcpu,
  type KvmVm,
} from "@hvjournal/cpu-arm64";
import { parseMachine, type Snapshot, toHex } from "@hvjournal/core";
import { createWriterFor, digester, TEST_CADENCE } from "../testing/guest-recording.js";
import { expect } from "@jest/globals";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import type { RecordingWriter } from "@hvjournal/journal";
import { hvc, moveImmediate, smc } from "./instructions.js";

const PAGE_HASH_BYTES = 16;
const ZERO_PAGE = "0".repeat(2 * PAGE_HASH_BYTES);
export const RAM = 0x4000_0000;
export const RAM_BYTES = 0x40_0000;
/** Where the program of vCPU 0 lies; each further one has its own 64 KiB. */
export const CODE: number = RAM + 0x1_0000;
const CODE_BYTES = 0x1_0000;
const DATA: number = RAM + 0x20_0000;
/** No RAM and no GIC is there. */
export const DEVICE = 0x0a00_0000;

export interface ProgramOptions {
  readonly vcpuCount?: number;
  /** By number of the vCPU; default: PSCI_0_2, and POWER_OFF for all but the first. null: none is initialised. */
  readonly features?: readonly (readonly string[])[] | null;
}

/** Where the VMs of one test live. */
interface ProgramHost {
  open(options: ProgramOptions): Program;
  move(from: Program): Program;
}

/** A VM under test, and the words of a VMM. */
export class Program {
  readonly session: KvmSession;
  readonly vm: KvmVm;
  readonly data: number = DATA;
  readonly #host: ProgramHost;

  constructor(session: KvmSession, host: ProgramHost) {
    this.session = session;
    this.vm = session.vm;
    this.#host = host;
  }

  /** A second VM: the destination of a migration. Its recording is replayed too. */
  another(options: ProgramOptions = {}): Program {
    return this.#host.open(options);
  }

  /** The VM goes on under another VMM, from a full snapshot of this moment; its recording is replayed too. */
  moved(): Program {
    return this.#host.move(this);
  }

  get vcpu(): KvmVcpu {
    return this.vm.vcpu(0);
  }

  /** Puts a vCPU before a program. */
  load(words: readonly number[], vcpu = 0): void {
    const address = CODE + vcpu * CODE_BYTES;
    this.vm.writeMemory(address, new Uint8Array(Uint32Array.from(words).buffer));
    this.vm.vcpu(vcpu).setOneReg("pc", BigInt(address));
  }

  run(options?: Parameters<KvmSession["run"]>[0]): KvmRun {
    return this.session.run(options);
  }

  /**
   * The guest calls, and comes to a device access behind it: what its x0 to x3 are then. Fails at an exit of another kind.
   */
  call(id: number, args: readonly bigint[] = [], conduit: "hvc" | "smc" = "hvc"): bigint[] {
    return this.results(callWords(id, args, conduit));
  }

  /** The same for a call that is written out. */
  results(words: readonly number[]): bigint[] {
    this.load([...words, ...touchDevice]);
    return this.resultsNow();
  }

  /** The guest goes on and comes to the device: what its x0 to x3 are then. */
  resultsNow(): bigint[] {
    const run = this.run();
    if (run.exitReason !== "MMIO") throw new Error(`${run.exitReason} where the call was to be answered`);
    return [0, 1, 2, 3].map((index) => this.vcpu.getOneReg(`x${index}`));
  }

  /** The guest's call that leaves for the VMM, which may go on with `resultsNow`. Fails at an exit of another kind. */
  forwarded(words: readonly number[]): HypercallRun {
    this.load([...words, ...touchDevice]);
    const run = this.run();
    if (run.exitReason !== "HYPERCALL") throw new Error(`${run.exitReason} where the call was to be forwarded`);
    return run;
  }

  /** A vCPU has been in KVM_RUN. */
  runOnce(): void {
    this.load(touchDevice);
    this.run();
  }
}

/** x0 to x7 and HVC or SMC #0. */
export function callWords(id: number, args: readonly bigint[] = [], conduit: "hvc" | "smc" = "hvc"): number[] {
  const registers = [BigInt(id), ...args].flatMap((value, index) => moveImmediate(index, value));
  return [...registers, conduit === "hvc" ? hvc(0) : smc(0)];
}

/** A load from the device, into x9: an exit that shows that the guest has come so far. */
export const touchDevice: readonly number[] = [...moveImmediate(10, BigInt(DEVICE)), 0xb940_0149];

/** "0", or the errno by name. */
export function errno(ioctl: () => void): string {
  try {
    ioctl();
    return "0";
  } catch (error) {
    if (error instanceof KvmError) return error.errno;
    throw error;
  }
}

export const NOT_SUPPORTED = 0xffff_ffff_ffff_ffffn;

/** A negative return code, as a register has it. */
export function code(value: number): bigint {
  return BigInt.asUintN(64, BigInt(value));
}

function initialize(vm: KvmVm, features: ProgramOptions["features"]): void {
  if (features === null) return;
  for (const vcpu of vm.vcpus)
    vcpu.vcpuInit(features?.[vcpu.index] ?? (vcpu.index === 0 ? ["PSCI_0_2"] : ["PSCI_0_2", "POWER_OFF"]));
}

interface Recorded {
  readonly writer: RecordingWriter;
  readonly session: KvmSession;
}

/** A recording that begins where another stands. */
function branchOf(
  { writer: source, session }: Recorded,
  path: string,
): { writer: RecordingWriter; snapshot: Snapshot } {
  const { number } = session.recorder.pause();
  const { firstSeq, chain, exitNumber, icount } = source.end;
  const seq = firstSeq - 1;
  const snapshot = { ...source.loadSnapshot(number), seq };
  const { id } = source.header;
  const parent = { id, path: source.path, chain, seq, exitNumber, icount, why: "branch" } as const;
  const writer = createWriterFor(parseMachine(source.header.machine), path, parent);
  for (let at = 0; at < snapshot.pageHashes.length; at += PAGE_HASH_BYTES) {
    const hash = toHex(snapshot.pageHashes.subarray(at, at + PAGE_HASH_BYTES));
    if (hash !== ZERO_PAGE && !writer.hasPage(hash)) writer.storePage(hash, source.loadPage(hash));
  }
  writer.addSnapshot(snapshot, "full");
  return { writer, snapshot };
}

/** Runs a program with a new VM, and replays what was recorded: the same exits and digests come of it. */
export async function withProgram(
  path: string,
  options: ProgramOptions,
  act: (program: Program) => void,
): Promise<void> {
  const recordings: Recorded[] = [];
  const add = (writer: RecordingWriter, session: KvmSession): Program => {
    recordings.push({ writer, session });
    return new Program(session, host);
  };
  const nextPath = (): string => (recordings.length === 0 ? path : `${path}-${recordings.length}`);
  const host: ProgramHost = {
    open({ vcpuCount = 1, features }) {
      const machine = bareMachine({ memoryBytes: RAM_BYTES, memoryBase: RAM, vcpuCount, seed: 42n });
      const writer = createWriterFor(machine, nextPath());
      const program = add(writer, KvmSession.create({ digester, writer, cadence: TEST_CADENCE }));
      initialize(program.vm, features);
      return program;
    },
    move(from) {
      const source = recordings.find(({ session }) => session === from.session);
      if (source === undefined) throw new RangeError("a VM of another test");
      const { writer, snapshot } = branchOf(source, nextPath());
      return add(writer, KvmSession.resume({ digester, writer, cadence: TEST_CADENCE }, snapshot));
    },
  };
  try {
    act(host.open(options));
    for (const { session } of recordings) session.recorder.finish({ index: false });
  } finally {
    for (const { writer } of recordings) writer.close();
  }
  for (const { writer } of recordings) await replayWhole(writer.path);
}

/** Throws at the first difference. */
async function replayWhole(path: string): Promise<void> {
  await withRecording(path, (reader) => {
    const replayer = replayerOf(reader);
    expect(replayer.advance()).toBe("end");
    expect(replayer.compared).toEqual(countObserved(reader));
  });
}
