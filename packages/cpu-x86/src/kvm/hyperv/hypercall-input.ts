/** The input value of a Hyper-V call, its parameters, and where they are: TLFS, "Hypercall Inputs". */
import { type GuestMemory, highWord, lowWord, u64OfWords } from "@hvjournal/core";
import { elementOf } from "@hvjournal/engine";
import { Register, xmm } from "../../isa/state.js";
import { isInRam } from "../paravirtual.js";
import type { Vm } from "../vm.js";

const R8 = 8;
const XMM_REGISTERS = 6;
const REP_START_SHIFT = 48n;
const REP_START_MASK = 0xfffn << REP_START_SHIFT;

/** The parts of an input value, and the parameters beside it. */
export interface HypervInput {
  readonly value: bigint;
  readonly code: number;
  readonly isFast: boolean;
  readonly variableHeader: number;
  readonly repCount: number;
  readonly repStart: number;
  /** Address of the input block, or the first parameter; address of the output block, or the second one. */
  readonly input: bigint;
  readonly output: bigint;
}

/** A call of this input value, and its parameters where they matter. */
export function inputOf(value: bigint, input = 0n, output = 0n): HypervInput {
  const low = lowWord(value);
  const high = highWord(value);
  return {
    value,
    code: low & 0xffff,
    isFast: ((low >>> 16) & 1) === 1,
    variableHeader: (low >>> 17) & 0x3ff,
    repCount: high & 0xfff,
    repStart: (high >>> 16) & 0xfff,
    input,
    output,
  };
}

/** RCX, RDX, R8 in 64-bit mode; else EDX:EAX, EBX:ECX, EDI:ESI. */
export function readInput({ states }: Vm): HypervInput {
  if (states.isLongMode)
    return inputOf(states.readGeneral(Register.rcx), states.readGeneral(Register.rdx), states.readGeneral(R8));
  const pair = (high: number, low: number): bigint => u64OfWords(states.readGeneral32(low), states.readGeneral32(high));
  return inputOf(states.edxEax, pair(Register.rbx, Register.rcx), pair(Register.rdi, Register.rsi));
}

/** The call is made again, from another element on. */
export function restartAt({ states }: Vm, { value }: HypervInput, repStart: number): void {
  const again = (value & ~REP_START_MASK) | (BigInt(repStart) << REP_START_SHIFT);
  if (states.isLongMode) states.writeGeneral(Register.rcx, again);
  else states.edxEax = again;
}

/** 64 bits of guest memory; undefined: there is no RAM. */
export function memoryWord(memory: GuestMemory, address: bigint): bigint | undefined {
  if (!isInRam(memory, address, 8)) return undefined;
  const { buffer, byteOffset } = memory.read(Number(address), 8);
  return new DataView(buffer, byteOffset).getBigUint64(0, true);
}

/** 64-bit words of the input from its first on, wherever they are: registers, XMM registers, memory. undefined: no RAM. */
export function inputWords(vm: Vm, call: HypervInput, count: number): bigint[] | undefined {
  const words: bigint[] = [];
  for (let index = 0; index < count; index++) {
    const word = call.isFast ? fastWord(vm, call, index) : memoryWord(vm.engine.memory, call.input + BigInt(8 * index));
    if (word === undefined) return undefined;
    words.push(word);
  }
  return words;
}

function fastWord(vm: Vm, { input, output }: HypervInput, index: number): bigint | undefined {
  if (index < 2) return index === 0 ? input : output;
  const register = (index - 2) >> 1;
  if (register >= XMM_REGISTERS) return undefined;
  const value = vm.engine.readField(elementOf(xmm, register));
  return (index & 1) === 0 ? BigInt.asUintN(64, value) : value >> 64n;
}
