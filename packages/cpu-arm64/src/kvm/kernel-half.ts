/** The kernel half of an arm64 VM: the run loop between guest mode and the exits. */
import {
  eventfdOfExit,
  type ControlEvent,
  type ExitFrame,
  ExitWord,
  frameU64,
  type GuestMemory,
  isEnabled,
  type KernelHalf,
  KvmExit,
  FinishedBy,
  type RegisterName,
  type RunStop,
  type StateSection,
  type WatchReport,
} from "@hvjournal/core";
import { EngineExit } from "@hvjournal/engine";
import { ExitCode } from "../isa/exit-code.js";
import { eventRegister } from "../isa/state.js";
import { applyControlEvent, mpStateOf } from "./control-effects.js";
import type { Arm64ControlState } from "./control-slice.js";
import { CAP_ARM_NISV_TO_USER } from "./capabilities.js";
import { pvTimeIpaOf } from "./control/control-state.js";
import { dataAbortSyndrome } from "./data-abort-syndrome.js";
import {
  beginExitFrame,
  type ExitDescription,
  fillExitFrame,
  leaveToVmm,
  MMIO_WRITE,
  newExitFrame,
} from "./exit-frames.js";
import { EsrClass, Reason } from "./exit-model.js";
import { answerInVector, fillHypercallExit, finishHypercall } from "./hypercalls.js";
import { backtrace, type DisassembledInstruction, disassemble, instructionAt, translateVirtual } from "./inspection.js";
import { MP_STATE, readNamedRegister, registerAliases, registerNames, writeNamedRegister } from "./named-registers.js";
import { restoreSections, type RunState, saveSections } from "./saved-state.js";
import { SystemEvent } from "./smccc/call.js";
import {
  finishRegisterExit,
  refuseUnsimulated,
  registerExit,
  serviceValue,
  setTimerRegister,
} from "./system-register-exits.js";
import { isReady } from "./schedule.js";
import { findStuck } from "./stuck.js";
import { unitsUntil } from "./timers.js";
import { undoWriteBack } from "./write-back.js";
import type { Vm } from "./vm.js";

/** Budgets of the engine are 32-bit numbers. */
const BUDGET_MAX = 0x3fff_ffff;
/** Whether the guest is stuck is looked at whenever icount is a multiple of this. */
const STUCK_CHECK_UNITS = 2 ** 20;
/** ISS of EC 0x01: CV, COND always; TI says WFE. */
const WFX_ISS = 0x1e0_0000;
const WFX_WFE = 1;
const IL = 1 << 25;
/** ESR_ELx.ISS.ISV of a data abort. */
const ISV = 1 << 24;
const ISS_MASK = 0x1ff_ffff;

