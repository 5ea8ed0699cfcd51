/**
 * Whether a vCPU can ever do anything but what it is doing. A look ahead: it runs the vCPU some units further, and
 * puts it back. When its state comes back exactly, with nothing read or written outside of it on the way and nothing
 * that could interrupt it, every round will be like this one.
 *
 * Only instructions that touch registers alone are looked through. A delivered event writes to a stack, and so is never
 * run ahead: a guest that takes one exception in another comes to its shutdown, and that is an exit.
 */
import { AccessKind, elementOf, EngineExit } from "@hvjournal/engine";
import { INSTRUCTION_BYTES_MAX } from "../isa/decoder.js";
import { ExitCode } from "../isa/exit-code.js";
import type { DecodedFields } from "../isa/fields.js";
import { Flag } from "../isa/registers.js";
import {
  contextWord,
  cpl,
  dr7,
  exceptionPending,
  interruptPending,
  nmiPending,
  rflags,
  rip,
  Segment,
  segmentLimit,
} from "../isa/state.js";
import { readCurrent } from "./inspection.js";
import type { Vm } from "./vm.js";

/** Longer rounds are not found. */
const ROUND_UNITS_MAX = 64;
/** Branches further than this are not looked through. */
const BRANCH_MAX = 192;
/** So much code lies around a branch, at least. */
const REACH = 256n;
const DR7_ENABLED = 0xffn;
const CANONICAL_BITS = 47n;

const OPERATIONS = [
  ...["ADD", "ADC", "SUB", "SBB", "AND", "OR", "XOR", "CMP", "TEST", "INC", "DEC", "NEG", "NOT", "MOV", "XCHG"],
  ...["ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAR", "MOVZX", "MOVSX", "MOVSXD", "IMUL"],
].join("|");
/** Definitions that read and write general registers and flags alone, where ModRM names no memory. */
const REGISTERS_ONLY = new RegExp(String.raw`^(${OPERATIONS}) \((r|AL|imm)`, "i");
const SYSTEM_REGISTERS = /CR\d|DR|Sreg|no such/;
/** Those without operands of ModRM, and those that do not look at what it names. */
const ALWAYS = /^(NOP|PAUSE|LEA|CLC|STC|CMC|CLD|STD|CLI|STI|ENDBR\d\d|BSWAP|CBW\/CWDE\/CDQE|CWD\/CDQ\/CQO)( \(|$)/;
const BRANCHES = /^(JMP \(rel8?\)|J[A-Z]+ \(rel8?\)|LOOP\w*$|JCXZ\/)/;

/** The reason for people when the current vCPU can't get anywhere any more. Changes nothing. */
export function findStuck(vm: Vm): string | undefined {
  const { engine, current } = vm;
  if (engine.restartPending || !vm.schedule.isAlone(current) || !isQuiet(vm)) return undefined;
  const before = engine.vcpuState.slice();
  try {
    return lookAhead(vm, before);
  } finally {
    engine.vcpuState.set(before);
    engine.stateWritten();
  }
}

/** Nothing is about to be delivered, and no instruction is watched. */
function isQuiet({ engine }: Vm): boolean {
  if ([exceptionPending, nmiPending, interruptPending].some(({ offset }) => engine.readWord(offset) !== 0))
    return false;
  return (engine.readWord(rflags.offset) & Flag.TF) === 0 && (engine.readField(dr7) & DR7_ENABLED) === 0n;
}

function lookAhead(vm: Vm, before: Uint8Array): string | undefined {
  const first = vm.states.pc;
  for (let units = 1; units <= ROUND_UNITS_MAX; units++) {
    if (!isOnItsOwn(vm)) return undefined;
    const code = vm.engine.run(1);
    // A PAUSE gives its turn to another vCPU, and there is none.
    if (code !== EngineExit.budget && code !== ExitCode.pause) return undefined;
    if (sameBytes(before, vm.engine.vcpuState)) return describe(vm, first, units);
  }
  return undefined;
}

/** What the vCPU does next follows from its registers alone, raises nothing, and changes nothing else. */
function isOnItsOwn(vm: Vm): boolean {
  const { states, engine, irqchip, current } = vm;
  if (states.interruptsEnabled && irqchip.canInterrupt(current)) return false;
  const { pc } = states;
  if (!canFetch(vm, pc) || !canFetch(vm, pc + BigInt(INSTRUCTION_BYTES_MAX))) return false;
  const bytes = readCurrent(states, pc, INSTRUCTION_BYTES_MAX);
  const decoded = engine.decodeBytes(bytes, engine.readWord(contextWord.offset));
  if (decoded === undefined) return false;
  const { memory, lock, immediate } = decoded.fields as DecodedFields;
  const { mnemonic } = decoded.instruction;
  if (BRANCHES.test(mnemonic)) return Math.abs(immediate) < BRANCH_MAX && hasRoom(vm, pc);
  if (lock !== 0) return false;
  return ALWAYS.test(mnemonic) || (memory === 0 && REGISTERS_ONLY.test(mnemonic) && !SYSTEM_REGISTERS.test(mnemonic));
}

function canFetch({ engine }: Vm, virtual: bigint): boolean {
  const { memory } = engine;
  if (engine.translate(virtual, AccessKind.execute, engine.readWord(cpl.offset)) !== 0) return false;
  return engine.translatedPhysical >= memory.base && engine.translatedPhysical < memory.base + memory.bytes;
}

/** A branch of less than `REACH` leaves neither the canonical addresses nor the limit of CS. */
function hasRoom({ engine, states }: Vm, pc: bigint): boolean {
  if ((pc - REACH) >> CANONICAL_BITS !== (pc + REACH) >> CANONICAL_BITS) return false;
  if (states.isLongMode) return true;
  return engine.readField(rip) + REACH <= engine.readField(elementOf(segmentLimit, Segment.cs));
}

function describe(vm: Vm, first: bigint, units: number): string {
  const who = `vcpu${vm.current}`;
  const why = vm.states.interruptsEnabled ? "with no interrupt that could come" : "with interrupts off";
  const place = `0x${first.toString(16)}`;
  if (units === 1) return `${who} branches to itself at ${place} ${why}`;
  return `${who} repeats the same ${units} instructions for ever, at ${place}, ${why}`;
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.every((byte, index) => byte === right[index]);
}
