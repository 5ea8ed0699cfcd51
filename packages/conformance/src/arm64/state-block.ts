/** The bytes of a case's data and registers, as the program under QEMU loads and saves them. */
import { DATA_ADDRESS, DATA_BYTES, type UserState } from "./user-case.js";

export const STATE_ADDRESS = DATA_ADDRESS + DATA_BYTES;

/** Offsets from `STATE_ADDRESS`; `next` belongs to the program and is not part of the block. */
export const StateOffset = {
  x: 0,
  sp: 248,
  nzcv: 256,
  fpcr: 264,
  fpsr: 272,
  signal: 280,
  trapPc: 288,
  v: 304,
  next: 816,
} as const;

/** Data, then state. */
export const BLOCK_BYTES = DATA_BYTES + StateOffset.next;

/** NZCV as MRS and MSR have it. */
const NZCV_SHIFT = 28n;

export function encodeBlock(state: UserState): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  const view = new DataView(bytes.buffer, DATA_BYTES);
  bytes.set(state.memory);
  state.x.forEach((value, index) => view.setBigUint64(StateOffset.x + 8 * index, value, true));
  view.setBigUint64(StateOffset.sp, state.sp, true);
  view.setBigUint64(StateOffset.nzcv, BigInt(state.nzcv) << NZCV_SHIFT, true);
  view.setBigUint64(StateOffset.fpcr, BigInt(state.fpcr), true);
  view.setBigUint64(StateOffset.fpsr, BigInt(state.fpsr), true);
  state.v.forEach((value, index) => {
    view.setBigUint64(StateOffset.v + 16 * index, BigInt.asUintN(64, value), true);
    view.setBigUint64(StateOffset.v + 16 * index + 8, value >> 64n, true);
  });
  return bytes;
}

export interface DecodedBlock {
  readonly state: UserState;
  /** Linux signal number that ended the case, or 0. */
  readonly signal: number;
  readonly trapPc: bigint;
}

export function decodeBlock(bytes: Uint8Array): DecodedBlock {
  const view = new DataView(bytes.buffer, bytes.byteOffset + DATA_BYTES, StateOffset.next);
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  return {
    state: {
      x: Array.from({ length: 31 }, (_, index) => word(StateOffset.x + 8 * index)),
      sp: word(StateOffset.sp),
      nzcv: Number(word(StateOffset.nzcv) >> NZCV_SHIFT),
      fpcr: Number(word(StateOffset.fpcr)),
      fpsr: Number(word(StateOffset.fpsr)),
      v: Array.from({ length: 32 }, (_, index) => {
        const offset = StateOffset.v + 16 * index;
        return word(offset) | (word(offset + 8) << 64n);
      }),
      memory: bytes.slice(0, DATA_BYTES),
    },
    signal: Number(word(StateOffset.signal)),
    trapPc: word(StateOffset.trapPc),
  };
}
