/** System registers that generated code does not finish: those of the kernel half, and those that trap. */
import { type ExitFrame, ExitWord, frameU64 } from "@hvjournal/core";
import { EngineExit } from "@hvjournal/engine";
import { undefinedException } from "../isa/exceptions.js";
import { ExitCode } from "../isa/exit-code.js";
import { trapPassed } from "../isa/state.js";
import {
  hcrEl2,
  Sctlr,
  sctlrEl1,
  selectorOfSyndrome,
  systemRegisterAt,
  systemRegisterName,
} from "../isa/system-registers.js";
import type { ExitDescription } from "./exit-frames.js";
import { EsrClass, HCR_EL2_TVM, Reason, serviceRegisterTraps } from "./exit-model.js";
import { isInterfaceRegister, readInterfaceRegister, writeInterfaceRegister } from "./gicv3/system-registers.js";
import { isTimerRegister, readTimerRegister, writeTimerRegister } from "./timers.js";
import type { Vm } from "./vm.js";

const IL = 1 << 25;
const CACHES_ON: bigint = (1n << BigInt(Sctlr.M)) | (1n << BigInt(Sctlr.C));

/** An access as its ISS describes it. */
interface RegisterAccess {
  readonly selector: number;
  /** Rt; 31 is the zero register. */
  readonly general: number;
  readonly isRead: boolean;
}

function accessOf(iss: number): RegisterAccess {
  return { selector: selectorOfSyndrome(iss), general: (iss >> 5) & 31, isRead: (iss & 1) === 1 };
}

function isService(selector: number): boolean {
  return systemRegisterAt(selector)?.home.kind === "service";
}

/**
 * Handles `ExitCode.systemRegister`. Gives the exit where the exit model has one; else the access has been made
 * as the hardware makes it, and the guest goes on.
 */
export function registerExit(vm: Vm, iss: number, value: bigint): ExitDescription | undefined {
  const access = accessOf(iss);
  if (isService(access.selector) && !serviceRegisterTraps(access.selector)) {
    accessService(vm, access, value);
    return undefined;
  }
  return {
    reason: Reason.sys64,
    vcpu: vm.current,
    pc: vm.states.pc,
    syndrome: ((EsrClass.sys64 << 26) | IL | iss) >>> 0,
    info: access.isRead ? 0 : 1,
    args: [BigInt(access.selector), access.isRead ? 0n : value],
  };
}

/** Finishes a SYS64 exit; gives the value of a register that was read. */
export function finishRegisterExit(vm: Vm, frame: ExitFrame): bigint | undefined {
  const access = accessOf((frame[ExitWord.syndromeLow] ?? 0) & 0x1ff_ffff);
  if (isService(access.selector)) {
    accessService(vm, access, frameU64(frame, ExitWord.arg1Low));
  } else {
    passTrap(vm);
    noteMemoryControl(vm);
  }
  return access.isRead ? vm.states.readX(access.general) : undefined;
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

function accessService(vm: Vm, access: RegisterAccess, value: bigint): void {
  const done = access.isRead ? readService(vm, access) : writeService(vm, access.selector, value);
  if (done) vm.retireInstruction();
  else {
    vm.engine.callRoutine(undefinedException);
    vm.countUnits(1);
  }
}

/** False: there is no such register to read. */
function readService(vm: Vm, access: RegisterAccess): boolean {
  const value = serviceValue(vm, vm.current, access.selector);
  if (value === undefined) return false;
  vm.states.writeX(access.general, value);
  return true;
}

/** The value of a register of the kernel half. Reading ICC_IAR acknowledges an interrupt. */
export function serviceValue(vm: Vm, vcpu: number, selector: number): bigint | undefined {
  if (isTimerRegister(selector)) return readTimerRegister(vm.timersOf(vcpu), selector, vm.guestTimeNs);
  if (!isInterfaceRegister(selector)) return undefined;
  vm.refreshTimerLines(vcpu);
  const value = readInterfaceRegister(vm.gic.interrupts, vcpu, selector);
  return value === undefined ? undefined : BigInt(value);
}

/** False: there is no such register to write. */
function writeService(vm: Vm, selector: number, value: bigint): boolean {
  if (isTimerRegister(selector)) return writeTimerRegister(vm.timersOf(vm.current), selector, vm.guestTimeNs, value);
  const written = writeInterfaceRegister(vm.gic.interrupts, vm.current, selector, value);
  if (written?.deactivated !== undefined) vm.noteDeactivated(vm.current, written.deactivated);
  return written !== undefined;
}