export class Arm64KernelHalf implements KernelHalf {
  readonly #vm: Vm;
  readonly #run: RunState = {
    exitPending: false,
    exit: newExitFrame(),
    deviceWriteWaiting: false,
    isKicked: false,
    enteredAt: 0,
  };
  readonly registers: readonly RegisterName[] = registerNames;
  readonly registerAliases: readonly string[] = registerAliases;
  nextFrame: ExitFrame | undefined;
  readonly #ownFrame: ExitFrame = newExitFrame();
  readonly #answer = new Uint32Array(2);
  hasFurtherResults = false;
  signalledEventfd: number | undefined;
  watchReport: WatchReport | undefined;
  /** A watched write of an instruction that is yet to finish its device writes; reported once it retires. */
  #heldReport: WatchReport | undefined;
  #reportIsDue = false;
  #breakPc: bigint | undefined;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  get memory(): GuestMemory {
    return this.#vm.engine.memory;
  }

  get icount(): number {
    return this.#vm.icount;
  }

  get guestTimeNs(): number {
    return this.#vm.guestTimeNs;
  }

  get hasRun(): boolean {
    return this.#vm.hasRun;
  }

  get exit(): ExitFrame {
    return this.#run.exit;
  }

  get exitPending(): boolean {
    return this.#run.exitPending;
  }

  get stuckReason(): string | undefined {
    return this.#vm.stuckReason;
  }

  get canBeWoken(): boolean {
    const vm = this.#vm;
    return vm.schedule.vcpus.some(({ isOn }, vcpu) => isOn && vm.canBeInterrupted(vcpu));
  }

  get currentVcpu(): number {
    return this.#vm.current;
  }

  /** The first moment at which a timer of a waiting vCPU expires. */
  get idleDeadlineNs(): number | undefined {
    const { counter, schedule, timers } = this.#vm;
    let first: number | undefined;
    for (let vcpu = 0; vcpu < timers.length; vcpu++) {
      const deadline = schedule.of(vcpu).isOn ? timers[vcpu]?.deadlineNs(counter) : undefined;
      if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    }
    return first;
  }

  // Running

  run(limit: number): RunStop {
    if (this.#run.exitPending) throw new Error("run while an exit is pending");
    const vm = this.#vm;
    for (;;) {
      if (this.#reportIsDue) {
        this.#reportIsDue = false;
        return "watch";
      }
      if (vm.stuckReason !== undefined) return "stuck";
      // Here and not where the engine says so: what the kernel half retires itself ends at a boundary too.
      if (this.#breakPc !== undefined && vm.states.pc === this.#breakPc) return "breakpoint";
      if (vm.icount >= limit) return "limit";
      const stop = this.#prepareEntry() ?? this.#enterGuest(limit);
      if (stop !== undefined) return stop;
    }
  }

  /** What happens before guest mode is entered: who runs, and with which interrupts. */
  #prepareEntry(): RunStop | undefined {
    const vm = this.#vm;
    const run = this.#run;
    if (run.deviceWriteWaiting) {
      run.deviceWriteWaiting = false;
      this.#fillMmioExit(true, instructionAt(vm.states, vm.states.pc));
      return this.#left();
    }
    if (!vm.schedule.mayGoOn && !vm.engine.restartPending) {
      const stop = this.#choose();
      if (stop !== undefined) return stop;
    }
    const { current, counter } = vm;
    const rose = vm.takeTimerRise(current, counter);
    if (rose || run.isKicked) {
      run.isKicked = false;
      // ARM_EXCEPTION_IRQ leaves no syndrome.
      return this.#leave({ reason: Reason.irq, vcpu: current, pc: vm.states.pc, syndrome: 0 });
    }
    vm.refreshTimerLines(current, counter);
    const group = vm.gic.interrupts.signalled(current);
    vm.states.signalInterrupts(group === 1, group === 0);
    return undefined;
  }

  #choose(): RunStop | undefined {
    const vm = this.#vm;
    const before = vm.current;
    const wasReady = isReady(vm.schedule.currentState);
    const next = vm.schedule.next((vcpu) => vm.isSignalled(vcpu));
    if (next === undefined) {
      if (!vm.schedule.allOff) return "idle";
      vm.stuckReason = "every vCPU is powered off";
      return "stuck";
    }
    // Another vCPU runs: the global monitor may be gone when this one runs again.
    if (next !== before) vm.states.clearExclusiveMonitor();
    if (next !== before && wasReady) vm.stolenTime.preempted(before, vm.guestTimeNs);
    if (vm.schedule.of(next).isSuspended) return this.#wakeUp(next);
    const entersAnew = next !== before || vm.schedule.currentState.isWaiting;
    vm.schedule.begin(next);
    vm.engine.selectVcpu(next);
    if (next !== before) this.#tellStolenTime();
    if (entersAnew) this.#entered();
    return undefined;
  }

  /** As kvm_vcpu_suspend: the VMM is told that there is an interrupt, as often as it lets the vCPU stay suspended. */
  #wakeUp(vcpu: number): "exit" {
    const vm = this.#vm;
    vm.schedule.current = vcpu;
    vm.engine.selectVcpu(vcpu);
    return this.#leave({
      reason: Reason.suspend,
      vcpu,
      pc: vm.states.pc,
      syndrome: 0,
      kvmExit: KvmExit.systemEvent,
      info: SystemEvent.wakeup,
    });
  }

  #tellStolenTime(): void {
    const vm = this.#vm;
    vm.stolenTime.entered(vm.current, vm.guestTimeNs);
    const ipa = pvTimeIpaOf(vm.control, vm.current);
    if (ipa !== undefined) vm.stolenTime.writeStolen(vm.engine.memory, vm.current, ipa);
  }

  /** The current vCPU was outside guest mode. What rose meanwhile is injected at entry, without an exit. */
  #entered(): void {
    const vm = this.#vm;
    vm.takeTimerRise(vm.current);
    this.#run.enteredAt = vm.icount;
    this.#run.isKicked = false;
  }

  /** Units until something but the guest itself needs attention. */
  #budget(limit: number): number {
    const vm = this.#vm;
    const untilCheck = STUCK_CHECK_UNITS - (vm.icount % STUCK_CHECK_UNITS);
    let budget = Math.min(limit - vm.icount, BUDGET_MAX, untilCheck);
    const deadline = vm.timersOf(vm.current).deadlineNs(vm.counter);
    if (deadline !== undefined) budget = Math.min(budget, unitsUntil(deadline, vm.icount, vm.skippedNs));
    // An instruction that starts again with device data is finished first, whatever is left of the slice.
    if (vm.schedule.hasSlices) budget = Math.min(budget, Math.max(1, vm.schedule.sliceLeft));
    return budget;
  }

  #enterGuest(limit: number): RunStop | undefined {
    const vm = this.#vm;
    vm.hasRun = true;
    if (vm.icount > 0 && vm.icount % STUCK_CHECK_UNITS === 0) vm.stuckReason = findStuck(vm);
    if (vm.stuckReason !== undefined) return "stuck";
    const budget = this.#budget(limit);
    // What devices and debuggers wrote meanwhile is not the guest's doing.
    vm.engine.memory.watchHit = undefined;
    const code = vm.engine.run(budget, this.#breakPc);
    vm.countUnits(budget - vm.engine.unitsLeft);
    return this.#handleExitCode(code);
  }

  #handleExitCode(code: number): RunStop | undefined {
    const vm = this.#vm;
    const { engine } = vm;
    switch (code) {
      case EngineExit.budget:
      case EngineExit.breakpoint:
        return undefined;
      case EngineExit.mmioRead:
        return this.#leaveForAccess(false);
      case EngineExit.mmioWrite:
        this.#holdWatch();
        return this.#leaveForAccess(true);
      case EngineExit.watch:
        return this.#reportWatch();
      case ExitCode.systemRegister: {
        const exit = registerExit(vm, engine.exitWord(0), engine.exitWord(2), engine.exitWord(3));
        return exit === undefined ? undefined : this.#leave(exit);
      }
      case ExitCode.hypervisorCall:
        return answerInVector(vm) ? undefined : this.#leaveForCall(false, engine.exitWord(0));
      case ExitCode.secureMonitorCall: {
        const immediate = engine.exitWord(0);
        // KVM steps over an SMC before it looks at it.
        vm.retireInstruction();
        return this.#leaveForCall(true, immediate);
      }
      case ExitCode.waitForInterrupt:
        return this.#leave(this.#waitExit(0));
      case ExitCode.waitForEvent:
        return this.#leave(this.#waitExit(WFX_WFE));
      case ExitCode.yield:
        vm.schedule.endSlice();
        return undefined;
      case ExitCode.sendEvent:
        this.#sendEvent();
        return undefined;
      case ExitCode.notSimulated:
        refuseUnsimulated(vm, engine.exitWord(0), engine.exitOperand(1));
        return "stuck";
      default:
        throw new Error(`the engine left with exit code ${code}, which arm64 does not have`);
    }
  }

  /** Its own where none was given: where the last exit stood is a row of somebody's journal. */
  #beginFrame(): ExitFrame {
    const run = this.#run;
    run.exit = this.nextFrame ?? this.#ownFrame;
    this.nextFrame = undefined;
    return run.exit;
  }

  #leave(exit: ExitDescription): "exit" {
    fillExitFrame(this.#beginFrame(), exit);
    return this.#left();
  }

  #left(): "exit" {
    this.#run.exitPending = true;
    return "exit";
  }

  #leaveForCall(isSmc: boolean, immediate: number): "exit" {
    fillHypercallExit(this.#beginFrame(), this.#vm, isSmc, immediate);
    return this.#left();
  }

  #waitExit(instruction: number): ExitDescription {
    const syndrome = ((EsrClass.wfx << 26) | IL | WFX_ISS | instruction) >>> 0;
    return { reason: Reason.wfx, vcpu: this.#vm.current, pc: this.#vm.states.pc, syndrome };
  }

  /** `encoding` is the instruction's, if it could be read. */
  #fillMmioExit(isWrite: boolean, encoding: number | undefined): void {
    const vm = this.#vm;
    const { engine } = vm;
    const frame = this.#beginFrame();
    const bytes = engine.mmioBytes;
    beginExitFrame(frame, Reason.dabtLow, vm.current, dataAbortSyndrome(encoding, isWrite));
    vm.states.copyPc(frame, ExitWord.pcLow);
    frame[ExitWord.info] = bytes | (isWrite ? MMIO_WRITE : 0);
    frame[ExitWord.arg0Low] = engine.mmioAddressLow;
    frame[ExitWord.arg0High] = engine.mmioAddressHigh;
    if (isWrite) {
      frame[ExitWord.arg1Low] = engine.mmioDataLow;
      frame[ExitWord.arg1High] = engine.mmioDataHigh;
    }
    if (vm.gic.contains(engine.mmioAddress, bytes)) return;
    if (eventfdOfExit(vm.control, "mmio", frame) === undefined) leaveToVmm(frame, KvmExit.mmio);
  }

  /**
   * With KVM_CAP_ARM_NISV_TO_USER an access that the syndrome does not describe is the VMM's to carry out, whole: nothing of
   * it has happened, and pc stays at it. A GIC frame is no exception. (Documentation/virt/kvm/api.rst, 7.22.)
   */
  #leaveForAccess(isWrite: boolean): "exit" {
    const vm = this.#vm;
    this.#fillMmioExit(isWrite, vm.engine.fetchedWord() ?? instructionAt(vm.states, vm.states.pc));
    const frame = this.#run.exit;
    const syndrome = frame[ExitWord.syndromeLow] ?? 0;
    if ((syndrome & ISV) !== 0 || !isEnabled(vm.control, CAP_ARM_NISV_TO_USER)) return this.#left();
    if (isWrite && !undoWriteBack(vm.states)) return this.#left();
    vm.engine.abandonAccess();
    leaveToVmm(frame, KvmExit.armNisv);
    frame[ExitWord.arg1Low] = syndrome & ISS_MASK;
    frame[ExitWord.arg1High] = 0;
    return this.#left();
  }

  #reportWatch(): RunStop {
    const report = this.#vm.engine.watchReport;
    if (report === undefined) throw new Error("the engine stopped for a watch and does not say why");
    this.watchReport = { vcpu: this.#vm.current, ...report };
    return "watch";
  }

  #holdWatch(): void {
    const { memory } = this.#vm.engine;
    const hit = memory.watchHit;
    memory.watchHit = undefined;
    if (hit !== undefined) this.#heldReport = { vcpu: this.#vm.current, pc: this.#vm.states.pc, ...hit };
  }

  /** SEV sets the event register of every vCPU; the current one's is set already. */
  #sendEvent(): void {
    const vm = this.#vm;
    for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
      vm.states.with(vcpu, () => {
        vm.engine.writeWord(eventRegister.offset, 1);
      });
    }
  }

  // Answering

  finishExit(): boolean {
    const vm = this.#vm;
    const frame = this.#pendingExit(FinishedBy.kernelHalf);
    this.hasFurtherResults = false;
    this.signalledEventfd = undefined;
    const hasResult = this.#finish(frame);
    if (!hasResult) this.#answer.fill(0);
    this.#run.exitPending = false;
    this.#entered();
    vm.engine.selectVcpu(vm.current);
    return hasResult;
  }

  get answerLow(): number {
    return this.#answer[0] ?? 0;
  }

  get answerHigh(): number {
    return this.#answer[1] ?? 0;
  }

  /** True: the result stands in `#answer`. */
  #finish(frame: ExitFrame): boolean {
    const vm = this.#vm;
    switch (frame[ExitWord.reason]) {
      case Reason.wfx:
        this.#finishWait(((frame[ExitWord.syndromeLow] ?? 0) & WFX_WFE) !== 0);
        return false;
      case Reason.hvc64:
      case Reason.smc64:
        this.hasFurtherResults = finishHypercall(vm, frame);
        vm.states.copyX(0, this.#answer, 0);
        return true;
      case Reason.sys64: {
        const register = finishRegisterExit(vm, frame);
        if (register < 0) return false;
        vm.states.copyX(register, this.#answer, 0);
        return true;
      }
      case Reason.dabtLow:
        return this.#finishGicAccess(frame);
      default:
        return false;
    }
  }

  /** WFE has been let go on at once; the rest of the slice goes to others. */
  #finishWait(isEvent: boolean): void {
    const vm = this.#vm;
    if (!isEvent && !vm.isSignalled(vm.current)) vm.schedule.currentState.isWaiting = true;
    vm.schedule.endSlice();
  }

  #finishGicAccess(frame: ExitFrame): boolean {
    const vm = this.#vm;
    const info = frame[ExitWord.info] ?? 0;
    const physical = Number(frameU64(frame, ExitWord.arg0Low));
    if (!vm.gic.contains(physical, info & 0xff)) return this.#finishSignal(frame);
    vm.refreshAllTimerLines();
    if ((info & MMIO_WRITE) !== 0) {
      vm.gic.write(physical, info & 0xff, frame[ExitWord.arg1Low] ?? 0);
      this.#completeMmio(true, 0, 0);
      return false;
    }
    this.#answer.set(vm.gic.read(physical, info & 0xff));
    this.#completeMmio(false, this.answerLow, this.answerHigh);
    return true;
  }

  /** Of a write that goes to an eventfd, if it still does. */
  #finishSignal(frame: ExitFrame): boolean {
    const vm = this.#vm;
    const fd = eventfdOfExit(vm.control, "mmio", frame);
    if (fd !== undefined) vm.eventfds.signal(fd);
    this.signalledEventfd = fd;
    this.#completeMmio(true, 0, 0);
    return false;
  }

  eventfdCount(fd: number): number {
    return this.#vm.eventfds.count(fd);
  }

  #completeMmio(isWrite: boolean, low: number, high: number): void {
    const vm = this.#vm;
    if (!isWrite) vm.engine.completeMmioRead(low, high);
    else if (vm.engine.completeMmioWrite()) this.#retireDeviceWrite();
    else this.#run.deviceWriteWaiting = true;
  }

  #retireDeviceWrite(): void {
    this.#vm.countUnits(1);
    if (this.#heldReport === undefined) return;
    this.watchReport = this.#heldReport;
    this.#heldReport = undefined;
    this.#reportIsDue = true;
  }

  completeExit(low: number, high: number): void {
    const frame = this.#pendingExit(FinishedBy.vmmHalf);
    this.#run.exitPending = false;
    if (frame[ExitWord.kvmExit] === KvmExit.mmio) this.#finishDeviceAccess(frame, low, high);
    this.#entered();
  }

  /** Where the VMM has moved pc meanwhile, another instruction stands there: the access is not carried out. */
  #finishDeviceAccess(frame: ExitFrame, low: number, high: number): void {
    const { engine, states } = this.#vm;
    if (!states.isAt(frame[ExitWord.pcLow] ?? 0, frame[ExitWord.pcHigh] ?? 0)) return engine.abandonAccess();
    this.#completeMmio(((frame[ExitWord.info] ?? 0) & MMIO_WRITE) !== 0, low, high);
  }

  #pendingExit(by: number): ExitFrame {
    const { exit, exitPending } = this.#run;
    if (!exitPending) throw new Error("no exit is pending");
    if (exit[ExitWord.finishedBy] !== by) throw new Error("the exit is the other half's to finish");
    return exit;
  }

  skipTo(guestTimeNs: number): void {
    const vm = this.#vm;
    if (isReady(vm.schedule.currentState))
      throw new Error(`guest time can't jump to ${guestTimeNs} ns: vcpu${vm.current} runs`);
    if (guestTimeNs < vm.guestTimeNs)
      throw new RangeError(`guest time can't go back from ${vm.guestTimeNs} to ${guestTimeNs} ns`);
    vm.skippedNs += guestTimeNs - vm.guestTimeNs;
  }

  setIrqLine(line: number, level: 0 | 1): void {
    const vm = this.#vm;
    const { interrupts } = vm.gic;
    const inGuestMode = !this.#run.exitPending && vm.schedule.isRunning && vm.icount > this.#run.enteredAt;
    const before = inGuestMode && vm.isSignalled(vm.current);
    interrupts.setSpiLine(line, level);
    if (inGuestMode && !before && vm.isSignalled(vm.current)) this.#run.isKicked = true;
  }

  configure(state: unknown): void {
    this.#vm.control = state as Arm64ControlState;
  }

  apply(event: ControlEvent): void {
    applyControlEvent(this.#vm, event);
  }

  // Looking

  readRegister(vcpu: number, name: string): bigint {
    if (name === MP_STATE) return BigInt(mpStateOf(this.#vm, vcpu));
    return readNamedRegister(this.#vm.states, vcpu, name, (index, selector) => serviceValue(this.#vm, index, selector));
  }

  writeRegister(vcpu: number, name: string, value: bigint): void {
    writeNamedRegister(this.#vm.states, vcpu, { name, value }, (index, selector, written) => {
      setTimerRegister(this.#vm, index, selector, written);
    });
  }

  translate(vcpu: number, virtual: bigint): number | undefined {
    return translateVirtual(this.#vm.states, vcpu, virtual);
  }

  disassemble(vcpu: number, virtual: bigint, count: number): DisassembledInstruction[] {
    return disassemble(this.#vm.states, vcpu, virtual, count);
  }

  backtrace(vcpu: number, depthMax: number): bigint[] {
    return backtrace(this.#vm.states, vcpu, depthMax);
  }

  save(): StateSection[] {
    return saveSections(this.#vm, this.#run);
  }

  restore(sections: readonly StateSection[]): void {
    restoreSections(this.#vm, this.#run, sections);
  }

  dropCaches(): void {
    this.#vm.engine.dropCaches();
  }

  watch(physical: number, bytes: number): void {
    const { memory } = this.#vm.engine;
    memory.unwatchAll();
    this.watchReport = undefined;
    this.#heldReport = undefined;
    this.#reportIsDue = false;
    if (bytes > 0) memory.watch(physical, bytes);
  }

  unwatch(physical: number, bytes: number): void {
    this.#vm.engine.memory.unwatch(physical, bytes);
  }

  breakAt(pc: bigint | undefined): void {
    this.#breakPc = pc;
  }

  unimplemented(): ReadonlyMap<string, number> {
    const counts = [...this.#vm.engine.undefinedEncodings].map(
      ([encoding, count]) => [`.inst 0x${encoding.toString(16).padStart(8, "0")}`, count] as const,
    );
    return new Map(counts);
  }
}
