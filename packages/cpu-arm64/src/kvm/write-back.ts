/** The base register of a store that writes it back, put as it was: the store is to be another's (Arm ARM C4.1.66). */
import { instructionAt } from "./inspection.js";
import type { VcpuStates } from "./vcpu-state.js";

/** LDR and STR with an immediate of 9 bits, post- or pre-indexed; general and SIMD registers. */
const SINGLE = { mask: 0x3b20_0400, value: 0x3800_0400, immediateLow: 12, immediateBits: 9 } as const;
/** LDP and STP, post-indexed (bit 23 alone) or pre-indexed (bits 24 and 23). */
const PAIR = { mask: 0x3a80_0000, value: 0x2880_0000, immediateLow: 15, immediateBits: 7 } as const;
/** Store exclusive writes a status register too; the structure stores come back with a register or a size. */
const EXCLUSIVE = { mask: 0x3f00_0000, value: 0x0800_0000 } as const;
const STRUCTURE_POST_INDEXED = { mask: 0xbe80_0000, value: 0x0c80_0000 } as const;

function matches(word: number, { mask, value }: { readonly mask: number; readonly value: number }): boolean {
  return (word & mask) >>> 0 === value;
}

function signed(word: number, low: number, bits: number): number {
  return (word << (32 - low - bits)) >> (32 - bits);
}

/** Bytes that the instruction has added to its base register; undefined: what it changed can't be put back. */
export function writtenBack(word: number): number | undefined {
  if (matches(word, EXCLUSIVE) || matches(word, STRUCTURE_POST_INDEXED)) return undefined;
  if (matches(word, SINGLE)) return signed(word, SINGLE.immediateLow, SINGLE.immediateBits);
  if (!matches(word, PAIR)) return 0;
  return signed(word, PAIR.immediateLow, PAIR.immediateBits) * pairElementBytes(word);
}

function pairElementBytes(word: number): number {
  const size = word >>> 30;
  const isVector = ((word >>> 26) & 1) === 1;
  if (isVector) return 4 << size;
  return size === 2 ? 8 : 4;
}

/** For the store that the selected vCPU stands at. False: it can't be undone. */
export function undoWriteBack(states: VcpuStates): boolean {
  const word = instructionAt(states, states.pc);
  const added = word === undefined ? undefined : writtenBack(word);
  if (word === undefined || added === undefined) return false;
  if (added !== 0) states.addToBase((word >>> 5) & 31, BigInt(-added));
  return true;
}
