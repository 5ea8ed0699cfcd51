/**
 * Integer arithmetic on the elements of vectors. Operations are on all 128 bits;
 * who uses fewer reads its operands so that the rest repeats them (`readVector`, `readScalar`).
 */
import type { Stage, Value } from "@hvjournal/engine";
import { fpsr } from "./state.js";
import { type LaneBits, shapeOf } from "./vector-registers.js";

export type Vector = Value<128>;
export type NarrowBits = 8 | 16 | 32;

/** Bit number of FPSR.QC. */
const QC_BIT = 27;

/** Sets FPSR.QC if `saturated`, 0 or 1, says so. */
export function setSaturated(stage: Stage, saturated: Value<32>): void {
  stage.write(fpsr, stage.or(stage.read(fpsr), stage.shiftLeft(saturated, QC_BIT)));
}

/** Sets FPSR.QC if any bit of the mask is set. */
export function reportSaturation(stage: Stage, mask: Vector): void {
  setSaturated(stage, stage.vectorToScalar("v128.any_true", mask));
}

/** An operation of the SIMD instruction set for elements of a width. */
export function lanes(stage: Stage, bits: LaneBits, op: string, ...operands: readonly Vector[]): Vector {
  return stage.vector(`${shapeOf(bits)}.${op}`, ...operands);
}

/** Every element has this bit pattern. */
export function constantLanes(stage: Stage, bits: LaneBits, pattern: bigint): Vector {
  let half = BigInt.asUintN(bits, pattern);
  for (let width: number = bits; width < 64; width *= 2) half |= half << BigInt(width);
  return stage.constant128(half, half);
}

export function allOnes(stage: Stage): Vector {
  return constantLanes(stage, 64, -1n);
}

export function signBits(stage: Stage, bits: LaneBits): Vector {
  return constantLanes(stage, bits, 1n << BigInt(bits - 1));
}

export function largest(bits: LaneBits, signed: boolean): bigint {
  return (1n << BigInt(signed ? bits - 1 : bits)) - 1n;
}

/** Bits of `whenSet` where the mask is set, else of `whenClear`. */
export function bitselect(stage: Stage, mask: Vector, whenSet: Vector, whenClear: Vector): Vector {
  return stage.vector("v128.bitselect", whenSet, whenClear, mask);
}

export function not(stage: Stage, value: Vector): Vector {
  return stage.vector("v128.not", value);
}

export function and(stage: Stage, left: Vector, right: Vector): Vector {
  return stage.vector("v128.and", left, right);
}

export function or(stage: Stage, left: Vector, right: Vector): Vector {
  return stage.vector("v128.or", left, right);
}

export function xor(stage: Stage, left: Vector, right: Vector): Vector {
  return stage.vector("v128.xor", left, right);
}

/** `left` without the bits of `right`. */
export function andNot(stage: Stage, left: Vector, right: Vector): Vector {
  return stage.vector("v128.andnot", left, right);
}

/** Shifts each element by a count below its width. */
export function shift(
  stage: Stage,
  bits: LaneBits,
  op: "shl" | "shr_s" | "shr_u",
  value: Vector,
  count: Value<32> | number,
): Vector {
  const amount = typeof count === "number" ? stage.constant32(count) : count;
  return stage.vector(`${shapeOf(bits)}.${op}`, value, amount);
}

/** All ones where an element is negative. */
export function signMask(stage: Stage, bits: LaneBits, value: Vector): Vector {
  return shift(stage, bits, "shr_s", value, bits - 1);
}

/** Shifts right by `count` (1 to the width of an element); `countLess` is `count - 1`. */
export function shiftRight(stage: Stage, bits: LaneBits, signed: boolean, value: Vector, countLess: Value<32>): Vector {
  const op = signed ? "shr_s" : "shr_u";
  return shift(stage, bits, op, shift(stage, bits, op, value, countLess), 1);
}

