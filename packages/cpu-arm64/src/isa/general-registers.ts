/** How definitions read and write general registers of the width that `sf` selects. */
import type { Stage, Value } from "@hvjournal/engine";

export type RegisterWidth = 32 | 64;

export function widthOf(sf: number): RegisterWidth {
  return sf === 1 ? 64 : 32;
}

/** Writes a result to a register operand; 32-bit results clear the upper half. */
export function writeResult(
  stage: Stage,
  width: RegisterWidth,
  destination: Value<32>,
  result: Value<RegisterWidth>,
): void {
  stage.writeAt(destination, width === 64 ? (result as Value<64>) : stage.zeroExtend64(result as Value<32>));
}

/** A 64-bit operand cut to the width of the instruction. */
export function narrow(stage: Stage, width: RegisterWidth, value: Value<64>): Value<RegisterWidth> {
  return width === 64 ? value : stage.truncate32(value);
}

/** A 32-bit number widened, zero-extended, to the width of the instruction. */
export function widen(stage: Stage, width: RegisterWidth, value: Value<32>): Value<RegisterWidth> {
  return width === 64 ? stage.zeroExtend64(value) : value;
}

export function constant(stage: Stage, width: RegisterWidth, value: bigint | number): Value<RegisterWidth> {
  return width === 64 ? stage.constant64(value) : stage.constant32(Number(BigInt.asIntN(32, BigInt(value))));
}

export function compareAt(
  stage: Stage,
  width: RegisterWidth,
  op: Parameters<Stage["compare"]>[0],
  left: Value<RegisterWidth>,
  right: Value<RegisterWidth>,
): Value<32> {
  return width === 64
    ? stage.compare(op, left as Value<64>, right as Value<64>)
    : stage.compare(op, left as Value<32>, right as Value<32>);
}

export function isZeroAt(stage: Stage, width: RegisterWidth, value: Value<RegisterWidth>): Value<32> {
  return width === 64 ? stage.isZero(value as Value<64>) : stage.isZero(value as Value<32>);
}
