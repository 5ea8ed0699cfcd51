/**
 * A column of unsigned 32-bit words:
 *
 *     column := nothing                    if it has no values
 *             | mode u8, values
 *     mode   := 0  every value equals the one before it: no values follow
 *             | 1  each value as varint
 *             | 2  each value's difference to the one before it, modulo 2^32, zigzag, as varint
 *
 * "The one before" the first value is the column's seed. The writer takes 0 where it can,
 * else the shorter of 1 and 2, and 1 if they are equally long.
 */
import { ByteCodingError, type ByteSink, type ByteSource } from "../canonical/byte-coding.js";

const { clz32 } = Math;

const ColumnMode = { constant: 0, plain: 1, difference: 2 } as const;

/** Bytes of a 32-bit word as varint, by its count of leading zero bits. */
const VARINT_BYTES = Uint8Array.from({ length: 33 }, (_, zeros) => Math.max(1, Math.ceil((32 - zeros) / 7)));

function zigzag(difference: number): number {
  return ((difference << 1) ^ (difference >> 31)) >>> 0;
}

function unzigzag(code: number): number {
  return (code >>> 1) ^ -(code & 1);
}

function isConstant(values: Uint32Array, count: number, seed: number): boolean {
  for (let index = 0; index < count; index++) if (values[index] !== seed) return false;
  return true;
}

function columnMode(values: Uint32Array, count: number, seed: number): number {
  if (isConstant(values, count, seed)) return ColumnMode.constant;
  let plainBytes = 0;
  let differenceBytes = 0;
  let before = seed | 0;
  for (let index = 0; index < count; index++) {
    const value = (values[index] ?? 0) | 0;
    plainBytes += VARINT_BYTES[clz32(value)] ?? 0;
    differenceBytes += VARINT_BYTES[clz32(zigzag(value - before))] ?? 0;
    before = value;
  }
  return differenceBytes < plainBytes ? ColumnMode.difference : ColumnMode.plain;
}

/** Writes the first `count` of `values`. */
export function writeColumn(sink: ByteSink, values: Uint32Array, count: number, seed: number): void {
  if (count === 0) return;
  const mode = columnMode(values, count, seed);
  sink.u8(mode);
  if (mode === ColumnMode.plain) {
    sink.u32Varints(values, count);
  } else if (mode === ColumnMode.difference) {
    let before = seed | 0;
    for (let index = 0; index < count; index++) {
      const value = (values[index] ?? 0) | 0;
      sink.u32Varint(zigzag((value - before) | 0));
      before = value;
    }
  }
}

/** Of at least one value, none of which differs from the seed. */
export function writeConstantColumn(sink: ByteSink): void {
  sink.u8(ColumnMode.constant);
}

/** Reads `count` values into the first places of `values`. */
export function readColumn(source: ByteSource, values: Uint32Array, count: number, seed: number): void {
  if (count === 0) return;
  const mode = source.u8();
  if (mode === ColumnMode.constant) values.fill(seed, 0, count);
  else if (mode === ColumnMode.plain) {
    for (let index = 0; index < count; index++) values[index] = source.u32Varint();
  } else if (mode === ColumnMode.difference) {
    let before = seed | 0;
    for (let index = 0; index < count; index++) {
      before = (before + unzigzag(source.u32Varint())) | 0;
      values[index] = before;
    }
  } else throw new ByteCodingError(`column mode ${mode} is not known`);
}
