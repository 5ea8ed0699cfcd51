/** How definitions read and write general registers and memory of the operand size that an encoding selects. */
import { type AccessHandle, elementOf, type Stage, type StateField, type Value } from "@hvjournal/engine";
import { gpr } from "./state.js";

/** Widths that integer operands have on the stage: bytes and words are zero-extended to 32. */
export type OperandWidth = 32 | 64;

/** log2 of an operand's bytes. */
export type OperandSize = 0 | 1 | 2 | 3;

export function sizeOf(form: { readonly size: number }): OperandSize {
  return form.size as OperandSize;
}

export function bytesOf(size: OperandSize): 1 | 2 | 4 | 8 {
  return (1 << size) as 1 | 2 | 4 | 8;
}

export function bitsOf(size: OperandSize): 8 | 16 | 32 | 64 {
  return (8 << size) as 8 | 16 | 32 | 64;
}

/** Made once: each hypercall reads several. */
const GENERAL_REGISTERS: readonly StateField<64>[] = Array.from({ length: gpr.count }, (_, number) =>
  elementOf(gpr, number),
);

/** A general register as a field. Throws RangeError where there is none. */
export function generalRegister(number: number): StateField<64> {
  return GENERAL_REGISTERS[number] ?? elementOf(gpr, number);
}

/** Reads the register whose byte offset is an operand. */
export function readRegister(stage: Stage, size: OperandSize, register: Value<32>): Value<OperandWidth> {
  if (size === 3) return stage.readAt(64, register);
  return cut(stage, size, stage.readAt(32, register));
}

/** Bytes and words leave the rest of the register as it is; doublewords clear the upper half. */
export function writeRegister(stage: Stage, size: OperandSize, register: Value<32>, value: Value<OperandWidth>): void {
  if (size === 3) return stage.writeAt(register, value as Value<64>);
  if (size === 2) return stage.writeAt(register, stage.zeroExtend64(value as Value<32>));
  const kept = stage.and(stage.readAt(32, register), stage.constant32(-1 << bitsOf(size)));
  stage.writeAt(register, stage.or(kept, cut(stage, size, value as Value<32>)));
}

/** The low bits that a size has. */
export function cut(stage: Stage, size: OperandSize, value: Value<OperandWidth>): Value<OperandWidth> {
  return size >= 2 ? value : stage.zeroExtendFrom(bitsOf(size), value as Value<32>);
}

export function loadOperand(stage: Stage, size: OperandSize, handle: AccessHandle): Value<OperandWidth> {
  return size === 3 ? stage.load(64, handle, 0, 64) : stage.load(32, handle, 0, bitsOf(size));
}

export function storeOperand(stage: Stage, size: OperandSize, handle: AccessHandle, value: Value<OperandWidth>): void {
  stage.store(handle, 0, bitsOf(size), value);
}

/** A number known now, in the width of a size. */
export function constant(stage: Stage, size: OperandSize, value: number): Value<OperandWidth> {
  return size === 3 ? stage.constant64(value) : stage.constant32(value);
}

/** An immediate operand (sign and all) in the width of a size. */
export function immediate(stage: Stage, size: OperandSize, value: Value<32>): Value<OperandWidth> {
  return size === 3 ? stage.signExtend64(value) : cut(stage, size, value);
}

/** A truth value or other small number in the width of a size. */
export function widen(stage: Stage, size: OperandSize, value: Value<32>): Value<OperandWidth> {
  return size === 3 ? stage.zeroExtend64(value) : value;
}

/** The low 32 bits. */
export function low32(stage: Stage, size: OperandSize, value: Value<OperandWidth>): Value<32> {
  return size === 3 ? stage.truncate32(value as Value<64>) : (value as Value<32>);
}

/** Sign-extended to 64 bits from the top bit of the size. */
export function signExtended(stage: Stage, size: OperandSize, value: Value<OperandWidth>): Value<64> {
  if (size === 3) return value as Value<64>;
  const narrow = value as Value<32>;
  return stage.signExtend64(size === 2 ? narrow : stage.signExtendFrom(size === 0 ? 8 : 16, narrow));
}
