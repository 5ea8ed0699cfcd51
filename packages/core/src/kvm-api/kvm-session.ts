/**
 * A program around KVM_RUN, as the VMM half of a recorded VM: it makes the VM, sets it up by ioctls, runs it, answers the
 * exits, and each of its acts is an event. Without a board: what is at an address is for the program to say. What the
 * architecture adds is `ArchitectureApi`.
 */
import { type ExitFrame, ExitWord, FinishedBy } from "../event/exit-frame.js";
import { exitModelOf, type MachineDescription } from "../machine/machine-description.js";
import type { Machine } from "../machine/machine.js";
import type { Architecture, ExitModel } from "../ports/architecture.js";
import type { Digester } from "../ports/digester.js";
import type { JournalWriter } from "../ports/journal-store.js";
import type { VmmPort } from "../ports/vmm-half.js";
import { Recorder, type RecorderOptions, type StepResult } from "../record/recorder.js";
import { actingPort } from "./acting-port.js";
import { KvmError } from "./kvm-error.js";
import { ProgramHalf } from "./program-half.js";

const KVM_RUN = "KVM_RUN";
const RUN_UNITS = 2 ** 40;
const UNEXPECTED_EXIT_REASON = 4;

export interface VmOptions {
  readonly memoryBytes: number;
  readonly memoryBase?: number;
  readonly vcpuCount?: number;
  readonly cpuModel?: string;
  readonly seed?: bigint;
}

/** What a machine without a board is described as, for the header of its recording. */
export function describeBareMachine(
  { name }: Architecture,
  model: ExitModel,
  options: VmOptions & { readonly memoryBase: number; readonly cpuModel: string },
): MachineDescription {
  return {
    architecture: name,
    board: "none",
    cpuModel: options.cpuModel,
    vcpuCount: options.vcpuCount ?? 1,
    memoryBase: options.memoryBase,
    memoryBytes: options.memoryBytes,
    exitModel: exitModelOf(model),
    seed: options.seed ?? 0n,
    boardOptions: {},
  };
}

export type SessionOptions = Pick<RecorderOptions, "cadence" | "caches"> & {
  readonly digester: Digester;
  /** With a header whose machine is a bare one. */
  readonly writer: JournalWriter;
};

/** KVM_SET_GUEST_DEBUG; observing changes nothing, so none of it is an event. */
export interface GuestDebug {
  readonly singleStep?: boolean;
  /** One hardware breakpoint, by guest-virtual address. */
  readonly breakpoint?: bigint;
}

export interface RunBase {
  readonly vcpu: number;
  /** Number of the exit in the recording, from 1; 0 where none was made. */
  readonly exitNumber: number;
}

/** KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: the guest does what is not simulated; `reason` says what. */
export interface InternalErrorRun extends RunBase {
  readonly exitReason: "INTERNAL_ERROR";
  readonly internal: { readonly suberror: number; readonly reason: string };
}

/** An exit that the program is told of. */
export interface ToldExit<Run> {
  readonly run: Run;
  /** Hands over what the program has left in `run`. Absent: there is nothing. */
  readonly answer?: (port: VmmPort) => void;
  /** The instruction takes the answer when the guest goes on, and has retired one unit later. */
  readonly isRestarted?: boolean;
}

/** What an architecture's KVM has of its own. */
export interface ArchitectureApi<Vm, Run> {
  readonly architecture: Architecture;
  vmOf(port: VmmPort): Vm;
  /** What KVM_RUN looks at before it finishes the last exit. Throws KvmError. */
  checkRunnable(vm: Vm): void;
  /** Why no vCPU would enter guest mode; undefined: one does. Asked once the last exit is finished. */
  blockedBy(vm: Vm): string | undefined;
  /** The exit that waits for its answer. */
  describe(vm: Vm, frame: ExitFrame, exitNumber: number): ToldExit<Run>;
  /** KVM_EXIT_DEBUG, after `setGuestDebug`. */
  describeDebug(place: { readonly vcpu: number; readonly pc: bigint; readonly isStep: boolean }): Run;
}

export class GenericSession<Vm, Run> {
  readonly vm: Vm;
  readonly recorder: Recorder;
  readonly #api: ArchitectureApi<Vm, Run>;
  readonly #half: ProgramHalf;
  #debug: GuestDebug = {};
  /** Number of the exit that the program was told last, which it has answered when it runs again; and of what kind it is. */
  #told = 0;
  #toldRestarts = false;

  protected constructor(api: ArchitectureApi<Vm, Run>, recorder: Recorder, half: ProgramHalf) {
    this.#api = api;
    this.recorder = recorder;
    this.#half = half;
    this.vm = api.vmOf(actingPort(recorder));
  }