/** The same, rounded to nearest, half upwards. */
export function shiftRightRounded(
  stage: Stage,
  bits: LaneBits,
  signed: boolean,
  value: Vector,
  countLess: Value<32>,
): Vector {
  const op = signed ? "shr_s" : "shr_u";
  const partly = shift(stage, bits, op, value, countLess);
  const carry = and(stage, partly, constantLanes(stage, bits, 1n));
  return lanes(stage, bits, "add", shift(stage, bits, op, partly, 1), carry);
}

export type Comparison = "eq" | "gt" | "ge";

export function compareLanes(
  stage: Stage,
  bits: LaneBits,
  comparison: Comparison,
  signed: boolean,
  left: Vector,
  right: Vector,
): Vector {
  if (comparison === "eq") return lanes(stage, bits, "eq", left, right);
  if (signed) return lanes(stage, bits, `${comparison}_s`, left, right);
  if (bits !== 64) return lanes(stage, bits, `${comparison}_u`, left, right);
  // There is no unsigned comparison of 64 bits.
  const flip = signBits(stage, 64);
  return lanes(stage, 64, `${comparison}_s`, xor(stage, left, flip), xor(stage, right, flip));
}

// Halving, saturating, differences

/** `(left + right) >> 1` without losing the carry; `rounded` adds one before the shift. */
export function halvingAdd(
  stage: Stage,
  bits: LaneBits,
  signed: boolean,
  rounded: boolean,
  left: Vector,
  right: Vector,
): Vector {
  const half = shift(stage, bits, signed ? "shr_s" : "shr_u", xor(stage, left, right), 1);
  return rounded
    ? lanes(stage, bits, "sub", or(stage, left, right), half)
    : lanes(stage, bits, "add", and(stage, left, right), half);
}

/** `(left - right) >> 1` without losing the borrow. */
export function halvingSubtract(stage: Stage, bits: LaneBits, signed: boolean, left: Vector, right: Vector): Vector {
  const half = shift(stage, bits, signed ? "shr_s" : "shr_u", xor(stage, left, right), 1);
  return lanes(stage, bits, "sub", half, andNot(stage, right, left));
}

/** The highest or lowest signed number, by the sign of `value`. */
function saturationOf(stage: Stage, bits: LaneBits, value: Vector): Vector {
  return xor(stage, signMask(stage, bits, value), constantLanes(stage, bits, largest(bits, true)));
}

export function saturatingAdd(stage: Stage, bits: LaneBits, signed: boolean, left: Vector, right: Vector): Vector {
  const sum = lanes(stage, bits, "add", left, right);
  if (!signed) {
    const carried = compareLanes(stage, bits, "gt", false, left, sum);
    reportSaturation(stage, carried);
    return or(stage, sum, carried);
  }
  const overflowed = signMask(stage, bits, and(stage, xor(stage, left, sum), xor(stage, right, sum)));
  reportSaturation(stage, overflowed);
  return bitselect(stage, overflowed, saturationOf(stage, bits, left), sum);
}

export function saturatingSubtract(stage: Stage, bits: LaneBits, signed: boolean, left: Vector, right: Vector): Vector {
  const difference = lanes(stage, bits, "sub", left, right);
  if (!signed) {
    const borrowed = compareLanes(stage, bits, "gt", false, right, left);
    reportSaturation(stage, borrowed);
    return andNot(stage, difference, borrowed);
  }
  const overflowed = signMask(stage, bits, and(stage, xor(stage, left, right), xor(stage, left, difference)));
  reportSaturation(stage, overflowed);
  return bitselect(stage, overflowed, saturationOf(stage, bits, left), difference);
}

/** SUQADD: unsigned `addend` to a signed accumulator. */
export function saturatingAddUnsignedToSigned(
  stage: Stage,
  bits: LaneBits,
  accumulator: Vector,
  addend: Vector,
): Vector {
  const sum = lanes(stage, bits, "add", accumulator, addend);
  const overflowed = compareLanes(stage, bits, "gt", true, accumulator, sum);
  reportSaturation(stage, overflowed);
  return bitselect(stage, overflowed, constantLanes(stage, bits, largest(bits, true)), sum);
}

