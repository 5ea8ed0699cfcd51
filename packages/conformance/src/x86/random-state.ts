/** Random states that cases start from: pointers into the data, small numbers, and values where carries and signs turn. */
import type { RandomSource } from "../arm64/random-source.js";
import {
  type Bits,
  BLOCK_BYTES,
  BlockOffset,
  CODE_ADDRESS,
  FXSAVE_BYTES,
  FxsaveOffset,
  STATE_REGISTERS,
  WINDOW_ADDRESS,
  WINDOW_BYTES,
} from "./case-block.js";

/** RBX, RSP, RBP, RSI, RDI, R12 to R15 begin with pointers into the window. */
export const POINTERS: readonly number[] = [3, 4, 5, 6, 7, 12, 13, 14, 15];
/** RCX, R8, R9 with small numbers. */
export const INDICES: readonly number[] = [1, 8, 9];
const POINTER_FIRST = WINDOW_ADDRESS + 0x100;
const POINTER_BYTES = 0x200;
const SMALL_MAX = 70;
/** Code that does nothing but end the case. */
const FREE_CODE = CODE_ADDRESS + 0x100;
const FREE_CODE_BYTES = 0x500;

const EDGES = [
  0n,
  1n,
  2n,
  0xfn,
  0x10n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
];

/** Status flags and DF. */
const FLAGS = 0xcd5;
const FLAG_DF = 0x400;

/** A block whose code is still empty. */
export function randomState(random: RandomSource, bits: Bits): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = new DataView(block.buffer);
  const registers = bits === 64 ? STATE_REGISTERS : 8;
  for (let number = 0; number < registers; number++)
    view.setBigUint64(BlockOffset.gpr + 8 * number, BigInt.asUintN(bits, randomRegister(random, number)), true);
  const flags = random.word() & (random.oneIn(4) ? FLAGS : FLAGS & ~FLAG_DF);
  view.setBigUint64(BlockOffset.rflags, BigInt(flags | 0x202), true);
  for (let offset = BlockOffset.window; offset < BLOCK_BYTES; offset += 8)
    view.setBigUint64(offset, randomValue(random), true);
  randomFloats(random, bits, new DataView(block.buffer, BlockOffset.fxsave, FXSAVE_BYTES));
  return block;
}

function randomRegister(random: RandomSource, number: number): bigint {
  if (POINTERS.includes(number) && !random.oneIn(8)) {
    const offset = random.below(POINTER_BYTES);
    return BigInt(POINTER_FIRST + (random.oneIn(3) ? offset : offset & ~15));
  }
  if (INDICES.includes(number) && !random.oneIn(3)) return BigInt(random.below(SMALL_MAX));
  return randomValue(random);
}

function randomValue(random: RandomSource): bigint {
  switch (random.below(8)) {
    case 0:
    case 1:
      return random.pick(EDGES);
    case 2:
      return BigInt(FREE_CODE + random.below(FREE_CODE_BYTES));
    case 3:
      return BigInt(random.below(256));
    case 4:
      return BigInt.asUintN(64, random.pick(EDGES) + BigInt(random.between(-3, 3)));
    default:
      return random.doubleword();
  }
}

/** An offset in the window whose next `bytes` lie in it. */
export function randomWindowAddress(random: RandomSource, bytes: number): number {
  return WINDOW_ADDRESS + random.below(WINDOW_BYTES - bytes);
}

function randomFloats(random: RandomSource, bits: Bits, view: DataView): void {
  const rounding = random.below(4);
  view.setUint16(
    FxsaveOffset.fcw,
    0x7f | (random.oneIn(3) ? random.pick([0, 2, 3]) << 8 : 0x300) | (rounding << 10),
    true,
  );
  view.setUint16(FxsaveOffset.fsw, (random.below(8) << 11) | (random.word() & 0x4700), true);
  view.setUint8(FxsaveOffset.tags, random.oneIn(2) ? 0xff : random.word() & 0xff);
  view.setUint32(FxsaveOffset.mxcsr, 0x1f80 | (random.oneIn(2) ? random.below(4) << 13 : 0), true);
  for (let index = 0; index < 8; index++) {
    const offset = FxsaveOffset.st + 16 * index;
    const [significand, exponent] = randomExtended(random);
    view.setBigUint64(offset, significand, true);
    view.setUint16(offset + 8, exponent, true);
  }
  const registers = bits === 64 ? 16 : 8;
  for (let half = 0; half < 2 * registers; half++)
    view.setBigUint64(FxsaveOffset.xmm + 8 * half, randomFloatBits(random), true);
  randomExceptions(random, view);
}

