/** The kernel half of an amd64 VM: the run loop between guest mode and the exits. */
import {
  type CodePatch,
  eventfdOfExit,
  type ControlEvent,
  type ExitFrame,
  ExitWord,
  FinishedBy,
  frameU64,
  GUEST_NANOSECONDS_PER_UNIT,
  type GuestMemory,
  highWord,
  type KernelHalf,
  KvmExit,
  lowWord,
  type RegisterName,
  type RunStop,
  type StateSection,
  u64OfWords,
  type WatchReport,
} from "@hvjournal/core";
import { EngineExit } from "@hvjournal/engine";
import { Vector } from "../isa/exceptions.js";
import { ExitCode } from "../isa/exit-code.js";
import { hostChanged } from "./control/host-part.js";
import { type Amd64ControlState, isHaltInGuest } from "./control/control-state.js";
import { beginExitFrame, leaveToVmm, MMIO_WRITE, newExitFrame } from "./exit-frames.js";
import type { ExitCause } from "./exit-model.js";
import { setGsi, signalEventfd } from "./gsi.js";
import { restoreCallPage } from "./hyperv/call-page.js";
import { takeDebuggerStatus } from "./hyperv/exits.js";
import { carriesXmm, outputWordNamed, readOutputWord } from "./hyperv/xmm-output.js";
import { returnVmmResult } from "./hypercalls.js";
import { causeOf, describeCall, finishInstructionExit, readCounter, readRandom } from "./instruction-exits.js";
import { backtrace, type DisassembledInstruction, disassemble, translateVirtual } from "./inspection.js";
import { completeMsrExit } from "./msr-exits.js";
import { readHostMsr, writeHostMsr } from "./host-msrs.js";
import {
  KVM_CLOCK,
  MP_STATE,
  MSR_ERROR,
  msrNumberOf,
  readNamedRegister,
  registerAliases,
  registerNames,
  writeNamedRegister,
} from "./named-registers.js";
import { refuseUnsimulated } from "./not-simulated.js";
import { setClock, tellStolenTime } from "./paravirtual.js";
import { finishPortExit, fillPortExit } from "./port-exits.js";
import { restoreSections, type RunState, saveSections } from "./saved-state.js";
import { isReady, MpState } from "./schedule.js";
import { findStuck } from "./stuck.js";
import { isMissing, undefinedName } from "./undefined-name.js";
import { advanceTimers, timersDeadline } from "./timers.js";
import type { Vm } from "./vm.js";
import { readBackdoorCounter, servesBackdoor } from "./vmware-backdoor.js";

/** Budgets of the engine are 32-bit numbers. */
const BUDGET_MAX = 0x3fff_ffff;
/** Whether the guest is stuck is looked at whenever icount is a multiple of this. */
const STUCK_CHECK_UNITS = 2 ** 20;