/** USQADD: signed `addend` to an unsigned accumulator. */
export function saturatingAddSignedToUnsigned(
  stage: Stage,
  bits: LaneBits,
  accumulator: Vector,
  addend: Vector,
): Vector {
  const sum = lanes(stage, bits, "add", accumulator, addend);
  const negative = signMask(stage, bits, addend);
  const over = andNot(stage, compareLanes(stage, bits, "gt", false, accumulator, sum), negative);
  const under = and(stage, compareLanes(stage, bits, "gt", false, sum, accumulator), negative);
  reportSaturation(stage, or(stage, over, under));
  return andNot(stage, or(stage, sum, over), under);
}

/** The lowest signed number has no positive counterpart: it saturates. */
function withoutLowest(stage: Stage, bits: LaneBits, value: Vector, result: Vector): Vector {
  const lowest = compareLanes(stage, bits, "eq", true, value, signBits(stage, bits));
  reportSaturation(stage, lowest);
  return xor(stage, result, lowest);
}

export function saturatingAbsolute(stage: Stage, bits: LaneBits, value: Vector): Vector {
  return withoutLowest(stage, bits, value, lanes(stage, bits, "abs", value));
}

export function saturatingNegate(stage: Stage, bits: LaneBits, value: Vector): Vector {
  return withoutLowest(stage, bits, value, lanes(stage, bits, "neg", value));
}

export function absoluteDifference(
  stage: Stage,
  bits: NarrowBits,
  signed: boolean,
  left: Vector,
  right: Vector,
): Vector {
  const suffix = signed ? "s" : "u";
  return lanes(
    stage,
    bits,
    "sub",
    lanes(stage, bits, `max_${suffix}`, left, right),
    lanes(stage, bits, `min_${suffix}`, left, right),
  );
}

// Shifts that saturate

export type SaturatingShift = "signed" | "unsigned" | "signedToUnsigned";

/** Shifts left by `count` (0 to width - 1); what does not fit saturates: SQSHL, UQSHL, SQSHLU (immediate). */
export function saturatingShiftLeft(
  stage: Stage,
  bits: LaneBits,
  kind: SaturatingShift,
  value: Vector,
  count: Value<32>,
): Vector {
  const shifted = shift(stage, bits, "shl", value, count);
  const back = shift(stage, bits, kind === "signed" ? "shr_s" : "shr_u", shifted, count);
  const kept = compareLanes(stage, bits, "eq", true, back, value);
  if (kind === "signedToUnsigned") {
    const negative = signMask(stage, bits, value);
    const fits = andNot(stage, kept, negative);
    reportSaturation(stage, not(stage, fits));
    return bitselect(stage, fits, shifted, not(stage, negative));
  }
  reportSaturation(stage, not(stage, kept));
  return bitselect(stage, kept, shifted, kind === "signed" ? saturationOf(stage, bits, value) : allOnes(stage));
}

// Wide and narrow

export function doubled(bits: NarrowBits): 16 | 32 | 64 {
  return bits === 8 ? 16 : bits === 16 ? 32 : 64;
}

/** The lower or upper half of the elements, each twice as wide. */
export function extend(stage: Stage, bits: NarrowBits, half: "low" | "high", signed: boolean, value: Vector): Vector {
  return stage.vector(`${shapeOf(doubled(bits))}.extend_${half}_${shapeOf(bits)}_${signed ? "s" : "u"}`, value);
}

/** Products, twice as wide, of the lower or upper half of the elements. */
export function multiplyLong(
  stage: Stage,
  bits: NarrowBits,
  half: "low" | "high",
  signed: boolean,
  left: Vector,
  right: Vector,
): Vector {
  return stage.vector(`${shapeOf(doubled(bits))}.extmul_${half}_${shapeOf(bits)}_${signed ? "s" : "u"}`, left, right);
}

/** Which half of the elements the form `name` (Q 0) and `name2` (Q 1) of a widening instruction take. */
export function halfOf(q: number): "low" | "high" {
  return q === 1 ? "high" : "low";
}

