/**
 * Programs around KVM_RUN on x86, as the conformance tables drive them: a guest of a few instructions in 64-bit mode, the ioctls
 * of a VMM, and a recording of both that must replay to the same digests without the program. Each exception of the guest's
 * is told to the test by a store to a device.
 */
import { bareMachine, type KvmRun, KvmSession, type KvmVcpu, type KvmVm } from "@hvjournal/cpu-x86";
import { type ProgramKind, RecordedProgram, withRecordedProgram } from "../recorded-program.js";
import { cpuid, readMsr, spin, storeByte, writeMsr } from "./instructions.js";

export { errno } from "../errno.js";

export const RAM_BYTES = 0x40_0000;
/** Where the program of vCPU 0 lies; each further one has its own 64 KiB. */
export const CODE = 0x1_0000;
const CODE_BYTES = 0x1_0000;
/** Pages for the test's own use, up to the end of RAM. */
export const DATA = 0x20_0000;
/** No RAM and no irqchip is there; instructions reach it by a 32-bit displacement. */
export const DEVICE = 0x1000_0000;
/** Stored to by the handler of each exception: its vector. */
const TRAP: number = DEVICE + 0x100;

const PML4 = 0x1000;
const PDPT = 0x2000;
const GDT = 0x3000;
const IDT = 0x4000;
/** Stubs of the exceptions' handlers. */
const HANDLERS = 0x6000;
const HANDLER_BYTES = 16;
const EXCEPTIONS = 32;
const STACK_TOP = 0x1_0000;
const STACK_BYTES = 0x800;
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;
const USER_DATA_SELECTOR = 0x1b;
const USER_CODE_SELECTOR = 0x23;
const TASK_SELECTOR = 0x28;
const CODE64 = 0x00af_9b00_0000_ffffn;
const DATA64 = 0x00cf_9300_0000_ffffn;
const USER_CODE64 = 0x00af_fb00_0000_ffffn;
const USER_DATA64 = 0x00cf_f300_0000_ffffn;
const TASK_STATE = 0x3800;

const EXCEPTION_NAMES: Readonly<Record<number, string>> = {
  0: "#DE",
  1: "#DB",
  3: "#BP",
  6: "#UD",
  8: "#DF",
  10: "#TS",
  11: "#NP",
  12: "#SS",
  13: "#GP",
  14: "#PF",
};

export interface ProgramOptions {
  readonly vcpuCount?: number;
  /** The simulated host: intel, amd, intel-no-smt ... */
  readonly host?: string;
  /** Between KVM_CREATE_VM and the first KVM_CREATE_VCPU. */
  readonly beforeVcpus?: (vm: Pick<KvmVm, "checkExtension" | "enableCap">) => void;
  /** By the words of the command line, before anything runs: ["hv", "all"]. */
  readonly configuration?: readonly (readonly [word: string, text: string])[];
}

/** A VM under test, and the words of a VMM. */
export class Program extends RecordedProgram<KvmSession, Program, ProgramOptions> {
  /** Puts a vCPU before a program. */
  load(bytes: readonly number[], vcpu = 0): void {
    const address = CODE + vcpu * CODE_BYTES;
    this.vm.writeMemory(address, Uint8Array.from(bytes));
    this.vm.vcpu(vcpu).setReg("rip", address);
    this.vm.vcpu(vcpu).setReg("rsp", STACK_TOP - vcpu * STACK_BYTES);
  }

  /** Runs instructions to their end: "done", or the exception that they raise ("#GP"). Fails at any other exit. */
  outcome(bytes: readonly number[]): string {
    this.load([...bytes, ...done]);
    return this.outcomeNow();
  }

  /** The same of a guest that goes on. */
  outcomeNow(): string {
    const run = this.run();
    const found = outcomeOf(run);
    if (found === undefined) throw new Error(`${run.exitReason} where the guest was to come to its end`);
    return found;
  }

  /** The first exit of instructions that is the VMM's to answer; the guest may go on with `outcomeNow`. */
  exit(bytes: readonly number[]): KvmRun {
    this.load([...bytes, ...done]);
    return this.run();
  }

  /** RDMSR by the guest: what is read, or the exception. */
  readMsr(msr: number): bigint | string {
    const outcome = this.outcome(readMsr(msr));
    if (outcome !== "done") return outcome;
    return (BigInt.asUintN(32, this.vcpu.getReg("rdx")) << 32n) | BigInt.asUintN(32, this.vcpu.getReg("rax"));
  }

  /** WRMSR by the guest: "done", or the exception. */
  writeMsr(msr: number, value: bigint): string {
    return this.outcome(writeMsr(msr, value));
  }

  /** CPUID by the guest: EAX, EBX, ECX, EDX. */
  cpuid(leaf: number, subleaf = 0): number[] {
    this.outcome(cpuid(leaf, subleaf));
    return ["rax", "rbx", "rcx", "rdx"].map((name) => Number(this.vcpu.getReg(name)));
  }

  /** A vCPU has been in KVM_RUN. */
  runOnce(): void {
    this.outcome([]);
  }
}

