/** The parts of one VM's kernel half, and the time they share. */
import { type Entropy, type EntropyStream, Eventfds, GUEST_NANOSECONDS_PER_UNIT } from "@hvjournal/core";
import type { Engine } from "@hvjournal/engine";
import { finishInstruction } from "../isa/exceptions.js";
import { pc, softwareStep, trapPassed } from "../isa/state.js";
import { type Arm64ControlState, arm64ControlSlice } from "./control-slice.js";
import { type GicAddresses, Gicv3 } from "./gicv3/gicv3.js";
import { MpState } from "./control/vcpu-part.js";
import { Schedule } from "./schedule.js";
import { StolenTime } from "./stolen-time.js";
import {
  counterAt,
  PHYSICAL_TIMER_INTID,
  TIMER_KINDS,
  type TimerKind,
  VcpuTimers,
  VIRTUAL_TIMER_INTID,
} from "./timers.js";
import { VcpuStates } from "./vcpu-state.js";

const TIMER_INTID: Readonly<Record<TimerKind, number>> = {
  virtual: VIRTUAL_TIMER_INTID,
  physical: PHYSICAL_TIMER_INTID,
};
/** PPI lines that follow from the timers. */
export const TIMER_LINES: number = (1 << VIRTUAL_TIMER_INTID) | (1 << PHYSICAL_TIMER_INTID);

export interface VmOptions {
  readonly vcpuCount: number;
  readonly entropy: Entropy;
  readonly gic: GicAddresses;
  /** Wall-clock time at guest time 0, in nanoseconds since 1970. */
  readonly wallClockBaseNs: bigint;
}

export class Vm {
  readonly vcpuCount: number;
  readonly engine: Engine;
  readonly states: VcpuStates;
  readonly gic: Gicv3;
  readonly timers: readonly VcpuTimers[];
  readonly schedule: Schedule;
  readonly stolenTime: StolenTime;
  readonly #trng: EntropyStream;
  readonly #wallClockBaseNs: bigint;
  control: Arm64ControlState = arm64ControlSlice.initialState();
  /** Units on the VM as a whole. */
  icount = 0;
  /** Idle time that was skipped, in nanoseconds. */
  skippedNs = 0;
  hasRun = false;
  readonly eventfds = new Eventfds();
  /** The guest can't go on; says why. */
  stuckReason: string | undefined;

  constructor(engine: Engine, options: VmOptions) {
    this.vcpuCount = options.vcpuCount;
    this.engine = engine;
    this.states = new VcpuStates(engine, options.vcpuCount);
    this.gic = new Gicv3(options.vcpuCount, options.gic);
    this.timers = Array.from({ length: options.vcpuCount }, () => new VcpuTimers());
    this.schedule = new Schedule(options.vcpuCount, options.entropy.stream("schedule"));
    this.stolenTime = new StolenTime(options.vcpuCount);
    this.#trng = options.entropy.stream("trng");
    this.#wallClockBaseNs = options.wallClockBaseNs;
  }

  get guestTimeNs(): number {
    return this.icount * GUEST_NANOSECONDS_PER_UNIT + this.skippedNs;
  }

  get counter(): number {
    return counterAt(this.guestTimeNs);
  }

  get wallClockNs(): bigint {
    return this.#wallClockBaseNs + BigInt(this.guestTimeNs);
  }

  get current(): number {
    return this.schedule.current;
  }

  entropy(): bigint {
    return this.#trng.next();
  }

  timersOf(vcpu: number): VcpuTimers {
    const found = this.timers[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpuCount}`);
    return found;
  }

  /** The current vCPU's instruction at pc is over: one unit, and on to the next. */
  retireInstruction(): void {
    const { engine } = this;
    // What `finishInstruction` ends beside the instruction is hardly ever there.
    if (engine.readWord(trapPassed.offset) === 0 && engine.readWord(softwareStep.offset) === 0) this.states.stepPc();
    else engine.callRoutine(finishInstruction);
    this.countUnits(1);
  }

  countUnits(units: number): void {
    this.icount += units;
    this.schedule.spend(units);
  }

  // Interrupts

  /** Puts the timers' outputs, as they are now, on their lines. */
  refreshTimerLines(vcpu: number, counter: number = this.counter): void {
    const { virtual, physical } = this.timersOf(vcpu);
    const bank = this.gic.interrupts.privateBank(vcpu);
    bank.setLine(VIRTUAL_TIMER_INTID, virtual.level(counter));
    bank.setLine(PHYSICAL_TIMER_INTID, physical.level(counter));
  }

  refreshAllTimerLines(): void {
    for (let vcpu = 0; vcpu < this.vcpuCount; vcpu++) this.refreshTimerLines(vcpu);
  }

  /** Whether an interrupt would wake the vCPU from WFI. */
  isSignalled(vcpu: number): boolean {
    this.refreshTimerLines(vcpu);
    return this.gic.interrupts.signalled(vcpu) !== undefined;
  }

  /** Whether an interrupt could ever be signalled to a vCPU by something other than what it does itself. */
  canBeInterrupted(vcpu: number): boolean {
    let lines = 0;
    for (const kind of TIMER_KINDS) if (this.timersOf(vcpu).of(kind).canRise) lines |= 1 << TIMER_INTID[kind];
    return this.gic.interrupts.canSignal(vcpu, lines);
  }

  /** Takes note of the timers' outputs; true: one has risen since the last look. */
  takeTimerRise(vcpu: number, counter: number = this.counter): boolean {
    const { virtual, physical } = this.timersOf(vcpu);
    const virtualRose = virtual.takeRise(counter);
    return physical.takeRise(counter) || virtualRose;
  }

  /** The guest deactivated an interrupt: a timer whose output is still high interrupts the host anew. */
  noteDeactivated(vcpu: number, intid: number): void {
    for (const kind of TIMER_KINDS) if (TIMER_INTID[kind] === intid) this.timersOf(vcpu).of(kind).seenLevel = 0;
  }

  // Power

  powerOn(vcpu: number, entry: bigint, context: bigint): void {
    this.states.reset(vcpu);
    this.states.with(vcpu, () => {
      this.engine.writeField(pc, entry);
      this.states.writeX(0, context);
    });
    for (const kind of TIMER_KINDS) this.timersOf(vcpu).of(kind).control = 0;
    const state = this.schedule.of(vcpu);
    state.isOn = true;
    state.isWaiting = false;
    state.isSuspended = false;
  }

  powerOff(vcpu: number): void {
    const state = this.schedule.of(vcpu);
    state.isOn = false;
    state.isSuspended = false;
  }

  /** KVM_ARM_VCPU_INIT: as after power-on, but for where it goes on, which the VMM says. */
  initialize(vcpu: number, isOn: boolean): void {
    this.powerOn(vcpu, 0n, 0n);
    if (!isOn) this.powerOff(vcpu);
  }

  /** KVM_SET_MP_STATE; `state` is one of `MpState`. */
  setMpState(vcpu: number, state: number): void {
    if (state === MpState.stopped) return this.powerOff(vcpu);
    const run = this.schedule.of(vcpu);
    // A vCPU that was stopped in WFI is behind it.
    if (!run.isOn) run.isWaiting = false;
    run.isOn = true;
    run.isSuspended = state === MpState.suspended;
  }

  powerOffAll(): void {
    for (let vcpu = 0; vcpu < this.vcpuCount; vcpu++) this.powerOff(vcpu);
  }
}
