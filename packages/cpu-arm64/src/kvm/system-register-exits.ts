/** System registers that generated code does not finish: those of the kernel half, and those that trap. */
import { type ExitFrame, ExitWord } from "@hvjournal/core";
import { EngineExit } from "@hvjournal/engine";
import { undefinedException } from "../isa/exceptions.js";
import { ExitCode } from "../isa/exit-code.js";
import { trapPassed } from "../isa/state.js";
import {
  hcrEl2,
  Sctlr,
  sctlrEl1,
  selectorOfSyndrome,
  systemRegisterName,
  systemRegisters,
} from "../isa/system-registers.js";
import type { ExitDescription } from "./exit-frames.js";
import { EsrClass, HCR_EL2_TVM, Reason, serviceRegisterTraps } from "./exit-model.js";
import { type InterfaceRegister, interfaceRegisterAt, NOTHING_DEACTIVATED } from "./gicv3/system-registers.js";
import { idRegisterOf } from "./control/control-state.js";
import { RegisterValue } from "./register-value.js";
import { type TimerRegister, timerRegisterAt } from "./timers.js";
import type { Vm } from "./vm.js";

const IL = 1 << 25;
const CACHES_ON: bigint = (1n << BigInt(Sctlr.M)) | (1n << BigInt(Sctlr.C));

/** An access as its ISS describes it: Rt, where 31 is the zero register, and the direction. */
function generalOf(iss: number): number {
  return (iss >> 5) & 31;
}

function isRead(iss: number): boolean {
  return (iss & 1) === 1;
}

/** A register that lives in the kernel half. */
interface ServiceRegister {
  /** The access is an exit; else it is made as the hardware makes it. */
  readonly traps: boolean;
  readonly timer: TimerRegister | undefined;
  readonly interface: InterfaceRegister | undefined;
}

const SERVICE_REGISTERS: ReadonlyMap<number, ServiceRegister> = new Map(
  systemRegisters
    .filter(({ home }) => home.kind === "service")
    .map(({ selector }) => [
      selector,
      {
        traps: serviceRegisterTraps(selector),
        timer: timerRegisterAt(selector),
        interface: interfaceRegisterAt(selector),
      },
    ]),
);

/** The value of the access in progress. */
const accessed = new RegisterValue();

/**
 * Handles `ExitCode.systemRegister`, whose operands are the ISS and the value to write, in two words. Gives the exit
 * where the exit model has one; else the access has been made as the hardware makes it, and the guest goes on.
 */
export function registerExit(vm: Vm, iss: number, valueLow: number, valueHigh: number): ExitDescription | undefined {
  const selector = selectorOfSyndrome(iss);
  const service = SERVICE_REGISTERS.get(selector);
  accessed.set(valueLow, valueHigh);
  if (service !== undefined && !service.traps) {
    accessService(vm, service, iss);
    return undefined;
  }
  return {
    reason: Reason.sys64,
    vcpu: vm.current,
    pc: vm.states.pc,
    syndrome: ((EsrClass.sys64 << 26) | IL | iss) >>> 0,
    info: isRead(iss) ? 0 : 1,
    args: [BigInt(selector), isRead(iss) ? 0n : accessed.bigint],
  };
}

const NO_REGISTER = -1;

/** Finishes a SYS64 exit; gives the general register that a read has written, or a negative number. */
export function finishRegisterExit(vm: Vm, frame: ExitFrame): number {
  const iss = (frame[ExitWord.syndromeLow] ?? 0) & 0x1ff_ffff;
  const service = SERVICE_REGISTERS.get(selectorOfSyndrome(iss));
  if (service !== undefined) {
    accessed.set(frame[ExitWord.arg1Low] ?? 0, frame[ExitWord.arg1Low + 1] ?? 0);
    accessService(vm, service, iss);
  } else if (!readConfigured(vm, iss)) {
    passTrap(vm);
    noteMemoryControl(vm);
  }
  return isRead(iss) ? generalOf(iss) : NO_REGISTER;
}

