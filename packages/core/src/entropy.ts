/**
 * Entropy of a VM: named streams of one recorded 64-bit seed.
 *
 * A stream is the key stream of ChaCha20 (RFC 8439, 64-bit block counter and zero nonce) read as little-endian
 * 64-bit values, so the counter is its whole state and any draw can be had without those before it. The key is
 * made by absorbing scope and name, 16 bytes at a time in the places of counter and nonce, into the seed:
 * each step's key is the first half of the block under the key before it.
 */
import type { Entropy, EntropyStream } from "./ports/entropy.js";
import { encodeUtf8 } from "./canonical/utf8.js";

/** "expand 32-byte k" */
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;
const BLOCK_WORDS = 16;
const KEY_WORDS = 8;
const DRAWS_PER_BLOCK = 8n;
const DOUBLE_ROUNDS = 10;

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function quarterRound(x: Uint32Array, a: number, b: number, c: number, d: number): void {
  let va = x[a] ?? 0;
  let vb = x[b] ?? 0;
  let vc = x[c] ?? 0;
  let vd = x[d] ?? 0;
  va = (va + vb) | 0;
  vd = rotate(vd ^ va, 16);
  vc = (vc + vd) | 0;
  vb = rotate(vb ^ vc, 12);
  va = (va + vb) | 0;
  vd = rotate(vd ^ va, 8);
  vc = (vc + vd) | 0;
  vb = rotate(vb ^ vc, 7);
  x[a] = va;
  x[b] = vb;
  x[c] = vc;
  x[d] = vd;
}

/** One ChaCha20 block: `key` 8 words, `input` the 4 words of counter and nonce, `output` 16 words. */
export function chachaBlock(key: Uint32Array, input: Uint32Array, output: Uint32Array): void {
  const start = new Uint32Array(BLOCK_WORDS);
  start.set(CONSTANTS, 0);
  start.set(key, 4);
  start.set(input, 12);
  output.set(start);
  for (let round = 0; round < DOUBLE_ROUNDS; round++) {
    for (let column = 0; column < 4; column++) quarterRound(output, column, column + 4, column + 8, column + 12);
    quarterRound(output, 0, 5, 10, 15);
    quarterRound(output, 1, 6, 11, 12);
    quarterRound(output, 2, 7, 8, 13);
    quarterRound(output, 3, 4, 9, 14);
  }
  for (let word = 0; word < BLOCK_WORDS; word++) output[word] = (output[word] ?? 0) + (start[word] ?? 0);
}

function streamKey(seed: bigint, label: string): Uint32Array {
  const key = new Uint32Array(KEY_WORDS);
  key[0] = Number(seed & 0xffff_ffffn);
  key[1] = Number((seed >> 32n) & 0xffff_ffffn);
  const name = encodeUtf8(label);
  // A byte 1 behind the name and zeros up to the block keep names that are prefixes of others apart.
  const padded = new Uint8Array((Math.floor(name.length / 16) + 1) * 16);
  padded.set(name);
  padded[name.length] = 1;
  const view = new DataView(padded.buffer);
  const input = new Uint32Array(4);
  const output = new Uint32Array(BLOCK_WORDS);
  for (let at = 0; at < padded.length; at += 16) {
    for (let word = 0; word < 4; word++) input[word] = view.getUint32(at + word * 4, true);
    chachaBlock(key, input, output);
    key.set(output.subarray(0, KEY_WORDS));
  }
  return key;
}

class SeededStream implements EntropyStream {
  counter = 0n;
  readonly #key: Uint32Array;
  readonly #input = new Uint32Array(4);
  readonly #block = new Uint32Array(BLOCK_WORDS);
  #blockNumber = -1n;

  constructor(key: Uint32Array) {
    this.#key = key;
  }

  next(): bigint {
    const blockNumber = this.counter / DRAWS_PER_BLOCK;
    if (blockNumber !== this.#blockNumber) {
      this.#input[0] = Number(blockNumber & 0xffff_ffffn);
      this.#input[1] = Number((blockNumber >> 32n) & 0xffff_ffffn);
      chachaBlock(this.#key, this.#input, this.#block);
      this.#blockNumber = blockNumber;
    }
    const word = Number(this.counter % DRAWS_PER_BLOCK) * 2;
    this.counter += 1n;
    return (BigInt(this.#block[word + 1] ?? 0) << 32n) | BigInt(this.#block[word] ?? 0);
  }
}

/** `scope` keeps the halves of a VM apart: replay draws from the kernel half's streams alone. */
export class SeededEntropy implements Entropy {
  readonly seed: bigint;
  readonly scope: string;
  readonly #streams = new Map<string, SeededStream>();

  constructor(seed: bigint, scope: string) {
    if (seed < 0n || seed >= 1n << 64n) throw new RangeError(`seed ${seed} does not fit into 64 bits`);
    this.seed = seed;
    this.scope = scope;
  }

  stream(name: string): EntropyStream {
    const known = this.#streams.get(name);
    if (known !== undefined) return known;
    const stream = new SeededStream(streamKey(this.seed, `${this.scope}/${name}`));
    this.#streams.set(name, stream);
    return stream;
  }

  /** Draws by stream, sorted by name; a stream nothing was drawn from is as if it did not exist. */
  counters(): { readonly [name: string]: bigint } {
    const drawn = [...this.#streams].filter(([, stream]) => stream.counter > 0n);
    return Object.fromEntries(
      drawn.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, stream]) => [name, stream.counter]),
    );
  }

  /** Streams that are not named start again at 0. */
  restoreCounters(counters: { readonly [name: string]: bigint }): void {
    for (const stream of this.#streams.values()) stream.counter = 0n;
    for (const [name, counter] of Object.entries(counters)) this.stream(name).counter = counter;
  }
}