/** Every second element of two vectors behind each other, from the first (0) or second (1) on. */
export function everySecond(stage: Stage, bits: LaneBits, q: number, from: 0 | 1, low: Vector, high: Vector): Vector {
  const bytes = bits / 8;
  const perVector = (8 << q) / bytes;
  const indices = Array.from({ length: 16 }, (_unused, byte) => {
    const position = 2 * Math.floor(byte / bytes) + from;
    // Of vectors of 64 bits the upper half of the result repeats the lower.
    const wrapped = position % (2 * perVector);
    const vector = Math.floor(wrapped / perVector);
    return vector * 16 + (wrapped % perVector) * bytes + (byte % bytes);
  });
  return stage.shuffle(low, high, indices);
}

/** The low (0) or high (1) half of every wide element: 64 bits. */
export function narrowed(stage: Stage, bits: NarrowBits, part: 0 | 1, wide: Vector): Value<64> {
  return stage.extractLane("i64x2", 0, everySecond(stage, bits, 1, part, wide, wide));
}

/** The wide elements saturated to half their width: SQXTN, UQXTN, SQXTUN. */
export function saturatingNarrow(stage: Stage, bits: NarrowBits, kind: SaturatingShift, wide: Vector): Value<64> {
  const width = doubled(bits);
  const mask = constantLanes(stage, width, largest(bits, false));
  const cut =
    kind === "signed"
      ? shift(stage, width, "shr_s", shift(stage, width, "shl", wide, bits), bits)
      : and(stage, wide, mask);
  const fits = compareLanes(stage, width, "eq", true, cut, wide);
  reportSaturation(stage, not(stage, fits));
  const limits = {
    signed: () => xor(stage, signMask(stage, width, wide), constantLanes(stage, width, largest(bits, true))),
    unsigned: () => mask,
    signedToUnsigned: () => andNot(stage, mask, signMask(stage, width, wide)),
  };
  return narrowed(stage, bits, 0, bitselect(stage, fits, cut, limits[kind]()));
}

/** Twice the product of signed numbers, saturated, twice as wide: SQDMULL. */
export function saturatingDoublingMultiplyLong(
  stage: Stage,
  bits: 16 | 32,
  half: "low" | "high",
  left: Vector,
  right: Vector,
): Vector {
  const width = doubled(bits);
  const twice = shift(stage, width, "shl", multiplyLong(stage, bits, half, true, left, right), 1);
  // Only the lowest number by itself is too much, and it alone gives this.
  const over = compareLanes(stage, width, "eq", true, twice, signBits(stage, width));
  reportSaturation(stage, over);
  return xor(stage, twice, over);
}

/** The high half of twice the product of signed numbers, saturated: SQDMULH, SQRDMULH. */
export function saturatingDoublingMultiplyHigh(
  stage: Stage,
  bits: 16 | 32,
  rounded: boolean,
  left: Vector,
  right: Vector,
): Vector {
  const width = doubled(bits);
  const part = (half: "low" | "high"): Vector => {
    const product = multiplyLong(stage, bits, half, true, left, right);
    const rounding = constantLanes(stage, width, rounded ? 1n << BigInt(bits - 2) : 0n);
    return shift(stage, width, "shl", lanes(stage, width, "add", product, rounding), 1);
  };
  const result = everySecond(stage, bits, 1, 1, part("low"), part("high"));
  const lowest = signBits(stage, bits);
  const over = and(
    stage,
    compareLanes(stage, bits, "eq", true, left, lowest),
    compareLanes(stage, bits, "eq", true, right, lowest),
  );
  reportSaturation(stage, over);
  return bitselect(stage, over, constantLanes(stage, bits, largest(bits, true)), result);
}

// Multiplication

export function multiply(stage: Stage, bits: NarrowBits, left: Vector, right: Vector): Vector {
  if (bits !== 8) return lanes(stage, bits, "mul", left, right);
  const low = multiplyLong(stage, 8, "low", false, left, right);
  const high = multiplyLong(stage, 8, "high", false, left, right);
  return everySecond(stage, 8, 1, 0, low, high);
}

/** Product of polynomials over {0, 1}: the low `bits` of each. */
export function polynomialMultiply(stage: Stage, bits: 8 | 16, left: Vector, right: Vector): Vector {
  let product = constantLanes(stage, 64, 0n);
  for (let position = 0; position < 8; position++) {
    const set = lanes(
      stage,
      bits,
      "ne",
      and(stage, left, constantLanes(stage, bits, 1n << BigInt(position))),
      constantLanes(stage, 64, 0n),
    );
    product = xor(stage, product, and(stage, set, shift(stage, bits, "shl", right, position)));
  }
  return product;
}

