/**
 * Bytes in the journal's own coding: varints (LEB128: seven bits a byte, least significant
 * first, the high bit says that more follow), zigzag for signed numbers, length-prefixed blocks.
 */
import { Buffer } from "node:buffer";

const { trunc } = Math;
const { isSafeInteger } = Number;
const VARINT_BYTES_MAX = 8;
const WORD_VARINT_BYTES_MAX = 5;

/** Bytes that the coding could not have written. */
export class ByteCodingError extends Error {
  override readonly name = "ByteCodingError";
}

/** A growing buffer; `reset` keeps its memory. */
export class ByteSink {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** An integer from 0 to 2^53 - 1. */
  varint(value: number): void {
    if (!isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not an integer from 0 to 2^53 - 1`);
    this.#reserve(VARINT_BYTES_MAX);
    let rest = value;
    while (rest > 0xffff_ffff) {
      this.#bytes[this.#length++] = (rest % 128) | 0x80;
      rest = trunc(rest / 128);
    }
    this.#u32(rest);
  }

  /** As `varint`, for unsigned 32-bit words, without a check. */
  u32Varint(value: number): void {
    this.#reserve(VARINT_BYTES_MAX);
    this.#u32(value);
  }

  /** The first `count` of `values`, each as `u32Varint`. */
  u32Varints(values: Uint32Array, count: number): void {
    this.#reserve(WORD_VARINT_BYTES_MAX * count);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let index = 0; index < count; index++) {
      let rest = values[index] ?? 0;
      for (; rest > 0x7f; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
      bytes[at++] = rest;
    }
    this.#length = at;
  }

  #u32(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Length, then the bytes. */
  block(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  text(value: string): void {
    this.block(Buffer.from(value, "utf8"));
  }

  /** A view that the next call changes. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** Reads what a sink wrote; throws ByteCodingError for anything else, and never reads beyond its bytes. */
export class ByteSource {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  #take(count: number): number {
    const position = this.#position;
    if (count > this.#bytes.length - position)
      throw new ByteCodingError(`ends at byte ${this.#bytes.length}, ${count} more are needed`);
    this.#position = position + count;
    return position;
  }

  u8(): number {
    return this.#bytes[this.#take(1)] ?? 0;
  }

  /** Up to `max`, which is at most 2^53 - 1. */
  varint(max: number): number {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < VARINT_BYTES_MAX; index++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > max) throw new ByteCodingError(`${value} at byte ${this.#position} is above ${max}`);
        return value;
      }
      scale *= 128;
    }
    throw new ByteCodingError(`varint at byte ${this.#position} is longer than ${VARINT_BYTES_MAX} bytes`);
  }

  u32Varint(): number {
    const bytes = this.#bytes;
    const first = bytes[this.#position];
    if (first !== undefined && first < 0x80) {
      this.#position += 1;
      return first;
    }
    return this.varint(0xffff_ffff);
  }

  /** What `text` wrote, of at most `bytesMax` bytes. */
  text(bytesMax: number): string {
    return Buffer.from(this.raw(this.varint(bytesMax))).toString("utf8");
  }

  /** A view into the source's bytes. */
  raw(count: number): Uint8Array {
    const position = this.#take(count);
    return this.#bytes.subarray(position, position + count);
  }

  /** Throws when bytes are left. */
  end(): void {
    const left = this.#bytes.length - this.#position;
    if (left > 0) throw new ByteCodingError(`${left} bytes too many`);
  }
}
