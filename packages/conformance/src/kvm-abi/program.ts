/**
 * Programs around KVM_RUN, as the conformance tables drive them: a guest in a few words, the ioctls of a VMM, and a recording
 * of both that must replay to the same digests without the program.
 */
import { bareMachine, type HypercallRun, KvmSession, type KvmVm } from "@hvjournal/cpu-arm64";
import { hvc, moveImmediate, smc } from "./instructions.js";
import { type ProgramKind, RecordedProgram, withRecordedProgram } from "./recorded-program.js";

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

/** A VM under test, and the words of a VMM. */
export class Program extends RecordedProgram<KvmSession, Program, ProgramOptions> {
  readonly data: number = DATA;

  /** Puts a vCPU before a program. */
  load(words: readonly number[], vcpu = 0): void {
    const address = CODE + vcpu * CODE_BYTES;
    this.vm.writeMemory(address, new Uint8Array(Uint32Array.from(words).buffer));
    this.vm.vcpu(vcpu).setOneReg("pc", BigInt(address));
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

export { errno } from "./errno.js";

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

const ARM64_PROGRAMS: ProgramKind<KvmSession, Program, ProgramOptions> = {
  machineOf: ({ vcpuCount = 1 }) => bareMachine({ memoryBytes: RAM_BYTES, memoryBase: RAM, vcpuCount, seed: 42n }),
  create: (options) => KvmSession.create(options),
  resume: (options, snapshot) => KvmSession.resume(options, snapshot),
  programOf(session, host, options) {
    const program = new Program(session, host);
    if (options !== undefined) initialize(program.vm, options.features);
    return program;
  },
};

/** Runs a program with a new VM, and replays what was recorded: the same exits and digests come of it. */
export function withProgram(path: string, options: ProgramOptions, act: (program: Program) => void): Promise<void> {
  return withRecordedProgram(ARM64_PROGRAMS, path, options, act);
}