// Counting and reversing bits

/** Bits that are set in every element. */
function populationCount(stage: Stage, bits: NarrowBits, value: Vector): Vector {
  const bytes = stage.vector("i8x16.popcnt", value);
  if (bits === 8) return bytes;
  const halves = stage.vector("i16x8.extadd_pairwise_i8x16_u", bytes);
  return bits === 16 ? halves : stage.vector("i32x4.extadd_pairwise_i16x8_u", halves);
}

export function countLeadingZeros(stage: Stage, bits: NarrowBits, value: Vector): Vector {
  let filled = value;
  for (let count = 1; count < bits; count *= 2) filled = or(stage, filled, shift(stage, bits, "shr_u", filled, count));
  return populationCount(stage, bits, not(stage, filled));
}

/** Bits behind the sign bit that equal it. */
export function countLeadingSigns(stage: Stage, bits: NarrowBits, value: Vector): Vector {
  const changes = xor(stage, value, shift(stage, bits, "shr_s", value, 1));
  return lanes(stage, bits, "sub", countLeadingZeros(stage, bits, changes), constantLanes(stage, bits, 1n));
}

/** Reverses the bits of every byte. */
export function reverseBits(stage: Stage, value: Vector): Vector {
  const reversedNibbles = [0x0, 0x8, 0x4, 0xc, 0x2, 0xa, 0x6, 0xe, 0x1, 0x9, 0x5, 0xd, 0x3, 0xb, 0x7, 0xf];
  const table = (left: number): Vector => {
    const half = (from: number): bigint =>
      reversedNibbles
        .slice(from, from + 8)
        .reduce((all, nibble, index) => all | (BigInt(nibble << left) << BigInt(8 * index)), 0n);
    return stage.constant128(half(0), half(8));
  };
  const low = stage.vector("i8x16.swizzle", table(4), and(stage, value, constantLanes(stage, 8, 0x0fn)));
  const high = stage.vector("i8x16.swizzle", table(0), shift(stage, 8, "shr_u", value, 4));
  return or(stage, low, high);
}

/** Reverses elements of `bits` inside groups of `group` bits. */
export function reverseElements(stage: Stage, bits: NarrowBits, group: 16 | 32 | 64, value: Vector): Vector {
  const bytes = bits / 8;
  const perGroup = group / bits;
  const indices = Array.from({ length: 16 }, (_unused, byte) => {
    const element = Math.floor(byte / bytes);
    const first = element - (element % perGroup);
    return (first + perGroup - 1 - (element % perGroup)) * bytes + (byte % bytes);
  });
  return stage.shuffle(value, value, indices);
}

// Pairs

/** Sums of neighbours, twice as wide: SADDLP, UADDLP. */
export function addLongPairwise(stage: Stage, bits: NarrowBits, signed: boolean, value: Vector): Vector {
  const suffix = signed ? "s" : "u";
  if (bits !== 32) return stage.vector(`${shapeOf(doubled(bits))}.extadd_pairwise_${shapeOf(bits)}_${suffix}`, value);
  const right = signed ? "shr_s" : "shr_u";
  const low = shift(stage, 64, right, shift(stage, 64, "shl", value, 32), 32);
  return lanes(stage, 64, "add", low, shift(stage, 64, right, value, 32));
}

/** Folds all elements of a vector of 64 or 128 bits into the first. */
export function reduceLanes(
  stage: Stage,
  bits: LaneBits,
  q: number,
  value: Vector,
  operation: (left: Vector, right: Vector) => Vector,
): Vector {
  let folded = value;
  for (let bytes = 4 << q; bytes >= bits / 8; bytes /= 2) {
    const other = stage.shuffle(
      folded,
      folded,
      Array.from({ length: 16 }, (_unused, byte) => (byte + bytes) & 15),
    );
    folded = operation(folded, other);
  }
  return folded;
}