/** A store to the device: an exit that shows that the guest has come so far. */
const done: readonly number[] = [...storeByte(DEVICE, 0), ...spin];

/** Of an exit that ends a guest's instructions; undefined: it is another one. */
export function outcomeOf(run: KvmRun): string | undefined {
  if (run.exitReason !== "MMIO" || !run.mmio.isWrite) return undefined;
  const place = Number(run.mmio.physAddr);
  if (place === DEVICE) return "done";
  if (place !== TRAP) return undefined;
  const vector = run.mmio.data[0] ?? 0;
  return EXCEPTION_NAMES[vector] ?? `exception ${vector}`;
}

function word64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** Page tables that map the first 4 GiB to themselves, descriptors, and a handler for each exception. */
function writeTables(vm: KvmVm): void {
  const put = (address: number, value: bigint): void => {
    vm.writeMemory(address, word64(value));
  };
  put(PML4, BigInt(PDPT | 7));
  for (let gib = 0; gib < 4; gib++) put(PDPT + 8 * gib, (BigInt(gib) << 30n) | 0x87n);
  put(GDT + CODE_SELECTOR, CODE64);
  put(GDT + DATA_SELECTOR, DATA64);
  put(GDT + (USER_DATA_SELECTOR & ~7), USER_DATA64);
  put(GDT + (USER_CODE_SELECTOR & ~7), USER_CODE64);
  // RSP0, for exceptions of user mode.
  put(TASK_STATE + 4, BigInt(STACK_TOP));
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    const handler = HANDLERS + HANDLER_BYTES * vector;
    vm.writeMemory(handler, Uint8Array.from([...storeByte(TRAP, vector), ...spin]));
    put(IDT + 16 * vector, BigInt(handler & 0xffff) | (BigInt(CODE_SELECTOR) << 16n) | (0x8en << 40n));
  }
}

interface Descriptor {
  readonly selector: number;
  readonly limit: bigint;
  readonly attributes: number;
  readonly base?: number;
}

const CODE_SEGMENT: Descriptor = { selector: CODE_SELECTOR, limit: 0xffff_ffffn, attributes: 0xa09b };
const DATA_SEGMENT: Descriptor = { selector: DATA_SELECTOR, limit: 0xffff_ffffn, attributes: 0xc093 };
const TASK: Descriptor = { selector: TASK_SELECTOR, limit: 0x67n, attributes: 0x8b, base: TASK_STATE };

function setSegment(vcpu: KvmVcpu, name: string, { selector, limit, attributes, base = 0 }: Descriptor): void {
  vcpu.setReg(name, selector);
  vcpu.setReg(`${name}_base`, base);
  vcpu.setReg(`${name}_limit`, limit);
  vcpu.setReg(`${name}_attributes`, attributes);
}

/** 64-bit mode at CPL 0, with interrupts off. */
function enterLongMode(vcpu: KvmVcpu): void {
  vcpu.setReg("efer", 0x500);
  vcpu.setReg("cr4", 0x620);
  vcpu.setReg("cr3", PML4);
  vcpu.setReg("cr0", 0x8001_0033);
  setSegment(vcpu, "cs", CODE_SEGMENT);
  for (const name of ["ds", "es", "ss", "fs", "gs"]) setSegment(vcpu, name, DATA_SEGMENT);
  setSegment(vcpu, "tr", TASK);
  vcpu.setReg("gdtr_base", GDT);
  vcpu.setReg("gdtr_limit", TASK_SELECTOR + 15);
  vcpu.setReg("idtr_base", IDT);
  vcpu.setReg("idtr_limit", 16 * EXCEPTIONS - 1);
}

const RUNNABLE = 0;

/** All vCPUs are runnable, in 64-bit mode, before a program that ends at once. */
function initialize(program: Program, configuration: ProgramOptions["configuration"] = []): void {
  for (const [word, text] of configuration) program.vm.configure(word, text);
  writeTables(program.vm);
  for (const vcpu of program.vm.vcpus) {
    enterLongMode(vcpu);
    program.load(vcpu.index === 0 ? done : [...spin], vcpu.index);
  }
  program.vcpu.setMpState(RUNNABLE);
}

const X86_PROGRAMS: ProgramKind<KvmSession, Program, ProgramOptions> = {
  machineOf: ({ vcpuCount = 1, host }) =>
    bareMachine({ memoryBytes: RAM_BYTES, vcpuCount, ...(host && { host }), seed: 42n }),
  create: (options, { beforeVcpus }) => KvmSession.create({ ...options, ...(beforeVcpus && { beforeVcpus }) }),
  resume: (options, snapshot) => KvmSession.resume(options, snapshot),
  programOf(session, host, options) {
    const program = new Program(session, host);
    if (options !== undefined) initialize(program, options.configuration);
    return program;
  },
};

/** Runs a program with a new VM, and replays what was recorded: the same exits and digests come of it. */
export function withProgram(path: string, options: ProgramOptions, act: (program: Program) => void): Promise<void> {
  return withRecordedProgram(X86_PROGRAMS, path, options, act);
}
