/** The status flags: written and read in one place, in the form that `state.ts` describes. Intel SDM volume 1, 3.4.3. */
import type { Routine, Stage, Value } from "@hvjournal/engine";
import { bitsOf, low32, type OperandSize, type OperandWidth, signExtended } from "./general-registers.js";
import { Flag, STATUS_FLAGS } from "./registers.js";
import { flagAdjust, flagCarry, flagOverflow, flagParity, flagSign, flagZero, rflags } from "./state.js";

/** An operation that has set flags, with operands and result cut to its size. */
export interface FlagUpdate {
  /**
   * `add`: right added to left; `addWithCarry`: CF too; `shiftLeft`: left shifted by right, 1 to 63, of 32 bits: an
   * instruction that shifts by 0 writes no flags.
   */
  readonly kind: "add" | "addWithCarry" | "shiftLeft";
  readonly size: OperandSize;
  readonly left: Value<OperandWidth>;
  readonly right: Value<OperandWidth>;
  readonly result: Value<OperandWidth>;
  /** Bits of `Flag` that are written; the others stay. Default: all status flags. */
  readonly written?: number;
}

export function setFlags(stage: Stage, update: FlagUpdate): void {
  const { size, result, written = STATUS_FLAGS } = update;
  const writes = (flag: number): boolean => (written & flag) !== 0;
  const carry = writes(Flag.CF | Flag.OF) ? carryOf(stage, update) : undefined;
  const overflow = writes(Flag.OF) ? overflowOf(stage, update) : undefined;
  const adjust = writes(Flag.AF) ? adjustOf(stage, update) : undefined;
  const wide = signExtended(stage, size, result);
  if (writes(Flag.CF) && carry !== undefined) stage.write(flagCarry, carry);
  if (overflow !== undefined) stage.write(flagOverflow, overflow);
  if (adjust !== undefined) stage.write(flagAdjust, adjust);
  if (writes(Flag.ZF)) stage.write(flagZero, wide);
  if (writes(Flag.SF)) stage.write(flagSign, wide);
  if (writes(Flag.PF)) stage.write(flagParity, low32(stage, size, result));
}

/** CF: 0 or 1. */
function carryOf(stage: Stage, { kind, size, left, right, result }: FlagUpdate): Value<32> {
  switch (kind) {
    case "add":
      return compareBelow(stage, size, result, left);
    case "addWithCarry": {
      const out = stage.or(stage.and(left, right), stage.and(stage.or(left, right), stage.not(result)));
      return low32(stage, size, stage.extractBits(out, bitsOf(size) - 1, 1));
    }
    case "shiftLeft": {
      const count = stage.zeroExtend64(low32(stage, size, right));
      if (size === 3) {
        // Shift counts are taken modulo 64, so this is 64 - count for 1 to 63.
        const last = stage.binary("shr_u", left as Value<64>, stage.sub(stage.constant64(0), count));
        return stage.truncate32(stage.and(last, stage.constant64(1)));
      }
      const shifted = stage.binary("shl", stage.zeroExtend64(left as Value<32>), count);
      return stage.truncate32(stage.extractBits(shifted, bitsOf(size), 1));
    }
    default:
      return kind satisfies never;
  }
}

/** OF in bit 63. A shift by more than one bit leaves it undefined: it is as if the last bit were shifted alone. */
function overflowOf(stage: Stage, update: FlagUpdate): Value<64> {
  const { kind, size, left, right, result } = update;
  if (kind !== "shiftLeft")
    return signExtended(stage, size, stage.and(stage.xor(left, result), stage.xor(right, result)));
  const carry = stage.shiftLeft(stage.zeroExtend64(carryOf(stage, update)), 63);
  return stage.xor(carry, signExtended(stage, size, result));
}

/** AF in bit 4. A shift leaves it undefined: it is clear. */
function adjustOf(stage: Stage, { kind, size, left, right, result }: FlagUpdate): Value<32> {
  if (kind === "shiftLeft") return stage.constant32(0);
  return low32(stage, size, stage.xor(stage.xor(left, right), result));
}

function compareBelow(
  stage: Stage,
  size: OperandSize,
  left: Value<OperandWidth>,
  right: Value<OperandWidth>,
): Value<32> {
  return size === 3
    ? stage.compare("lt_u", left as Value<64>, right as Value<64>)
    : stage.compare("lt_u", left as Value<32>, right as Value<32>);
}

/** ZF alone, from a truth value. */
export function setZeroFlag(stage: Stage, holds: Value<32>): void {
  stage.write(flagZero, stage.zeroExtend64(stage.isZero(holds)));
}

/** All status flags, from their bits of RFLAGS. */
export function writeStatusFlags(stage: Stage, image: Value<32>): void {
  const bit = (flag: number): Value<32> => stage.extractBits(image, Math.log2(flag), 1);
  const topOf = (flag: number): Value<64> => stage.shiftLeft(stage.zeroExtend64(bit(flag)), 63);
  stage.write(flagCarry, bit(Flag.CF));
  // One bit in the low byte is odd parity.
  stage.write(flagParity, stage.isZero(bit(Flag.PF)));
  stage.write(flagAdjust, stage.and(image, stage.constant32(Flag.AF)));
  stage.write(flagZero, stage.zeroExtend64(stage.isZero(bit(Flag.ZF))));
  stage.write(flagSign, topOf(Flag.SF));
  stage.write(flagOverflow, topOf(Flag.OF));
}

/** CF: 0 or 1. */
export function carryFlag(stage: Stage): Value<32> {
  return stage.read(flagCarry);
}

/** All of RFLAGS that is defined (bits 21 to 0), as PUSHF would see it. */
export function readRflags(stage: Stage): Value<32> {
  const system = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(~STATUS_FLAGS));
  const place = (flag: number, truth: Value<32>): Value<32> => stage.shiftLeft(truth, Math.log2(flag));
  const top = (value: Value<64>): Value<32> => stage.truncate32(stage.shiftRight(value, 63));
  const parityBits = stage.unary("popcnt", stage.and(stage.read(flagParity), stage.constant32(0xff)));
  const parity = stage.isZero(stage.and(parityBits, stage.constant32(1)));
  const status = [
    stage.read(flagCarry),
    place(Flag.PF, parity),
    stage.and(stage.read(flagAdjust), stage.constant32(Flag.AF)),
    place(Flag.ZF, stage.isZero(stage.read(flagZero))),
    place(Flag.SF, top(stage.read(flagSign))),
    place(Flag.OF, top(stage.read(flagOverflow))),
  ];
  return status.reduce((sum, flag) => stage.or(sum, flag), stage.or(system, stage.constant32(Flag.fixed)));
}

/** Writes the flags of `mask` from an image of RFLAGS; `mask` has all status flags. */
export function writeRflags(stage: Stage, image: Value<32>, mask: Value<32>): void {
  const kept = stage.and(stage.truncate32(stage.read(rflags)), stage.not(mask));
  stage.write(rflags, stage.zeroExtend64(stage.or(kept, stage.and(image, mask))));
  writeStatusFlags(stage, image);
}

/** For the host, before it reads or saves state: `engine.callRoutine(materializeFlags)`. */
export const materializeFlags: Routine & { readonly result: undefined } = {
  name: "materializeFlags",
  parameters: [],
  result: undefined,
  body(stage) {
    stage.write(rflags, stage.zeroExtend64(readRflags(stage)));
  },
};
