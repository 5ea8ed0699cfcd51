/** NZCV: written and read in one place, in the form that `state.ts` describes. Arm ARM: PSTATE, C1.2.4, shared pseudocode AddWithCarry, ConditionHolds. */
import type { Stage, Value } from "@hvjournal/engine";
import { flagC, flagN, flagV, flagZ } from "./state.js";

function widen(stage: Stage, width: 32 | 64, value: Value<32 | 64>): Value<64> {
  return width === 64 ? (value as Value<64>) : stage.signExtend64(value as Value<32>);
}

/** N and Z of a result; C and V cleared (ANDS, BICS). */
export function setFlagsLogical<W extends 32 | 64>(stage: Stage, width: W, result: Value<W>): void {
  const wide = widen(stage, width, result);
  stage.write(flagN, wide);
  stage.write(flagZ, wide);
  stage.write(flagC, stage.constant32(0));
  stage.write(flagV, stage.constant32(0));
}

/** Flags of `left + right`, whose sum is `sum`. */
export function setFlagsAdd<W extends 32 | 64>(
  stage: Stage,
  width: W,
  left: Value<W>,
  right: Value<W>,
  sum: Value<W>,
): void {
  const wide = widen(stage, width, sum);
  stage.write(flagN, wide);
  stage.write(flagZ, wide);
  stage.write(flagC, compareUnsigned(stage, width, "lt_u", sum, left));
  stage.write(flagV, overflow(stage, width, stage.and(stage.xor(left, sum), stage.xor(right, sum))));
}

/** Flags of `left - right`, whose difference is `difference`: C is "no borrow". */
export function setFlagsSubtract<W extends 32 | 64>(
  stage: Stage,
  width: W,
  left: Value<W>,
  right: Value<W>,
  difference: Value<W>,
): void {
  const wide = widen(stage, width, difference);
  stage.write(flagN, wide);
  stage.write(flagZ, wide);
  stage.write(flagC, compareUnsigned(stage, width, "ge_u", left, right));
  stage.write(flagV, overflow(stage, width, stage.and(stage.xor(left, right), stage.xor(left, difference))));
}

/** Flags of `left + right + carryIn` (ADCS; SBCS with `right` inverted), whose sum is `sum`. */
export function setFlagsAddWithCarry<W extends 32 | 64>(
  stage: Stage,
  width: W,
  left: Value<W>,
  right: Value<W>,
  carryIn: Value<32>,
  sum: Value<W>,
): void {
  const wide = widen(stage, width, sum);
  stage.write(flagN, wide);
  stage.write(flagZ, wide);
  const below = compareUnsigned(stage, width, "lt_u", sum, left);
  const notAbove = compareUnsigned(stage, width, "le_u", sum, left);
  stage.write(flagC, stage.select(carryIn, notAbove, below));
  stage.write(flagV, overflow(stage, width, stage.and(stage.xor(left, sum), stage.xor(right, sum))));
}

/** Flags from a 4-bit NZCV number in bits 3 to 0 (CCMP, FCMP). */
export function setFlagsNzcv(stage: Stage, nzcv: Value<32>): void {
  stage.write(flagN, stage.shiftLeft(stage.zeroExtend64(nzcv), 60));
  stage.write(flagZ, stage.zeroExtend64(stage.xor(stage.extractBits(nzcv, 2, 1), stage.constant32(1))));
  stage.write(flagC, stage.extractBits(nzcv, 1, 1));
  stage.write(flagV, stage.extractBits(nzcv, 0, 1));
}

/** NZCV in bits 3 to 0. */
export function readNzcv(stage: Stage): Value<32> {
  const n = stage.truncate32(stage.shiftRight(stage.read(flagN), 63));
  const z = stage.isZero(stage.read(flagZ));
  return stage.or(
    stage.or(stage.shiftLeft(n, 3), stage.shiftLeft(z, 2)),
    stage.or(stage.shiftLeft(stage.read(flagC), 1), stage.read(flagV)),
  );
}

/** Truth of a condition code, 0 (EQ) to 15 (AL). */
export function conditionHolds(stage: Stage, condition: number): Value<32> {
  const base = positiveCondition(stage, condition >> 1);
  return (condition & 1) === 1 && condition !== 15 ? stage.isZero(base) : base;
}

function positiveCondition(stage: Stage, kind: number): Value<32> {
  const n = (): Value<32> => stage.truncate32(stage.shiftRight(stage.read(flagN), 63));
  const z = (): Value<32> => stage.isZero(stage.read(flagZ));
  const zClear = (): Value<32> => stage.compare("ne", stage.read(flagZ), stage.constant64(0));
  const nEqualsV = (): Value<32> => stage.compare("eq", n(), stage.read(flagV));
  switch (kind) {
    case 0:
      return z();
    case 1:
      return stage.read(flagC);
    case 2:
      return n();
    case 3:
      return stage.read(flagV);
    case 4:
      return stage.and(stage.read(flagC), zClear());
    case 5:
      return nEqualsV();
    case 6:
      return stage.and(zClear(), nEqualsV());
    default:
      return stage.constant32(1);
  }
}

function compareUnsigned<W extends 32 | 64>(
  stage: Stage,
  width: W,
  op: "lt_u" | "le_u" | "ge_u",
  left: Value<W>,
  right: Value<W>,
): Value<32> {
  return width === 64
    ? stage.compare(op, left as Value<64>, right as Value<64>)
    : stage.compare(op, left as Value<32>, right as Value<32>);
}

function overflow<W extends 32 | 64>(stage: Stage, width: W, signs: Value<W>): Value<32> {
  const top = stage.shiftRight(signs, width - 1);
  return width === 64 ? stage.truncate32(top as Value<64>) : (top as Value<32>);
}
