/**
 * A program around KVM_RUN, as the VMM half of a recorded VM: it makes the VM, sets it up by ioctls, runs it, answers the
 * exits, and each of its acts is an event. Without a board: what is at an address is for the program to say.
 */
import {
  type Digester,
  type ExitFrame,
  ExitWord,
  exitModelOf,
  FinishedBy,
  type JournalWriter,
  type Machine,
  KvmExit,
  type MachineDescription,
  Recorder,
  type RecorderOptions,
  type StateSection,
  type StepResult,
  type VmmHalf,
  type VmmPort,
} from "@hvjournal/core";
import { arm64 } from "../kvm/architecture.js";
import type { Arm64ControlState } from "../kvm/control/control-state.js";
import { isInitialized } from "../kvm/control/control-state.js";
import { MpState } from "../kvm/control/vcpu-part.js";
import { policyValue } from "../kvm/control/policy-part.js";
import { kvmArm64 } from "../kvm/exit-model.js";
import { actingPort } from "./acting-port.js";
import { KvmError } from "./kvm-error.js";
import { describeRun, type KvmRun, type MmioRun } from "./kvm-run.js";
import { KvmVm } from "./kvm-vm.js";

const KVM_RUN = "KVM_RUN";
const RUN_UNITS = 2 ** 40;
const UNEXPECTED_EXIT_REASON = 4;
/** ESR_EL2.EC of a software step and of a breakpoint, from a lower exception level, with IL. */
const HSR_STEP = 0xca00_0022;
const HSR_BREAKPOINT = 0xc200_0022;

export interface VmOptions {
  readonly memoryBytes: number;
  readonly memoryBase?: number;
  readonly vcpuCount?: number;
  readonly cpuModel?: string;
  readonly seed?: bigint;
}

/** What a machine without a board is described as, for the header of its recording. */
export function bareMachine(options: VmOptions): MachineDescription {
  return {
    architecture: arm64.name,
    board: "none",
    cpuModel: options.cpuModel ?? "cortex-a57",
    vcpuCount: options.vcpuCount ?? 1,
    memoryBase: options.memoryBase ?? 0x4000_0000,
    memoryBytes: options.memoryBytes,
    exitModel: exitModelOf(kvmArm64),
    seed: options.seed ?? 0n,
    boardOptions: {},
  };
}

/** Answers with what the program has left in `struct kvm_run`. */
class ProgramHalf implements VmmHalf {
  readonly deadlineNs = undefined;
  mmio: MmioRun["mmio"] | undefined;

  boot(): void {
    // The program sets up the vCPUs itself.
  }

  handleExit(exit: ExitFrame, port: VmmPort): void {
    const mmio = this.mmio;
    this.mmio = undefined;
    if (exit[ExitWord.kvmExit] !== KvmExit.mmio || mmio === undefined || mmio.isWrite) return;
    const view = new DataView(mmio.data.buffer, mmio.data.byteOffset, mmio.data.length);
    port.complete(view.getUint32(0, true), view.getUint32(4, true));
  }

  reachDeadline(): void {
    throw new RangeError("a program around KVM_RUN has no deadline");
  }

  takeInput(): boolean {
    return false;
  }

  readCount(): number {
    return 0;
  }

  deviceAt(): undefined {
    return undefined;
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // It keeps nothing.
  }
}

export type SessionOptions = Pick<RecorderOptions, "cadence" | "caches"> & {
  readonly digester: Digester;
  /** With a header whose machine is `bareMachine`'s. */
  readonly writer: JournalWriter;
};

/** KVM_SET_GUEST_DEBUG; observing changes nothing, so none of it is an event. */
export interface GuestDebug {
  readonly singleStep?: boolean;
  /** One hardware breakpoint, by guest-virtual address. */
  readonly breakpoint?: bigint;
}

export class KvmSession {
  readonly vm: KvmVm;
  readonly recorder: Recorder;
  readonly #half: ProgramHalf;
  #debug: GuestDebug = {};
  /** Number of the exit that the program was told last: that one it has answered when it runs again. */
  #told = 0;

  private constructor(recorder: Recorder, half: ProgramHalf) {
    this.recorder = recorder;
    this.#half = half;
    this.vm = new KvmVm(actingPort(recorder));
  }

  /** KVM_CREATE_VM and KVM_CREATE_VCPU: the vCPUs wait for their KVM_ARM_VCPU_INIT. */
  static create(options: SessionOptions): KvmSession {
    const half = new ProgramHalf();
    const recorder = Recorder.create({ ...options, ...RUN_OPTIONS, vmm: { half } });
    return new KvmSession(recorder, half);
  }

  /** Goes on with a VM that another program has left, from a full snapshot. */
  static resume(options: SessionOptions, snapshot: Parameters<typeof Recorder.resume>[1]): KvmSession {
    const half = new ProgramHalf();
    const recorder = Recorder.resume({ ...options, ...RUN_OPTIONS, vmm: { half } }, snapshot);
    return new KvmSession(recorder, half);
  }

