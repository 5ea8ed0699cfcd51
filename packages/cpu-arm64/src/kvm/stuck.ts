/**
 * Whether a vCPU can ever do anything but what it is doing. A look ahead: it runs the vCPU some units further, and
 * puts it back. When its state comes back exactly, with nothing read or written outside of it on the way and nothing
 * that could interrupt it, every round will be like this one.
 */
import { AccessKind, EngineExit } from "@hvjournal/engine";
import { Context } from "../isa/context.js";
import { ExceptionClass } from "../isa/exceptions.js";
import { ExitCode } from "../isa/exit-code.js";
import { contextWord, exceptionLevel, pc } from "../isa/state.js";
import { elrEl1, esrEl1, farEl1, vbarEl1 } from "../isa/system-registers.js";
import { dataAddress, isLoadOrStore, usesStackPointer } from "./data-address.js";
import { instructionAt } from "./inspection.js";
import type { Vm } from "./vm.js";

/** Longer rounds are not found. */
const ROUND_UNITS_MAX = 64;

const BRANCH_TO_SELF = 0x1400_0000;
/** MRS Xt, ISR_EL1; DC ZVA, Xt: without Rt. */
const READ_ISR = 0xd538_c100;
const ZERO_BLOCK = 0xd50b_7420;
const WAIT_FOR_INTERRUPT = 0xd503_207f;
const VECTORS_BYTES = 0x800n;

/** How ESR_EL1.EC reads in words. */
const CLASS_TEXT: Readonly<Record<number, string>> = {
  [ExceptionClass.unknown]: "undefined instruction",
  [ExceptionClass.waitTrapped]: "trapped WFI or WFE",
  [ExceptionClass.floatTrapped]: "SIMD and FP trap",
  [ExceptionClass.illegalState]: "illegal execution state",
  [ExceptionClass.supervisorCall]: "SVC",
  [ExceptionClass.systemRegister]: "trapped system register",
  [ExceptionClass.instructionAbort]: "instruction abort",
  [ExceptionClass.instructionAbort + 1]: "instruction abort",
  [ExceptionClass.pcAlignment]: "PC alignment fault",
  [ExceptionClass.dataAbort]: "data abort",
  [ExceptionClass.dataAbort + 1]: "data abort",
  [ExceptionClass.spAlignment]: "SP alignment fault",
  [ExceptionClass.softwareStep]: "software step",
  [ExceptionClass.softwareStep + 1]: "software step",
  [ExceptionClass.brk]: "BRK",
};
const CLASSES_WITH_ADDRESS: ReadonlySet<number> = new Set([
  ExceptionClass.instructionAbort,
  ExceptionClass.instructionAbort + 1,
  ExceptionClass.pcAlignment,
  ExceptionClass.dataAbort,
  ExceptionClass.dataAbort + 1,
]);

/** The reason for people when the current vCPU can't get anywhere any more. Changes nothing. */
export function findStuck(vm: Vm): string | undefined {
  const { engine, current } = vm;
  if (engine.restartPending || !vm.schedule.isAlone(current)) return undefined;
  if (!vm.states.isMasked && vm.canBeInterrupted(current)) return undefined;
  const before = engine.vcpuState.slice();
  try {
    return lookAhead(vm, before);
  } finally {
    engine.vcpuState.set(before);
    engine.stateWritten();
  }
}

function lookAhead(vm: Vm, before: Uint8Array): string | undefined {
  const { engine } = vm;
  const first = vm.states.pc;
  let exception: string | undefined;
  for (let units = 1; units <= ROUND_UNITS_MAX; units++) {
    const place = vm.states.pc;
    if (!isOnItsOwn(vm)) return undefined;
    const code = engine.run(1);
    // A WFE that finds no event goes on at once, and nobody is there to send one.
    if (code !== EngineExit.budget && code !== ExitCode.waitForEvent) return undefined;
    exception ??= exceptionTaken(vm, place);
    if (sameBytes(before, engine.vcpuState)) return describe(vm, first, units, exception);
  }
  return undefined;
}

/** What the vCPU does next follows from its registers alone, and changes nothing else. */
function isOnItsOwn(vm: Vm): boolean {
  const { states } = vm;
  const mayBeSignalled = vm.canBeInterrupted(vm.current);
  if (mayBeSignalled && !states.isMasked) return false;
  const encoding = instructionAt(states, states.pc);
  if (encoding === undefined) return faults(vm, states.pc, AccessKind.execute);
  const withoutRt = (encoding & ~31) >>> 0;
  if (encoding === WAIT_FOR_INTERRUPT || withoutRt === READ_ISR) return !mayBeSignalled;
  if (withoutRt === ZERO_BLOCK) return false;
  // A device, by DMA, could change what is read. An address that can't be read can't be written either.
  if (!isLoadOrStore(encoding) || stackFaults(vm, encoding)) return true;
  return faults(vm, dataAddress(states, encoding), AccessKind.read);
}

function stackFaults({ engine }: Vm, encoding: number): boolean {
  return usesStackPointer(encoding) && (engine.readWord(contextWord.offset) & Context.stackMisaligned) !== 0;
}

function faults({ engine }: Vm, virtual: bigint, kind: number): boolean {
  if (engine.translate(virtual, kind, engine.readWord(exceptionLevel.offset)) !== 0) return true;
  if (kind !== AccessKind.execute) return false;
  const { memory, translatedPhysical } = engine;
  return translatedPhysical < memory.base || translatedPhysical >= memory.base + memory.bytes;
}

/** The exception that the last unit took instead of the instruction at `place`, or behind it. */
function exceptionTaken({ engine }: Vm, place: bigint): string | undefined {
  const vector = engine.readField(pc);
  const offset = vector - engine.readField(vbarEl1);
  const returnAddress = engine.readField(elrEl1);
  if (offset < 0n || offset >= VECTORS_BYTES || (offset & 0x7fn) !== 0n) return undefined;
  if (returnAddress !== place && returnAddress !== place + 4n) return undefined;
  const syndrome = engine.readField(esrEl1);
  const exceptionClass = Number((syndrome >> 26n) & 0x3fn);
  const what = CLASS_TEXT[exceptionClass] ?? `exception class 0x${exceptionClass.toString(16)}`;
  const address = CLASSES_WITH_ADDRESS.has(exceptionClass) ? `, far_el1 ${hex(engine.readField(farEl1))}` : "";
  return `${what} at ${hex(place)}, vector ${hex(vector)}, esr_el1 ${hex(syndrome)}${address}`;
}

function describe(vm: Vm, first: bigint, units: number, exception: string | undefined): string {
  const who = `vcpu${vm.current}`;
  const round = units === 1 ? "" : `, every ${units} units`;
  if (exception !== undefined) return `${who} takes the same exception for ever: ${exception}${round}`;
  const why = vm.states.isMasked ? "with interrupts masked" : "with no interrupt that could come";
  if (instructionAt(vm.states, first) === BRANCH_TO_SELF) return `${who} branches to itself at ${hex(first)} ${why}`;
  return `${who} repeats the same ${units} instructions for ever, at ${hex(first)}, ${why}`;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.every((byte, index) => byte === right[index]);
}