/** IE to PE in FSW and MXCSR. */
const EXCEPTION_FLAGS = 0x3f;
const FCW_RESERVED = 0x40;
const MXCSR_MASK_SHIFT = 7;
const MXCSR_MASKS = EXCEPTION_FLAGS << MXCSR_MASK_SHIFT;
const MXCSR_DAZ = 0x40;
const MXCSR_FTZ = 0x8000;

/** Flags that are set already; exceptions that reach a handler in a quarter of the states: #MF, #XM; DAZ and FTZ. */
function randomExceptions(random: RandomSource, view: DataView): void {
  if (random.oneIn(4)) {
    const fcw = view.getUint16(FxsaveOffset.fcw, true) & ~EXCEPTION_FLAGS;
    view.setUint16(FxsaveOffset.fcw, fcw | FCW_RESERVED | (random.word() & EXCEPTION_FLAGS), true);
  }
  // An x87 flag without its mask would be an exception from before.
  const masked = view.getUint16(FxsaveOffset.fcw, true) & EXCEPTION_FLAGS;
  const status = view.getUint16(FxsaveOffset.fsw, true);
  if (random.oneIn(2)) view.setUint16(FxsaveOffset.fsw, status | (random.word() & masked), true);
  let mxcsr = view.getUint32(FxsaveOffset.mxcsr, true);
  if (random.oneIn(4)) mxcsr = (mxcsr & ~MXCSR_MASKS) | (random.word() & MXCSR_MASKS);
  if (random.oneIn(2)) mxcsr |= random.word() & EXCEPTION_FLAGS;
  if (random.oneIn(4)) mxcsr |= random.word() & (MXCSR_DAZ | MXCSR_FTZ);
  view.setUint32(FxsaveOffset.mxcsr, mxcsr, true);
}

const EXPONENT_BIAS = 0x3fff;

/** Significand, and sign with exponent. */
function randomExtended(random: RandomSource): readonly [bigint, number] {
  const sign = random.oneIn(2) ? 0x8000 : 0;
  const integerBit = 1n << 63n;
  switch (random.below(8)) {
    case 0:
      return [0n, sign];
    case 1:
      return [integerBit, sign | 0x7fff];
    case 2:
      return [integerBit | random.doubleword(), sign | 0x7fff];
    case 3:
      return [random.doubleword() >> 1n, sign];
    case 4:
      return [integerBit | (BigInt(random.below(64)) << 40n), sign | (EXPONENT_BIAS + random.between(-3, 70))];
    default:
      return [integerBit | random.doubleword(), sign | (EXPONENT_BIAS + random.between(-40, 70))];
  }
}

function randomFloatBits(random: RandomSource): bigint {
  const numbers = new DataView(new ArrayBuffer(8));
  const value = (random.below(2000) - 1000) * 2 ** random.between(-8, 8);
  switch (random.below(6)) {
    case 0:
      numbers.setFloat64(0, value, true);
      return numbers.getBigUint64(0, true);
    case 1:
      numbers.setFloat32(0, value, true);
      numbers.setFloat32(4, value / 3, true);
      return numbers.getBigUint64(0, true);
    case 2:
      return random.pick([
        0n,
        0x7ff0_0000_0000_0000n,
        0x7ff8_0000_0000_0001n,
        0x7ff0_0000_0000_0001n,
        0x8000_0000_0000_0001n,
      ]);
    case 3:
      return random.pick([
        0x7f80_0000_ff80_0000n,
        0x7fc0_0001_7f80_0001n,
        0x0000_0001_8000_0000n,
        0x3f80_0000_bf80_0000n,
      ]);
    case 4:
      return randomValue(random);
    default:
      return random.doubleword();
  }
}
