/** Random vector registers whose elements meet the edges of integer and float arithmetic. */
import type { RandomSource } from "./random-source.js";

interface Format {
  readonly bits: 16 | 32 | 64;
  readonly fractionBits: number;
  readonly exponentMax: number;
}

const FORMATS: readonly Format[] = [
  { bits: 16, fractionBits: 10, exponentMax: 31 },
  { bits: 32, fractionBits: 23, exponentMax: 255 },
  { bits: 64, fractionBits: 52, exponentMax: 2047 },
];

/** Numbers near each other, whole numbers, the ends of the range, subnormals, infinities and NaNs. */
function randomFloat(random: RandomSource, { bits, fractionBits, exponentMax }: Format): bigint {
  const bias = exponentMax >> 1;
  const full = BigInt.asUintN(fractionBits, random.doubleword());
  const short = (full >> BigInt(random.below(fractionBits))) << BigInt(random.below(fractionBits));
  const [exponent, fraction] = random.pick<readonly [number, bigint]>([
    [bias - 4 + random.below(8), full],
    [bias - 4 + random.below(8), full],
    [bias - 4 + random.below(8), short],
    [Math.min(exponentMax - 1, bias + random.below(fractionBits + 2)), short],
    [random.below(3), full],
    [exponentMax - 1 - random.below(3), full],
    [0, random.oneIn(2) ? 0n : short],
    [exponentMax, random.oneIn(2) ? 0n : short],
    [random.below(exponentMax), full],
  ]);
  const sign = BigInt(random.below(2));
  const field = (BigInt(exponent) << BigInt(fractionBits)) | BigInt.asUintN(fractionBits, fraction);
  return (sign << BigInt(bits - 1)) | field;
}

const INTEGER_BITS = [8, 16, 32, 64] as const;

function randomInteger(random: RandomSource, bits: number): bigint {
  const highest = 1n << BigInt(bits - 1);
  const edges = [0n, 1n, highest - 1n, highest, highest + 1n, 2n * highest - 1n, BigInt(random.below(2 * bits))];
  return random.oneIn(2) ? random.pick(edges) : BigInt.asUintN(bits, random.doubleword());
}

function elements(bits: number, element: () => bigint): bigint {
  let value = 0n;
  for (let low = 0; low < 128; low += bits) value |= element() << BigInt(low);
  return value;
}

/** 128 bits of floats of one format, or of integers of one size. */
export function randomVector(random: RandomSource): bigint {
  if (random.oneIn(3)) {
    const bits = random.pick(INTEGER_BITS);
    return elements(bits, () => randomInteger(random, bits));
  }
  const format = random.pick(FORMATS);
  return elements(format.bits, () => randomFloat(random, format));
}