/** A read of an identification register to which the VMM has given a value of its own. */
function readConfigured(vm: Vm, iss: number): boolean {
  const value = isRead(iss) ? idRegisterOf(vm.control, selectorOfSyndrome(iss)) : undefined;
  if (value === undefined) return false;
  vm.states.writeX(generalOf(iss), value);
  vm.retireInstruction();
  return true;
}

/** Lets the instruction do what it does without a hypervisor; an undefined exception may come of it. */
function passTrap(vm: Vm): void {
  const { engine } = vm;
  engine.writeWord(trapPassed.offset, 1);
  const code = engine.run(1);
  if (code === ExitCode.notSimulated) {
    engine.writeWord(trapPassed.offset, 0);
    refuseUnsimulated(vm, engine.exitWord(0), engine.exitOperand(1));
    return;
  }
  if (code !== EngineExit.budget) throw new Error(`an access to a trapped register left with exit code ${code}`);
  vm.countUnits(1);
}

/** Handles `ExitCode.notSimulated`: the vCPU stands before a write that nothing here can honour. */
export function refuseUnsimulated(vm: Vm, iss: number, value: bigint): void {
  const name = systemRegisterName(selectorOfSyndrome(iss));
  vm.stuckReason = `vcpu${vm.current} writes 0x${value.toString(16)} to ${name} at 0x${vm.states.pc.toString(16)}: hardware breakpoints and watchpoints of the guest are not simulated`;
}

/** As kvm_toggle_cache: once MMU and data cache are both on, KVM need not see the memory controls any more. */
function noteMemoryControl(vm: Vm): void {
  const { engine } = vm;
  if ((engine.readField(sctlrEl1) & CACHES_ON) === CACHES_ON)
    engine.writeField(hcrEl2, engine.readField(hcrEl2) & ~HCR_EL2_TVM);
}

/** Reads into, or writes from, `accessed`. */
function accessService(vm: Vm, service: ServiceRegister, iss: number): void {
  if (isRead(iss)) {
    if (!readService(vm, vm.current, service)) return raiseUndefined(vm);
    vm.states.writeXWords(generalOf(iss), accessed.low, accessed.high);
  } else if (!writeService(vm, service)) return raiseUndefined(vm);
  vm.retireInstruction();
}

function raiseUndefined(vm: Vm): void {
  vm.engine.callRoutine(undefinedException);
  vm.countUnits(1);
}

/** The value of a register of the kernel half or of the configuration; undefined: there is none to read. Reading ICC_IAR acknowledges an interrupt. */
export function serviceValue(vm: Vm, vcpu: number, selector: number): bigint | undefined {
  const configured = idRegisterOf(vm.control, selector);
  if (configured !== undefined) return configured;
  const service = SERVICE_REGISTERS.get(selector);
  return service !== undefined && readService(vm, vcpu, service) ? accessed.bigint : undefined;
}

/** KVM_SET_ONE_REG of a timer's register. */
export function setTimerRegister(vm: Vm, vcpu: number, selector: number, value: bigint): void {
  const timer = timerRegisterAt(selector);
  if (timer?.write === undefined) throw new RangeError(`${systemRegisterName(selector)} can't be written`);
  accessed.setBigint(value);
  timer.write(vm.timersOf(vcpu), vm.counter, accessed);
}

/** False: there is no such register to read. */
function readService(vm: Vm, vcpu: number, service: ServiceRegister): boolean {
  if (service.timer !== undefined) {
    service.timer.read(vm.timersOf(vcpu), vm.counter, accessed);
    return true;
  }
  if (service.interface?.read === undefined) return false;
  vm.refreshTimerLines(vcpu);
  accessed.set(service.interface.read(vm.gic.interrupts, vcpu), 0);
  return true;
}

/** False: there is no such register to write. */
function writeService(vm: Vm, service: ServiceRegister): boolean {
  if (service.timer !== undefined) {
    if (service.timer.write === undefined) return false;
    service.timer.write(vm.timersOf(vm.current), vm.counter, accessed);
    return true;
  }
  if (service.interface?.write === undefined) return false;
  const deactivated = service.interface.write(vm.gic.interrupts, vm.current, accessed);
  if (deactivated !== NOTHING_DEACTIVATED) vm.noteDeactivated(vm.current, deactivated);
  return true;
}
