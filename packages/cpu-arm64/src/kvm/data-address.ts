/** Which address a load or store uses: Arm ARM C4.1, loads and stores. */
import { sp } from "../isa/state.js";
import type { VcpuStates } from "./vcpu-state.js";

const STACK_POINTER = 31;
const U64 = 0xffff_ffff_ffff_ffffn;

/** Bits 28 to 25 are x1x0. */
export function isLoadOrStore(encoding: number): boolean {
  return ((encoding >>> 25) & 0b0101) === 0b0100;
}

export function usesStackPointer(encoding: number): boolean {
  return classOf(encoding) !== AddressClass.literal && baseRegister(encoding) === STACK_POINTER;
}

function baseRegister(encoding: number): number {
  return (encoding >>> 5) & 31;
}

/** Bits 29 to 27. */
const AddressClass = { base: 0b001, literal: 0b011, pair: 0b101, single: 0b111 } as const;

function classOf(encoding: number): number {
  return (encoding >>> 27) & 7;
}

function isVector(encoding: number): boolean {
  return ((encoding >>> 26) & 1) === 1;
}

/** First byte that the load or store `encoding` (one for which `isLoadOrStore` holds) of the selected vCPU accesses. */
export function dataAddress(states: VcpuStates, encoding: number): bigint {
  const kind = classOf(encoding);
  if (kind === AddressClass.literal)
    return (states.pc + BigInt.asIntN(21, BigInt((encoding >>> 5) & 0x7_ffff) << 2n)) & U64;
  const register = baseRegister(encoding);
  const base = register === STACK_POINTER ? states.engine.readField(sp) : states.readX(register);
  if (kind === AddressClass.pair) return (base + pairOffset(encoding)) & U64;
  if (kind === AddressClass.single) return (base + singleOffset(states, encoding)) & U64;
  return base;
}

/** Post-indexed: the base itself. */
function pairOffset(encoding: number): bigint {
  if (((encoding >>> 23) & 3) === 0b01) return 0n;
  const opc = encoding >>> 30;
  const scale = isVector(encoding) ? opc + 2 : opc === 0b10 ? 3 : 2;
  return BigInt.asIntN(7, BigInt((encoding >>> 15) & 0x7f)) << BigInt(scale);
}

function singleOffset(states: VcpuStates, encoding: number): bigint {
  const size = encoding >>> 30;
  const scale = isVector(encoding) && ((encoding >>> 23) & 1) === 1 ? 4 : size;
  if (((encoding >>> 24) & 1) === 1) return BigInt((encoding >>> 10) & 0xfff) << BigInt(scale);
  const mode = (encoding >>> 10) & 3;
  if (((encoding >>> 21) & 1) === 1) return registerOffset(states, encoding, scale);
  return mode === 0b01 ? 0n : BigInt.asIntN(9, BigInt((encoding >>> 12) & 0x1ff));
}

/** Rm, extended as option says, and shifted by the access's size when S is set. */
function registerOffset(states: VcpuStates, encoding: number, scale: number): bigint {
  const value = states.readX((encoding >>> 16) & 31);
  const option = (encoding >>> 13) & 7;
  const isSigned = (option & 4) !== 0;
  const width = (option & 1) === 1 ? 64 : 32;
  const extended = isSigned ? BigInt.asIntN(width, value) : BigInt.asUintN(width, value);
  return ((encoding >>> 12) & 1) === 1 ? extended << BigInt(scale) : extended;
}
