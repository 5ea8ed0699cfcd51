/**
 * 64-bit quantities as words of 32 bits, and back, for what happens at each exit. They are taken apart and put together in
 * memory: masks and shifts make a bigint each, which is several times as slow.
 */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);
whole[0] = 1n;
/** Index of the low word, by the host's byte order. */
const LOW = halves[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

/** Bits 31 to 0, of a negative number those of its two's complement. */
export function lowWord(value: bigint): number {
  whole[0] = value;
  return halves[LOW] ?? 0;
}

/** Bits 63 to 32, of a negative number those of its two's complement. */
export function highWord(value: bigint): number {
  whole[0] = value;
  return halves[HIGH] ?? 0;
}

/** Of each word the low 32 bits count: a negative number stands for its two's complement. */
export function u64OfWords(low: number, high: number): bigint {
  halves[LOW] = low;
  halves[HIGH] = high;
  return whole[0] ?? 0n;
}
