/** The parts of one VM's kernel half, and the time they share. */
import {
  type CodePatch,
  Eventfds,
  type Entropy,
  type EntropyStream,
  type ExitModel,
  GUEST_NANOSECONDS_PER_UNIT,
} from "@hvjournal/core";
import type { Engine } from "@hvjournal/engine";
import { nmiPending, taskPriority } from "../isa/state.js";
import { CAP_EXIT_HYPERCALL } from "./capabilities.js";
import { capabilityArgument } from "./control/control-state.js";
import { type Amd64ControlState, amd64ControlSlice } from "./control-slice.js";
import { type HostVendor, type ReasonOf, reasonsOf, vendorOf } from "./exit-model.js";
import { hostModelOf } from "./host-model.js";
import { HypervRegisters } from "./hyperv/registers.js";
import { Irqchip } from "./irqchip/irqchip.js";
import { MTRR_NUMBERS } from "./mtrr-numbers.js";
import { offerEnd, withdrawEnd } from "./paravirtual-eoi.js";
import { Paravirtual } from "./paravirtual-registers.js";
import { isOn, MpState, Schedule } from "./schedule.js";
import { StolenTime } from "./stolen-time.js";
import { TimeStampCounter } from "./time-stamp-counter.js";
import { VcpuStates } from "./vcpu-state.js";

export interface VmOptions {
  readonly vcpuCount: number;
  readonly entropy: Entropy;
  readonly exitModel: ExitModel;
  /** Wall-clock time at guest time 0, in nanoseconds since 1970. */
  readonly wallClockBaseNs: bigint;
}

/** Of KVM_CAP_EXIT_HYPERCALL's argument: the bit of call 12. */
const MAP_GPA_RANGE = 1n << 12n;

export class Vm {
  readonly vcpuCount: number;
  readonly engine: Engine;
  readonly states: VcpuStates;
  readonly irqchip: Irqchip;
  readonly schedule: Schedule;
  readonly timeStamps: readonly TimeStampCounter[];
  /** By vCPU, in the order of `MTRR_NUMBERS`. */
  readonly mtrrs: readonly bigint[][];
  readonly stolenTime: StolenTime;
  readonly paravirtual: Paravirtual;
  readonly hyperv: HypervRegisters;
  readonly #exitModel: ExitModel;
  readonly #random: readonly EntropyStream[];
  readonly #wallClockBaseNs: bigint;
  #control: Amd64ControlState = amd64ControlSlice.initialState();
  #hostVendor: HostVendor;
  #reasons: ReasonOf;
  #wantsMapGpaRange = false;
  /** Units on the VM as a whole. */
  icount = 0;
  /** Idle time that was skipped, in nanoseconds. */
  skippedNs = 0;
  hasRun = false;
  readonly eventfds = new Eventfds();
  /** Which of them the exit that is being finished has signalled. */
  signalledEventfd: number | undefined;
  /** What the exit that is being finished wrote over. */
  codePatch: CodePatch | undefined;
  /** By how much KVM_SET_CLOCK has moved KVM's clock from guest time. */
  clockOffsetNs = 0;
  /** What the VMM has given back in XMM registers for the exit that is pending, by word: twice the register, and 1 for its upper half. */
  readonly hypervOutput: Map<number, bigint> = new Map();
  /** The VMM has answered the MSR exit that is pending with an error. */
  msrError = false;
  /** The guest can't go on; says why. */
  stuckReason: string | undefined;

  constructor(engine: Engine, options: VmOptions) {
    const { vcpuCount, entropy, exitModel } = options;
    this.vcpuCount = vcpuCount;
    this.engine = engine;
    this.states = new VcpuStates(engine, vcpuCount);
    this.schedule = new Schedule(vcpuCount, entropy.stream("schedule"));
    this.timeStamps = Array.from({ length: vcpuCount }, () => new TimeStampCounter());
    this.mtrrs = Array.from({ length: vcpuCount }, () => MTRR_NUMBERS.map(() => 0n));
    this.stolenTime = new StolenTime(vcpuCount);
    this.paravirtual = new Paravirtual(vcpuCount);
    this.hyperv = new HypervRegisters(vcpuCount);
    this.#exitModel = exitModel;
    this.#hostVendor = vendorOf(exitModel);
    this.#reasons = reasonsOf(exitModel, this.#hostVendor);
    this.#random = Array.from({ length: vcpuCount }, (_, vcpu) => entropy.stream(`rdrand${vcpu}`));
    this.#wallClockBaseNs = options.wallClockBaseNs;
    this.irqchip = new Irqchip(vcpuCount, {
      now: () => this.guestTimeNs,
      timeStampOf: (vcpu) => this.timeStampOf(vcpu),
      raiseNmi: (vcpu) => {
        this.raiseNmi(vcpu);
      },
      initialize: (vcpu) => {
        this.initialize(vcpu);
      },
      startUp: (vcpu, page) => {
        this.startUp(vcpu, page);
      },
      offerEnd: (vcpu) => offerEnd(engine.memory, this.paravirtual.of(vcpu).eoiEnable),
      withdrawEnd: (vcpu) => withdrawEnd(engine.memory, this.paravirtual.of(vcpu).eoiEnable),
    });
  }

  get guestTimeNs(): number {
    return this.icount * GUEST_NANOSECONDS_PER_UNIT + this.skippedNs;
  }

  /** KVM_GET_CLOCK, in nanoseconds. */
  get clockNs(): number {
    return this.guestTimeNs + this.clockOffsetNs;
  }

  get wallClockNs(): bigint {
    return this.#wallClockBaseNs + BigInt(this.guestTimeNs);
  }

