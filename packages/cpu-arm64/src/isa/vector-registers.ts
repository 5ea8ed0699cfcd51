/** How definitions read and write the SIMD and FP registers: whole vectors, halves, elements. Arm ARM: pseudocode V[], Vpart[], Elem[]. */
import type { LaneShape, Stage, Value } from "@hvjournal/engine";
import { type FloatBits, type FloatValue } from "./float-fast-path.js";
import { v } from "./state.js";

/** Bits of an element. */
export type LaneBits = 8 | 16 | 32 | 64;

const shapes = { 8: "i8x16", 16: "i16x8", 32: "i32x4", 64: "i64x2" } as const satisfies Record<LaneBits, LaneShape>;

export function shapeOf(bits: LaneBits): LaneShape {
  return shapes[bits];
}

/** Element bits of a `size` field, 0 to 3. */
export function laneBits(size: number): LaneBits {
  const bits = ([8, 16, 32, 64] as const)[size];
  if (bits === undefined) throw new RangeError(`no element has size ${size}`);
  return bits;
}

/** Element bits of an `sz` field of a floating-point instruction. */
export function floatBitsOf(sz: number): FloatBits {
  return sz === 1 ? 64 : 32;
}

/** Elements in a vector of 64 (`q` 0) or 128 bits. */
export function laneCount(bits: LaneBits, q: number): number {
  return (64 << q) / bits;
}

/** A vector; one of 64 bits stands in both halves, so that looking at all elements finds nothing else. */
export function readVector(stage: Stage, q: number, address: Value<32>): Value<128> {
  return q === 1 ? stage.readAt(128, address) : stage.splat("i64x2", stage.readAt(64, address));
}

/** Writes a vector of 64 or 128 bits; the rest of the register becomes zero. */
export function writeVector(stage: Stage, q: number, address: Value<32>, value: Value<128>): void {
  if (q === 1) stage.writeAt(address, value);
  else writeLow64(stage, address, stage.extractLane("i64x2", 0, value));
}

/** Writes the low 64 bits; the rest of the register becomes zero. */
export function writeLow64(stage: Stage, address: Value<32>, value: Value<64>): void {
  stage.writeAt(address, value);
  stage.writeAt(address, stage.constant64(0), 8);
}

/** Writes the low half of the register and clears the other (`q` 0), or writes the high half only: XTN and XTN2. */
export function writeHalf(stage: Stage, q: number, address: Value<32>, value: Value<64>): void {
  if (q === 1) stage.writeAt(address, value, 8);
  else writeLow64(stage, address, value);
}

/** An element at a byte of the register, zero-extended: 64 bits for a doubleword, else 32. */
export function readElement(stage: Stage, bits: LaneBits, address: Value<32>, bytes = 0): Value<32> | Value<64> {
  if (bits === 64) return stage.readAt(64, address, bytes);
  if (bits === 32) return stage.readAt(32, address, bytes);
  // The word that holds it, so that nothing behind the register is read.
  const word = stage.readAt(32, address, bytes & ~3);
  return stage.extractBits(word, (bytes & 3) * 8, bits);
}

/** An element in every place of a vector. */
export function splatElement(stage: Stage, bits: LaneBits, element: Value<32> | Value<64>): Value<128> {
  return bits === 64 ? stage.splat("i64x2", element as Value<64>) : stage.splat(shapes[bits], element as Value<32>);
}

/** A scalar register of `bits` as a vector that holds it in every place. */
export function readScalar(stage: Stage, bits: LaneBits, address: Value<32>): Value<128> {
  return splatElement(stage, bits, readElement(stage, bits, address));
}

/** The first element of a vector. */
export function firstLane(stage: Stage, bits: LaneBits, value: Value<128>): Value<32> | Value<64> {
  return lane(stage, bits, 0, value);
}

export function lane(
  stage: Stage,
  bits: LaneBits,
  index: number,
  value: Value<128>,
  signed = false,
): Value<32> | Value<64> {
  return bits === 64 ? stage.extractLane("i64x2", index, value) : stage.extractLane(shapes[bits], index, value, signed);
}

export function withLane(
  stage: Stage,
  bits: LaneBits,
  index: number,
  vector: Value<128>,
  value: Value<32> | Value<64>,
): Value<128> {
  return bits === 64
    ? stage.replaceLane("i64x2", index, vector, value as Value<64>)
    : stage.replaceLane(shapes[bits], index, vector, value as Value<32>);
}

/** Writes the first element of a vector as a scalar register; the rest of the register becomes zero. */
export function writeScalar(stage: Stage, bits: LaneBits, address: Value<32>, value: Value<128>): void {
  writeElementAlone(stage, bits, address, firstLane(stage, bits, value));
}

/** Writes an element, zero-extended, as a scalar register; the rest of the register becomes zero. */
export function writeElementAlone(
  stage: Stage,
  bits: LaneBits,
  address: Value<32>,
  value: Value<32> | Value<64>,
): void {
  writeLow64(stage, address, bits === 64 ? (value as Value<64>) : stage.zeroExtend64(value as Value<32>));
}

export function readFloat(stage: Stage, bits: FloatBits, address: Value<32>): FloatValue {
  return stage.readAt(bits, address);
}

export function writeFloat(stage: Stage, bits: FloatBits, address: Value<32>, value: FloatValue): void {
  writeElementAlone(stage, bits, address, value as Value<32> | Value<64>);
}

/** The same operation on every element of vectors of one shape. */
export function mapLanes(
  stage: Stage,
  bits: LaneBits,
  count: number,
  vectors: readonly Value<128>[],
  operation: (...elements: readonly (Value<32> | Value<64>)[]) => Value<32> | Value<64> | FloatValue,
  signed = false,
): Value<128> {
  let result = stage.constant128(0n, 0n);
  for (let index = 0; index < count; index++) {
    const elements = vectors.map((vector) => lane(stage, bits, index, vector, signed));
    result = withLane(stage, bits, index, result, operation(...elements) as Value<32> | Value<64>);
  }
  return result;
}

// Elements whose place is an operand

/** Byte offset in the state of the aligned word that holds an element of up to 32 bits, or of the doubleword. */
export function elementWord(register: number, bits: number, index: number): number {
  const bytes = (index * bits) / 8;
  return v.offset + 16 * (register & 31) + (bits === 64 ? bytes : bytes & ~3);
}

/** Bits below an element in its word. */
export function elementShift(bits: number, index: number): number {
  return bits >= 32 ? 0 : (index * bits) & 31;
}

/** Reads an element through `elementWord` and `elementShift`, zero-extended. */
export function readPlacedElement(
  stage: Stage,
  bits: LaneBits,
  word: Value<32>,
  shift: Value<32>,
): Value<32> | Value<64> {
  if (bits === 64) return stage.readAt(64, word);
  if (bits === 32) return stage.readAt(32, word);
  return stage.zeroExtendFrom(bits, stage.binary("shr_u", stage.readAt(32, word), shift));
}

/** Replaces an element through `elementWord` and `elementShift`; the rest of the register stays. */
export function writePlacedElement(
  stage: Stage,
  bits: LaneBits,
  word: Value<32>,
  shift: Value<32>,
  value: Value<32> | Value<64>,
): void {
  if (bits >= 32) {
    stage.writeAt(word, value);
    return;
  }
  const mask = stage.binary("shl", stage.constant32(2 ** bits - 1), shift);
  const kept = stage.and(stage.readAt(32, word), stage.not(mask));
  const placed = stage.and(stage.binary("shl", value as Value<32>, shift), mask);
  stage.writeAt(word, stage.or(kept, placed));
}
