/** What a CPU architecture gives the hypervisor: the kernel half of a VM. */
import type { ArchitectureContract } from "./contract.js";
import type { ControlCommand, ControlEvent, ControlSlice } from "./control.js";
import type { Entropy } from "./entropy.js";
import type { ExitFrame } from "../event/exit-frame.js";
import type { GuestMemory } from "./guest-memory.js";
import type { StateSection } from "./state-section.js";

/** One row of an exit model: a guest action that leaves guest mode. */
export interface ExitReason {
  /** As `perf kvm stat` and the manuals name it: "HVC64", "DABT_LOW", "WFx". */
  readonly name: string;
  /** ESR_EL2.EC, or the VMX or SVM reason. */
  readonly code: number;
  /** Which control makes it exit, in words: "HCR_EL2.TWI = 1". */
  readonly condition: string;
  /** "kernel half", "VMM half", or what decides. */
  readonly finishedBy: string;
  /** What pc shows at `exit:N`: the instruction itself, or the one behind it. */
  readonly pc: "at" | "behind";
}

/** A closed, named, versioned table. A row's index is `ExitWord.reason`; rows are only ever added at the end, with a new version. */
export interface ExitModel {
  readonly name: string;
  readonly version: number;
  readonly reasons: readonly ExitReason[];
}

/** A register by name, as gdb and the manuals write it in lower case: x0, sp, pc, pstate, sctlr_el1. */
export interface RegisterName {
  readonly name: string;
  readonly bits: 32 | 64 | 128;
  /** "general" is what `show` prints first; "system" only with `--regs`. */
  readonly group: "general" | "vector" | "system";
  /** Nothing can change it: it is part of what the CPU model promises. */
  readonly isConstant?: boolean;
}

/** Why `run` came back. */
export type RunStop =
  /** `limit` units have been reached. */
  | "limit"
  /** `exit` holds an exit that nobody has finished. */
  | "exit"
  /** Every vCPU waits; `idleDeadlineNs` says when the next timer fires, if one does. */
  | "idle"
  /** The guest can never run another instruction of its own; `stuckReason` says why. */
  | "stuck"
  /** The last instruction wrote to the watched range (only after `watch`); `watchReport` says what. */
  | "watch"
  /** pc of the vCPU that runs is where `breakAt` said, between two units. */
  | "breakpoint";

/** A write to watched memory, seen right behind the instruction that made it. */
export interface WatchReport {
  readonly vcpu: number;
  /** Address of the instruction that wrote. */
  readonly pc: bigint;
  /** First guest-physical byte written, and how many. */
  readonly physical: number;
  readonly bytes: number;
}

export interface KernelHalfOptions {
  readonly cpuModel: string;
  readonly vcpuCount: number;
  readonly memoryBase: number;
  readonly memoryBytes: number;
  readonly exitModel: ExitModel;
  readonly entropy: Entropy;
  /** Wall-clock time at guest time 0, in nanoseconds since 1970, for services that tell the guest the host's time. Default 0. */
  readonly wallClockBaseNs?: bigint;
  /** Caches never show: sizes and tiers for tests. Entries of one TLB set, a power of two, at least 2. */
  readonly tlbEntries?: number;
  readonly tier?: "interpreter" | "blocks" | "regions";
}

/** One unit of icount is this much guest time. */
export const GUEST_NANOSECONDS_PER_UNIT = 2;

/** An instruction of the guest's that the kernel half wrote over. */
export interface CodePatch {
  /** -1: no vCPU's call made it. */
  readonly vcpu: number;
  /** Guest-physical. */
  readonly physical: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/**
 * vCPUs, interrupt controller, timers, hypercall services. Deterministic: its future is a
 * function of its state, the control state, and the calls below.
 */
export interface KernelHalf {
  readonly memory: GuestMemory;
  /** Units on the VM as a whole. */
  readonly icount: number;
  /** icount times the ratio, plus idle time that was skipped. Nanoseconds. */
  readonly guestTimeNs: number;
  /** Whether any vCPU has been run. */
  readonly hasRun: boolean;
  /** The exit that `run` stopped at, or that a restored snapshot was taken at. */
  readonly exit: ExitFrame;
  /**
   * Where the next exit is to be described, and `exit` stands from then on: it need not be copied into a journal's columns.
   * Absent or undefined: where it likes.
   */
  nextFrame?: ExitFrame | undefined;
  /** Whether `exit` waits for `finishExit` or `completeExit`. */
  readonly exitPending: boolean;
  readonly idleDeadlineNs: number | undefined;
  readonly stuckReason: string | undefined;
  /** Where every vCPU waits: whether an interrupt from outside could end that. Absent: it is not known. */
  readonly canBeWoken?: boolean;

