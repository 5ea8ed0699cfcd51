/**
 * The status flags: written and read in one place, in the form that `state.ts` describes. Intel SDM volume 1, 3.4.3.
 *
 * What the manual leaves undefined is as AMD's family 19h (Zen 3) does it; a definition's `undefinedFlags` lists which:
 *
 * | instructions | undefined | here |
 * |---|---|---|
 * | AND, OR, XOR, TEST | AF | clear |
 * | shifts, SHLD, SHRD by 1 or more | AF | set |
 * | the same by more than 1 | OF | as if the last bit were shifted alone |
 * | SHL, SHR by more than the operand has | CF | clear |
 * | rotates by more than 1 | OF | as if the last bit were rotated alone |
 * | MUL, IMUL | SF, ZF, AF, PF | unchanged |
 * | DIV, IDIV | all | AF set; SF, ZF, PF clear; CF, OF unchanged |
 * | BSF, BSR | all but ZF | unchanged |
 * | BT, BTS, BTR, BTC | OF, SF, AF, PF | unchanged |
 * | LZCNT | OF, SF, AF, PF | OF unchanged, the others clear |
 * | AAM, AAD, AAA, AAS, DAA, DAS | see `instructions/decimal.ts` | |
 */
import type { Routine, Stage, Value } from "@hvjournal/engine";
import { bitsOf, low32, type OperandSize, type OperandWidth, signExtended } from "./general-registers.js";
import { Flag, STATUS_FLAGS } from "./registers.js";
import { flagAdjust, flagCarry, flagOverflow, flagParity, flagSign, flagZero, rflags } from "./state.js";

/** An operation that has set flags, with operands and result cut to its size. */
export interface FlagUpdate {
  /** `add`: right added to left; `subtract`: right taken from left; `...Carry`: CF too; `logic`: whatever gave the result. */
  readonly kind: "add" | "addWithCarry" | "subtract" | "subtractWithBorrow" | "logic";
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
  const carry = writes(Flag.CF) ? carryOf(stage, update) : undefined;
  const overflow = writes(Flag.OF) ? overflowOf(stage, update) : undefined;
  const adjust = writes(Flag.AF) ? adjustOf(stage, update) : undefined;
  const wide = signExtended(stage, size, result);
  if (carry !== undefined) stage.write(flagCarry, carry);
  if (overflow !== undefined) stage.write(flagOverflow, overflow);
  if (adjust !== undefined) stage.write(flagAdjust, adjust);
  if (writes(Flag.ZF)) stage.write(flagZero, wide);
  if (writes(Flag.SF)) stage.write(flagSign, wide);
  if (writes(Flag.PF)) stage.write(flagParity, low32(stage, size, result));
}

/** ZF, SF and PF of a result. */
export function setResultFlags(stage: Stage, size: OperandSize, result: Value<OperandWidth>): void {
  const wide = signExtended(stage, size, result);
  stage.write(flagZero, wide);
  stage.write(flagSign, wide);
  stage.write(flagParity, low32(stage, size, result));
}

/** CF: 0 or 1. */
function carryOf(stage: Stage, { kind, size, left, right, result }: FlagUpdate): Value<32> {
  const top = (value: Value<OperandWidth>): Value<32> =>
    low32(stage, size, stage.extractBits(value, bitsOf(size) - 1, 1));
  switch (kind) {
    case "add":
      return compareBelow(stage, size, result, left);
    case "subtract":
      return compareBelow(stage, size, left, right);
    case "addWithCarry":
      return top(stage.or(stage.and(left, right), stage.and(stage.or(left, right), stage.not(result))));
    case "subtractWithBorrow":
      return top(stage.or(stage.and(stage.not(left), right), stage.and(stage.not(stage.xor(left, right)), result)));
    case "logic":
      return stage.constant32(0);
    default:
      return kind satisfies never;
  }
}

/** OF in bit 63. */
function overflowOf(stage: Stage, { kind, size, left, right, result }: FlagUpdate): Value<64> {
  if (kind === "logic") return stage.constant64(0);
  const other = kind === "add" || kind === "addWithCarry" ? stage.xor(right, result) : stage.xor(left, right);
  return signExtended(stage, size, stage.and(stage.xor(left, result), other));
}

/** AF in bit 4. Logic leaves it undefined: it is clear. */
function adjustOf(stage: Stage, { kind, size, left, right, result }: FlagUpdate): Value<32> {
  if (kind === "logic") return stage.constant32(0);
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

/** CF alone: 0 or 1. */
export function setCarryFlag(stage: Stage, carry: Value<32>): void {
  stage.write(flagCarry, carry);
}

/** OF alone, from the sign of a value of a size. */
export function setOverflowFlag(stage: Stage, size: OperandSize, value: Value<OperandWidth>): void {
  stage.write(flagOverflow, signExtended(stage, size, value));
}

/** AF alone, from a constant. */
export function setAdjustFlag(stage: Stage, set: boolean): void {
  stage.write(flagAdjust, stage.constant32(set ? Flag.AF : 0));
}

/** AF alone: bit 4 of a value. */
export function writeAdjustFlag(stage: Stage, value: Value<32>): void {
  stage.write(flagAdjust, value);
}

/** Truth: the low byte of what the flags come from has even parity. */
function parityFlag(stage: Stage): Value<32> {
  const bits = stage.unary("popcnt", stage.and(stage.read(flagParity), stage.constant32(0xff)));
  return stage.isZero(stage.and(bits, stage.constant32(1)));
}

function isNegative(stage: Stage, value: Value<64>): Value<32> {
  return stage.compare("lt_s", value, stage.constant64(0));
}

/** Conditions by the low four bits of Jcc's opcode, without the lowest, which negates: Intel SDM volume 1, appendix B. */
const CONDITIONS: readonly ((stage: Stage) => Value<32>)[] = [
  (stage) => isNegative(stage, stage.read(flagOverflow)),
  (stage) => stage.read(flagCarry),
  (stage) => stage.isZero(stage.read(flagZero)),
  (stage) => stage.or(stage.read(flagCarry), stage.isZero(stage.read(flagZero))),
  (stage) => isNegative(stage, stage.read(flagSign)),
  parityFlag,
  (stage) => isNegative(stage, stage.xor(stage.read(flagSign), stage.read(flagOverflow))),
  (stage) =>
    stage.or(
      isNegative(stage, stage.xor(stage.read(flagSign), stage.read(flagOverflow))),
      stage.isZero(stage.read(flagZero)),
    ),
];

/** Truth (0 or 1): the condition that the low four bits of an opcode name. */
export function conditionHolds(stage: Stage, code: number): Value<32> {
  const condition = CONDITIONS[(code >> 1) & 7];
  if (condition === undefined) throw new RangeError(`condition ${code}`);
  const holds = condition(stage);
  return (code & 1) === 0 ? holds : stage.isZero(holds);
}

/** Names of the conditions, as in Jcc. */
export const CONDITION_NAMES = [
  "o",
  "no",
  "b",
  "ae",
  "e",
  "ne",
  "be",
  "a",
  "s",
  "ns",
  "p",
  "np",
  "l",
  "ge",
  "le",
  "g",
] as const;

/** All of RFLAGS that is defined (bits 21 to 0), as PUSHF would see it. */
export function readRflags(stage: Stage): Value<32> {
  const system = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(~STATUS_FLAGS));
  const place = (flag: number, truth: Value<32>): Value<32> => stage.shiftLeft(truth, Math.log2(flag));
  const top = (value: Value<64>): Value<32> => stage.truncate32(stage.shiftRight(value, 63));
  const parity = parityFlag(stage);
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