export class Amd64KernelHalf implements KernelHalf {
  readonly #vm: Vm;
  readonly #run: RunState = {
    exitPending: false,
    exit: newExitFrame(),
    cause: undefined,
    next: 0n,
    deviceWriteWaiting: false,
    isKicked: false,
    enteredAt: 0,
  };
  readonly registers: readonly RegisterName[] = registerNames;
  readonly registerAliases: readonly string[] = registerAliases;
  readonly pcName: string = "rip";
  answerLow = 0;
  answerHigh = 0;
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
    return vm.schedule.vcpus.some((_, vcpu) => vm.canBeWoken(vcpu));
  }

  get currentVcpu(): number {
    return this.#vm.current;
  }

  get idleDeadlineNs(): number | undefined {
    const { guestTimeNs } = this.#vm;
    const deadline = timersDeadline(this.#vm);
    return deadline === undefined || deadline <= guestTimeNs ? undefined : deadline;
  }

  get signalledEventfd(): number | undefined {
    return this.#vm.signalledEventfd;
  }

  eventfdCount(fd: number): number {
    return this.#vm.eventfds.count(fd);
  }

  get codePatch(): CodePatch | undefined {
    return this.#vm.codePatch;
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
      return this.#leaveForMemory(true);
    }
    const expired = advanceTimers(vm);
    if (expired && isReady(vm.schedule.currentState) && vm.icount > run.enteredAt) return this.#leave("timer");
    if (!vm.schedule.mayGoOn && !vm.engine.restartPending && !this.#choose()) return "idle";
    if (run.isKicked) {
      run.isKicked = false;
      return this.#leave("interrupt");
    }
    vm.states.requestInterrupt(vm.irqchip.pending(vm.current) !== undefined);
    return undefined;
  }

  /** False: every vCPU waits. */
  #choose(): boolean {
    const vm = this.#vm;
    const before = vm.current;
    const next = vm.schedule.next((vcpu) => vm.isSignalled(vcpu));
    if (next === undefined) return false;
    const wasWaiting = !isReady(vm.schedule.of(next));
    if (next !== before && isReady(vm.schedule.currentState)) vm.stolenTime.preempted(before, vm.guestTimeNs);
    vm.schedule.begin(next);
    vm.engine.selectVcpu(next);
    if (next !== before) this.#tellStolenTime();
    if (next !== before || wasWaiting) this.#entered();
    return true;
  }

  #tellStolenTime(): void {
    const vm = this.#vm;
    vm.stolenTime.entered(vm.current, vm.guestTimeNs);
    tellStolenTime(vm);
  }

  /** The current vCPU was outside guest mode: what happened meanwhile does not make it leave. */
  #entered(): void {
    this.#run.enteredAt = this.#vm.icount;
    this.#run.isKicked = false;
  }

  /** Units until something but the guest itself needs attention. */
  #budget(limit: number): number {
    const vm = this.#vm;
    const untilCheck = STUCK_CHECK_UNITS - (vm.icount % STUCK_CHECK_UNITS);
    let budget = Math.min(limit - vm.icount, BUDGET_MAX, untilCheck);
    const deadline = timersDeadline(vm);
    if (deadline !== undefined) budget = Math.min(budget, unitsUntil(deadline, vm.guestTimeNs));
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
        return this.#leaveForMemory(false);
      case EngineExit.mmioWrite:
        this.#holdWatch();
        return this.#leaveForMemory(true);
      case EngineExit.watch:
        return this.#reportWatch();
      case ExitCode.interruptWindow:
        vm.states.giveInterrupt(vm.irqchip.acknowledge(vm.current));
        return undefined;
      case ExitCode.readTimeStamp:
        readCounter(vm, engine.exitOperand(0), engine.exitWord(2) === 1);
        return undefined;
      case ExitCode.random:
        readRandom(vm, engine.exitOperand(0), engine.exitWord(2), engine.exitWord(4));
        return undefined;
      case ExitCode.pause:
        vm.schedule.endSlice();
        return undefined;
      case ExitCode.halt:
        return this.#halt();
      case ExitCode.taskPriority:
        vm.takeTaskPriority();
        return undefined;
      case ExitCode.portRead:
      case ExitCode.portWrite:
        return this.#leaveForPort(code === ExitCode.portWrite);
      case ExitCode.backdoorRead:
      case ExitCode.backdoorWrite:
        if (servesBackdoor(vm)) return this.#leaveForPort(code === ExitCode.backdoorWrite);
        vm.states.raise(Vector.generalProtection);
        return undefined;
      case ExitCode.backdoorCounter:
        readBackdoorCounter(vm, engine.exitOperand(0));
        return undefined;
      case ExitCode.notSimulated:
        refuseUnsimulated(vm, engine.exitWord(0), engine.exitOperand(1));
        return "stuck";
      case EngineExit.deliveryFailed:
        vm.stuckReason = `vcpu${vm.current} can't deliver an exception at 0x${vm.states.pc.toString(16)}: its tables or stack are not in RAM`;
        return "stuck";
      default:
        return this.#leaveForInstruction(code);
    }
  }

  #leaveForInstruction(code: number): RunStop {
    const vm = this.#vm;
    if (code === ExitCode.shutdown) return this.#leave("shutdown", KvmExit.shutdown);
    const cause = causeOf(vm, code);
    this.#run.next = vm.engine.exitOperand(0);
    this.#begin(cause);
    describeCall(vm, cause, this.#run.exit);
    return "exit";
  }

  /** HLT that KVM does not get waits for an interrupt in guest mode, like the CPU itself. */
  #halt(): RunStop | undefined {
    const vm = this.#vm;
    if (!isHaltInGuest(vm.control)) return this.#leave("halt");
    if (vm.hasInterrupt(vm.current)) return undefined;
    vm.schedule.currentState.isHaltedInGuest = true;
    vm.schedule.endSlice();
    return undefined;
  }

  #begin(cause: ExitCause): void {
    const vm = this.#vm;
    const run = this.#run;
    beginExitFrame(run.exit, vm.reasons[cause], vm.current, 0);
    vm.states.copyPc(run.exit, ExitWord.pcLow);
    run.cause = cause;
    run.exitPending = true;
  }

  #leave(cause: ExitCause, kvmExit?: number): "exit" {
    this.#begin(cause);
    if (kvmExit !== undefined) leaveToVmm(this.#run.exit, kvmExit);
    return "exit";
  }

  #leaveForPort(isWrite: boolean): "exit" {
    this.#begin("port");
    fillPortExit(this.#vm, this.#run.exit, isWrite);
    return "exit";
  }

  #leaveForMemory(isWrite: boolean): "exit" {
    const vm = this.#vm;
    const { engine } = vm;
    const place = vm.irqchip.placeOf(vm.current, engine.mmioAddress);
    this.#begin(place === "apic" ? "apicPage" : "mmio");
    const frame = this.#run.exit;
    frame[ExitWord.info] = engine.mmioBytes | (isWrite ? MMIO_WRITE : 0);
    frame[ExitWord.arg0Low] = engine.mmioAddressLow;
    frame[ExitWord.arg0High] = engine.mmioAddressHigh;
    if (isWrite) {
      frame[ExitWord.arg1Low] = engine.mmioDataLow;
      frame[ExitWord.arg1High] = engine.mmioDataHigh;
    }
    if (place === undefined && eventfdOfExit(vm.control, "mmio", frame) === undefined) leaveToVmm(frame, KvmExit.mmio);
    return "exit";
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

  // Answering

  finishExit(): boolean {
    const frame = this.#pendingExit(FinishedBy.kernelHalf);
    this.#vm.codePatch = undefined;
    this.#vm.signalledEventfd = undefined;
    const answer = this.#finish(frame);
    this.#run.exitPending = false;
    this.answerLow = answer === undefined ? 0 : lowWord(answer);
    this.answerHigh = answer === undefined ? 0 : highWord(answer);
    this.#entered();
    return answer !== undefined;
  }

  #finish(frame: ExitFrame): bigint | undefined {
    const vm = this.#vm;
    const { cause, next } = this.#run;
    switch (cause) {
      case undefined:
      case "interrupt":
      case "timer":
        return undefined;
      case "halt":
        if (!vm.isSignalled(vm.current)) vm.schedule.currentState.mpState = MpState.halted;
        else vm.schedule.currentState.isUnhalted = false;
        vm.schedule.endSlice();
        return undefined;
      case "port":
        return finishPortExit(vm, frame);
      case "mmio":
      case "apicPage":
        return this.#finishApicAccess(frame);
      default:
        return finishInstructionExit(vm, cause, frame, next);
    }
  }

  #finishApicAccess(frame: ExitFrame): bigint | undefined {
    const vm = this.#vm;
    const physical = Number(frameU64(frame, ExitWord.arg0Low));
    if (vm.irqchip.placeOf(vm.current, physical) === undefined) return this.#finishSignal(frame);
    if (((frame[ExitWord.info] ?? 0) & MMIO_WRITE) === 0) {
      const value = vm.irqchip.readMemory(vm.current, physical);
      this.#completeMemory(false, value, 0);
      return BigInt(value);
    }
    vm.irqchip.writeMemory(vm.current, physical, frame[ExitWord.arg1Low] ?? 0);
    vm.showTaskPriority();
    this.#completeMemory(true, 0, 0);
    return undefined;
  }

  /** Of a write that goes to an eventfd, if it still does. */
  #finishSignal(frame: ExitFrame): undefined {
    const vm = this.#vm;
    const fd = eventfdOfExit(vm.control, "mmio", frame);
    if (fd !== undefined) signalEventfd(vm, fd);
    this.#completeMemory(true, 0, 0);
  }

  #completeMemory(isWrite: boolean, low: number, high: number): void {
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
    this.#completeForVmm(frame, low, high);
    this.#vm.hypervOutput.clear();
    this.#entered();
  }

  #completeForVmm(frame: ExitFrame, low: number, high: number): void {
    const vm = this.#vm;
    const isWrite = ((frame[ExitWord.info] ?? 0) & MMIO_WRITE) !== 0;
    // Where the VMM has moved RIP meanwhile, another instruction stands there: this one is not carried out.
    const isThere = vm.states.isAt(frame[ExitWord.pcLow] ?? 0, frame[ExitWord.pcHigh] ?? 0);
    switch (frame[ExitWord.kvmExit]) {
      case KvmExit.mmio:
        if (isThere) this.#completeMemory(isWrite, low, high);
        else vm.engine.abandonAccess();
        return;
      case KvmExit.io:
        if (isThere) vm.states.completePort(isWrite ? 0 : low);
        return;
      case KvmExit.hypercall:
      case KvmExit.hyperv:
      case KvmExit.xen:
      case KvmExit.systemEvent:
      case KvmExit.x86Rdmsr:
      case KvmExit.x86Wrmsr:
        if (isThere) this.#completeInstruction(frame, u64OfWords(low, high));
        return;
      case KvmExit.shutdown:
        if (isThere)
          vm.stuckReason = `vcpu${vm.current} has shut down: a third fault at 0x${vm.states.pc.toString(16)}`;
        return;
      default:
    }
  }

  /** An instruction that the VMM has given the result of, or been told of. */
  #completeInstruction(frame: ExitFrame, result: bigint): void {
    const vm = this.#vm;
    const { cause, next } = this.#run;
    const kvmExit = frame[ExitWord.kvmExit];
    if (kvmExit === KvmExit.x86Rdmsr || kvmExit === KvmExit.x86Wrmsr) completeMsrExit(vm, kvmExit, result, next);
    else if (cause === "writeMsr") {
      finishInstructionExit(vm, cause, frame, next);
      if (kvmExit === KvmExit.hyperv) takeDebuggerStatus(vm, frame, result);
    } else returnVmmResult(vm, frame, result, next);
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
    this.#interrupting(() => {
      setGsi(this.#vm, line, level);
    });
  }

  sendMsi(address: bigint, data: number): void {
    this.#interrupting(() => {
      this.#vm.irqchip.signalMessage(Number(address & 0xffff_ffffn), data);
    });
  }

  /** An interrupt for a vCPU in guest mode has it leave. */
  #interrupting(act: () => void): void {
    const vm = this.#vm;
    const inGuestMode = !this.#run.exitPending && isReady(vm.schedule.currentState) && vm.icount > this.#run.enteredAt;
    const before = vm.irqchip.pending(vm.current);
    act();
    if (inGuestMode && before === undefined && vm.irqchip.pending(vm.current) !== undefined) this.#run.isKicked = true;
  }

  configure(state: unknown): void {
    this.#vm.control = state as Amd64ControlState;
  }

  apply({ kind }: ControlEvent): void {
    this.#vm.codePatch = kind === hostChanged.name ? restoreCallPage(this.#vm) : undefined;
  }

  // Looking

  readRegister(vcpu: number, name: string): bigint {
    if (name === MSR_ERROR) return this.#vm.msrError ? 1n : 0n;
    if (name === MP_STATE) return BigInt(this.#vm.schedule.of(vcpu).mpState);
    if (name === KVM_CLOCK) return BigInt(this.#vm.clockNs);
    const word = outputWordNamed(name);
    if (word !== undefined) return readOutputWord(this.#vm, word);
    const msr = msrNumberOf(name);
    if (msr !== undefined) return knownMsr(name, readHostMsr(this.#vm, vcpu, msr));
    return readNamedRegister(this.#vm.states, vcpu, name);
  }

  writeRegister(vcpu: number, name: string, value: bigint): void {
    if (name === MSR_ERROR) {
      this.#vm.msrError = value !== 0n;
      return;
    }
    if (name === MP_STATE) {
      this.#vm.setMpState(vcpu, Number(value));
      return;
    }
    if (name === KVM_CLOCK) {
      setClock(this.#vm, value);
      return;
    }
    const word = outputWordNamed(name);
    if (word !== undefined) {
      this.#stageOutput(vcpu, word, value);
      return;
    }
    const msr = msrNumberOf(name);
    if (msr === undefined) writeNamedRegister(this.#vm.states, vcpu, name, value);
    else if (!writeHostMsr(this.#vm, vcpu, msr, value))
      throw new RangeError(`${name} does not take 0x${value.toString(16)}`);
    this.#vm.taskPriorityWritten(vcpu);
  }

  #stageOutput(vcpu: number, word: number, value: bigint): void {
    const { exit, exitPending } = this.#run;
    if (!exitPending || !carriesXmm(this.#vm.control, exit) || exit[ExitWord.vcpu] !== vcpu)
      throw new RangeError(`vcpu${vcpu} waits for no call with output in XMM registers`);
    this.#vm.hypervOutput.set(word, value);
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
    const named = [...this.#vm.engine.undefinedEncodings].map(
      ([first, count]) => [undefinedName(first), count] as const,
    );
    return new Map(named.filter(([name]) => isMissing(name)));
  }
}

/** Throws RangeError for an MSR that there is not. */
function knownMsr(name: string, value: bigint | undefined): bigint {
  if (value === undefined) throw new RangeError(`amd64 has no register ${name}`);
  return value;
}

/** Units until guest time reaches a deadline. */
function unitsUntil(deadlineNs: number, guestTimeNs: number): number {
  return Math.max(0, Math.ceil((deadlineNs - guestTimeNs) / GUEST_NANOSECONDS_PER_UNIT));
}