  /** Runs until `icount` is `limit` or something else stops it first. Not while an exit is pending. Where it stops is invisible to the guest. */
  run(limit: number): RunStop;
  /** Lets the kernel half finish its own exit. True: it has a result, in `answerLow` and `answerHigh`. */
  finishExit(): boolean;
  /** The result of the last `finishExit`. */
  readonly answerLow: number;
  readonly answerHigh: number;
  /** Of the last `finishExit`: whether a register of `Architecture.resultRegisters` behind the first is not 0. Absent: it is not known. */
  readonly hasFurtherResults?: boolean;
  /** The eventfd that the last `finishExit` signalled. */
  readonly signalledEventfd?: number | undefined;
  /** How often an eventfd has been signalled. Absent: there are none. */
  eventfdCount?(fd: number): number;
  /** What the last `finishExit` or `apply` wrote over. */
  readonly codePatch?: CodePatch | undefined;
  /** The VMM half's answer: MMIO read data; for a HYPERCALL nothing (registers are set by `writeRegister`). */
  completeExit(low: number, high: number): void;
  /** Guest time jumps to `guestTimeNs` (idle only). */
  skipTo(guestTimeNs: number): void;

  /** A wired interrupt input of the irqchip: on arm64 an SPI number from 0 (INTID minus 32). */
  setIrqLine(line: number, level: 0 | 1): void;
  /** A message-signalled interrupt. Absent: the irqchip takes none. */
  sendMsi?(address: bigint, data: number): void;

  /** The configuration fold; called once at creation and after every control event. */
  configure(state: unknown): void;
  /** What a control event does to the running state beside configuring it, right behind `configure`: a vCPU is reset, stopped. */
  apply?(event: ControlEvent): void;

  readonly registers: readonly RegisterName[];
  /** Other names by which `readRegister` knows registers, or parts of them. */
  readonly registerAliases?: readonly string[];
  /** What the architecture itself calls the register "pc", which is the one that `breakAt` compares; absent: "pc". */
  readonly pcName?: string;
  /** Throws RangeError for an unknown name. */
  readRegister(vcpu: number, name: string): bigint;
  writeRegister(vcpu: number, name: string, value: bigint): void;
  /** Guest-virtual to guest-physical by the current tables of a vCPU, without side effects. */
  translate(vcpu: number, virtual: bigint): number | undefined;
  /** Disassembles `count` instructions at a virtual address. */
  disassemble(
    vcpu: number,
    virtual: bigint,
    count: number,
  ): { readonly address: bigint; readonly bytes: Uint8Array; readonly text: string }[];
  /** The address that a return from the current function would go to, outermost last, for `show --stack`. */
  backtrace(vcpu: number, depthMax: number): bigint[];

  /** Everything but RAM, canonical: equal futures give equal bytes. */
  save(): StateSection[];
  restore(sections: readonly StateSection[]): void;
  /** Throws away TLBs, decoded and compiled code. Invisible to the guest. */
  dropCaches(): void;
  /** The vCPU that runs next. */
  readonly currentVcpu?: number;
  /**
   * From now on `run` stops with "watch" right behind an instruction that wrote into this guest-physical range, which lies in
   * RAM; 0 bytes: nowhere. Writes through `memory` do not count. Invisible to the guest. Without it, observers go unit by unit.
   */
  watch?(physical: number, bytes: number): void;
  /** Takes whole pages out of the watched range; without it they go on to stop. */
  unwatch?(physical: number, bytes: number): void;
  readonly watchReport?: WatchReport | undefined;
  /**
   * From now on `run` stops with "breakpoint" at each boundary between two units at which `pc` of the vCPU that runs is this,
   * where it begins and at its limit too, whatever comes next: an instruction, an interrupt or a fault. undefined: nowhere.
   * Invisible to the guest. Without it, observers go unit by unit.
   */
  breakAt?(pc: bigint | undefined): void;
  /** Encodings that raised the undefined exception for want of a definition, by name, with counts. */
  unimplemented(): ReadonlyMap<string, number>;
}

export interface Architecture {
  readonly name: "arm64" | "amd64";
  /** Goes up with every change that a guest could see. */
  readonly revision: number;
  readonly cpuModels: readonly string[];
  readonly exitModels: readonly ExitModel[];
  readonly control: ControlSlice;
  /** What a guest may ask about. Absent: nothing is known of it, and there are no hosts to choose from. */
  readonly contract?: ArchitectureContract;
  /** Commands by which a VMM sets up the vCPUs that it has created, in order, before it sets anything else. */
  setUp?(vcpuCount: number): readonly ControlCommand[];
  createKernelHalf(options: KernelHalfOptions): KernelHalf;
  /**
   * The registers into which the kernel half puts its answer when it finishes this exit, the result first. Absent or
   * empty: what a result goes into depends on the instruction.
   */
  resultRegisters?(frame: ExitFrame): readonly string[];
  /**
   * Of a call whose first argument holds more than its number, as Hyper-V's input value does: the number alone. Absent or
   * undefined: the argument is the number.
   */
  callNumber?(frame: ExitFrame): number | undefined;
  /** Of a call that no rule of the control plane was asked about: why, in words. */
  unruledCall?(frame: ExitFrame): string | undefined;
  /** The exit that waits for its answer in a saved kernel half. Throws StateSectionError. */
  pendingExit?(sections: readonly StateSection[]): ExitFrame | undefined;
  /** The vendor whose hosts alone leave by a row of a model. Absent or undefined: every host may. */
  vendorOfExit?(model: Pick<ExitModel, "name" | "version">, reason: number): string | undefined;
  /** One line for an exit, for people: "HVC64 0xc6000001" or "MMIO write 0x09000000 4 <- 0x5b". */
  describeExit(model: ExitModel, frame: ExitFrame): string;
}