  /** KVM_SET_GUEST_DEBUG. */
  setGuestDebug(debug: GuestDebug): void {
    this.#debug = debug;
  }

  /**
   * KVM_RUN of all vCPUs, each as if in a thread of its own: back with the first exit of any of them that reaches the
   * VMM, at most `units` units later. The exit of the last call is finished first, then `immediateExit` is looked at.
   * Throws KvmError: what the architecture has for a vCPU that is not set up; EINTR for immediateExit, for the units, and
   * where every vCPU would block for ever.
   */
  run({ immediateExit = false, units = RUN_UNITS } = {}): Run | InternalErrorRun {
    const { machine } = this.recorder;
    this.#api.checkRunnable(this.vm);
    this.#finishPending(immediateExit);
    if (immediateExit) throw interrupted("immediate_exit is set");
    const blocked = this.#api.blockedBy(this.vm);
    if (blocked !== undefined) throw interrupted(blocked);
    return this.#describe(this.#step(machine.icount + (this.#debug.singleStep === true ? 1 : units)));
  }

  /** `retires`: an instruction takes its data now, as in KVM, and not only when the guest goes on. */
  #finishPending(retires: boolean): void {
    const { machine } = this.recorder;
    const { exitNumber, icount } = machine;
    // Devices of one instruction leave one by one: behind one answer there may be the next exit.
    if (!machine.exitPending || exitNumber !== this.#told) return;
    this.#once({ exitNumber, unitsAfter: 0, atExit: (at) => at.exitNumber > exitNumber });
    if (retires && this.#toldRestarts && !machine.exitPending) this.#once({ icount: icount + 1, atExit: leavesForVmm });
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
      if (result.wakeAtNs === undefined) throw interrupted("every vCPU waits, and no timer is set");
      recorder.wake(result.wakeAtNs);
    }
  }

  /** An exit of the kernel half, at the last unit, is finished: it is part of its instruction. */
  #settle(result: StepResult): StepResult {
    const { machine } = this.recorder;
    if (!machine.exitPending || leavesForVmm(machine)) return result;
    return this.#once({ exitNumber: machine.exitNumber, unitsAfter: 0 });
  }

  #describe(result: StepResult): Run | InternalErrorRun {
    const { machine } = this.recorder;
    if (result.why === "stopped")
      return {
        exitReason: "INTERNAL_ERROR",
        vcpu: machine.kernel.currentVcpu ?? 0,
        exitNumber: 0,
        internal: { suberror: UNEXPECTED_EXIT_REASON, reason: result.stop.by },
      };
    if (!machine.exitPending) return this.#describeStop();
    const { run, answer, isRestarted = false } = this.#api.describe(this.vm, machine.kernel.exit, machine.exitNumber);
    this.#half.answer = answer;
    this.#told = machine.exitNumber;
    this.#toldRestarts = isRestarted;
    return run;
  }

  #describeStop(): Run {
    const { kernel } = this.recorder.machine;
    const vcpu = kernel.currentVcpu ?? 0;
    const pc = kernel.readRegister(vcpu, "pc");
    const { singleStep = false, breakpoint } = this.#debug;
    if (!singleStep && pc !== breakpoint) throw interrupted("the units are used up");
    return this.#api.describeDebug({ vcpu, pc, isStep: singleStep });
  }
}

function interrupted(reason: string): KvmError {
  return new KvmError({ errno: "EINTR", call: KVM_RUN, reason });
}

function leavesForVmm({ kernel }: Machine): boolean {
  return kernel.exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
}

/** A new VM without a board, and the half through which a program answers. */
export function createRecorder(
  architecture: Architecture,
  options: SessionOptions & Pick<RecorderOptions, "beforeVcpus">,
): { readonly recorder: Recorder; readonly half: ProgramHalf } {
  const half = new ProgramHalf();
  return { half, recorder: Recorder.create({ ...options, ...runOptions(architecture), vmm: { half } }) };
}

/** Goes on with a VM that another program has left, from a full snapshot. */
export function resumeRecorder(
  architecture: Architecture,
  options: SessionOptions,
  snapshot: Parameters<typeof Recorder.resume>[1],
): { readonly recorder: Recorder; readonly half: ProgramHalf } {
  const half = new ProgramHalf();
  return { half, recorder: Recorder.resume({ ...options, ...runOptions(architecture), vmm: { half } }, snapshot) };
}

function runOptions(architecture: Architecture): Pick<RecorderOptions, "architecture" | "bare" | "interactive"> {
  return { architecture, bare: true, interactive: true };
}