  get #state(): Arm64ControlState {
    return this.recorder.machine.control.architecture as Arm64ControlState;
  }

  /** KVM_SET_GUEST_DEBUG. */
  setGuestDebug(debug: GuestDebug): void {
    this.#debug = debug;
  }

  /**
   * KVM_RUN of all vCPUs, each as if in a thread of its own: back with the first exit of any of them that reaches the
   * VMM, at most `units` units later. The exit of the last call is finished first, then `immediateExit` is looked at.
   * Throws KvmError: ENOEXEC before KVM_ARM_VCPU_INIT; EINTR for immediateExit, for the units, and where every vCPU would
   * block for ever.
   */
  run({ immediateExit = false, units = RUN_UNITS } = {}): KvmRun {
    const { machine } = this.recorder;
    for (let vcpu = 0; vcpu < this.vm.vcpuCount; vcpu++)
      if (!isInitialized(this.#state, vcpu))
        throw new KvmError({ errno: "ENOEXEC", call: KVM_RUN, reason: `vcpu${vcpu} has had no KVM_ARM_VCPU_INIT` });
    this.#finishPending(immediateExit);
    if (immediateExit) throw new KvmError({ errno: "EINTR", call: KVM_RUN, reason: "immediate_exit is set" });
    this.#checkNotStopped();
    return this.#describe(this.#step(machine.icount + (this.#debug.singleStep === true ? 1 : units)));
  }

  /** A vCPU that is stopped blocks in KVM_RUN until somebody starts it: here nobody is left to. */
  #checkNotStopped(): void {
    if (this.vm.vcpus.some((vcpu) => vcpu.getMpState() !== MpState.stopped)) return;
    throw new KvmError({ errno: "EINTR", call: KVM_RUN, reason: "every vCPU is stopped" });
  }

  /** `retires`: a load takes its data now, as in KVM, and not only when the guest goes on. */
  #finishPending(retires: boolean): void {
    const { machine } = this.recorder;
    const { exitNumber, icount } = machine;
    // Devices of one instruction leave one by one: behind one answer there may be the next exit.
    if (!machine.exitPending || exitNumber !== this.#told) return;
    const isLoad = this.#half.mmio?.isWrite === false;
    this.#once({ exitNumber, unitsAfter: 0, atExit: (at) => at.exitNumber > exitNumber });
    if (retires && isLoad && !machine.exitPending) this.#once({ icount: icount + 1, atExit: leavesForVmm });
  }

  #once(goal: NonNullable<Parameters<Recorder["step"]>[0]["goal"]>): StepResult {
    const result = this.recorder.step({ units: RUN_UNITS, goal });
    if (result instanceof Promise) throw new Error("a program around KVM_RUN answers at once");
    return result;
  }

  #step(icount: number): StepResult {
    const { recorder } = this;
    const { kernel } = recorder.machine;
    const { breakpoint } = this.#debug;
    // From the breakpoint on, at which the last run stopped.
    kernel.breakAt?.(undefined);
    if (breakpoint !== undefined && kernel.readRegister(kernel.currentVcpu ?? 0, "pc") === breakpoint)
      this.#settle(this.#once({ icount: kernel.icount + 1, atExit: leavesForVmm }));
    if (recorder.machine.exitPending) return { why: "goal" };
    kernel.breakAt?.(breakpoint);
    for (;;) {
      const result = this.#once({ icount, atExit: leavesForVmm });
      if (result.why !== "waiting") return this.#settle(result);
      if (result.wakeAtNs === undefined) {
        const reason = "every vCPU waits, and no timer is set";
        throw new KvmError({ errno: "EINTR", call: KVM_RUN, reason });
      }
      recorder.wake(result.wakeAtNs);
    }
  }

  /** An exit of the kernel half, at the last unit, is finished: it is part of its instruction. */
  #settle(result: StepResult): StepResult {
    const { machine } = this.recorder;
    if (!machine.exitPending || leavesForVmm(machine)) return result;
    return this.#once({ exitNumber: machine.exitNumber, unitsAfter: 0 });
  }

  #describe(result: StepResult): KvmRun {
    const { machine } = this.recorder;
    if (result.why === "stopped")
      return {
        exitReason: "INTERNAL_ERROR",
        vcpu: machine.kernel.currentVcpu ?? 0,
        exitNumber: 0,
        internal: { suberror: UNEXPECTED_EXIT_REASON, reason: result.stop.by },
      };
    if (!machine.exitPending) return this.#describeStop();
    const argsCount = Number(policyValue(this.#state, "arm.smccc.args"));
    const run = describeRun(this.vm, machine.kernel.exit, machine.exitNumber, argsCount);
    if (run.exitReason === "MMIO") this.#half.mmio = run.mmio;
    this.#told = machine.exitNumber;
    return run;
  }

  #describeStop(): KvmRun {
    const { kernel } = this.recorder.machine;
    const vcpu = kernel.currentVcpu ?? 0;
    const pc = kernel.readRegister(vcpu, "pc");
    const { singleStep = false, breakpoint } = this.#debug;
    if (!singleStep && pc !== breakpoint)
      throw new KvmError({ errno: "EINTR", call: KVM_RUN, reason: "the units are used up" });
    const hsr = singleStep ? HSR_STEP : HSR_BREAKPOINT;
    return { exitReason: "DEBUG", vcpu, exitNumber: 0, debug: { hsr, far: pc } };
  }
}

function leavesForVmm({ kernel }: Machine): boolean {
  return kernel.exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
}

const RUN_OPTIONS = { architecture: arm64, bare: true, interactive: true } as const;