  get current(): number {
    return this.schedule.current;
  }

  get control(): Amd64ControlState {
    return this.#control;
  }

  set control(state: Amd64ControlState) {
    this.#control = state;
    this.#hostVendor = state.host === undefined ? vendorOf(this.#exitModel) : hostModelOf(state.host).vendor;
    this.#reasons = reasonsOf(this.#exitModel, this.#hostVendor);
    this.#wantsMapGpaRange = ((capabilityArgument(state, CAP_EXIT_HYPERCALL) ?? 0n) & MAP_GPA_RANGE) !== 0n;
    this.states.leavesForMsrs = state.msrFilter !== undefined;
  }

  /** Of the host that the VM is on now. */
  get hostVendor(): HostVendor {
    return this.#hostVendor;
  }

  /** Rows of the exit model, as this host's CPUs leave. */
  get reasons(): ReasonOf {
    return this.#reasons;
  }

  /** KVM_CAP_EXIT_HYPERCALL for KVM_HC_MAP_GPA_RANGE. */
  get wantsMapGpaRange(): boolean {
    return this.#wantsMapGpaRange;
  }

  timeStampOf(vcpu: number): TimeStampCounter {
    const found = this.timeStamps[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpuCount}`);
    return found;
  }

  mtrrsOf(vcpu: number): bigint[] {
    const found = this.mtrrs[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpuCount}`);
    return found;
  }

  /** The current vCPU's counter was written: a deadline of its timer is a value of it. */
  timeStampChanged(): void {
    const { timer } = this.irqchip.apicOf(this.current);
    timer.followCounter(this.timeStampOf(this.current), this.guestTimeNs);
  }

  /** RDRAND and RDSEED of the current vCPU. */
  random(): bigint {
    return this.#random[this.current]?.next() ?? 0n;
  }

  /** The current vCPU's instruction at RIP is over: one unit, and on to the next. */
  retireInstruction(next: bigint): void {
    this.states.finishInstruction(next);
    this.countUnits(1);
  }

  countUnits(units: number): void {
    this.icount += units;
    this.schedule.spend(units);
  }

  signal(fd: number): void {
    this.eventfds.signal(fd);
    this.signalledEventfd = fd;
  }

  takeMsrError(): boolean {
    const { msrError } = this;
    this.msrError = false;
    return msrError;
  }

  // Interrupts

  /** Whether an interrupt would wake the vCPU from HLT, or a kick: of which KVM can't tell one that waits in guest mode. */
  isSignalled(vcpu: number): boolean {
    const { isUnhalted, isHaltedInGuest } = this.schedule.of(vcpu);
    return (isUnhalted && !isHaltedInGuest) || this.hasInterrupt(vcpu);
  }

  /** Whether an interrupt waits that the vCPU would take. */
  hasInterrupt(vcpu: number): boolean {
    if (this.irqchip.pending(vcpu) === undefined) return false;
    return this.states.with(vcpu, () => this.states.interruptsEnabled);
  }

  /** Whether a vCPU that waits could be woken at all. */
  canBeWoken(vcpu: number): boolean {
    return isOn(this.schedule.of(vcpu)) && this.states.with(vcpu, () => this.states.interruptsEnabled);
  }

  // CR8 is bits 7 to 4 of the local APIC's task priority, and the CPU's own copy of them

  /** CR8 was written by the current vCPU. */
  takeTaskPriority(): void {
    this.irqchip.apicOf(this.current).taskPriority = this.engine.readWord(taskPriority.offset) << 4;
  }

  /** The current vCPU may have written its local APIC. */
  showTaskPriority(): void {
    this.engine.writeWord(taskPriority.offset, this.irqchip.apicOf(this.current).taskPriority >> 4);
  }

  /** Registers of a vCPU were written from outside. */
  taskPriorityWritten(vcpu: number): void {
    const apic = this.irqchip.apicOf(vcpu);
    const value = this.states.with(vcpu, () => this.engine.readWord(taskPriority.offset));
    if (apic.taskPriority >> 4 !== value) apic.taskPriority = value << 4;
  }

  /** It ends a HLT too. */
  raiseNmi(vcpu: number): void {
    this.states.with(vcpu, () => {
      this.engine.writeWord(nmiPending.offset, 1);
    });
    const state = this.schedule.of(vcpu);
    state.isHaltedInGuest = false;
    if (state.mpState === MpState.halted) state.mpState = MpState.runnable;
  }

  /** KVM_SET_MP_STATE. Throws RangeError for a state that x86 does not have. */
  setMpState(vcpu: number, state: number): void {
    if (!Object.values(MpState).some((each) => each === state)) throw new RangeError(`mp_state ${state}`);
    // As KVM: what had its SIPI waits for it to be told anew.
    this.schedule.of(vcpu).mpState = state === MpState.sipiReceived ? MpState.initReceived : state;
  }

  // INIT and SIPI: Intel SDM volume 3, 9.4

  initialize(vcpu: number): void {
    this.states.initialize(vcpu);
    this.irqchip.reset(vcpu);
    this.paravirtual.of(vcpu).eoiEnable = 0n;
    const state = this.schedule.of(vcpu);
    state.mpState = vcpu === 0 ? MpState.runnable : MpState.initReceived;
    state.isHaltedInGuest = false;
  }

  /** Ignored by a vCPU that has not had an INIT. */
  startUp(vcpu: number, page: number): void {
    const state = this.schedule.of(vcpu);
    if (state.mpState !== MpState.initReceived && state.mpState !== MpState.uninitialized) return;
    this.states.startUp(vcpu, page);
    state.mpState = MpState.runnable;
  }
}
