/**
 * M: the sum of all page hashes modulo 2^128, so that only pages written since the last look are hashed again, and
 * the result depends on content alone. A page of zeros counts as zero.
 */
import type { GuestMemory } from "../ports/guest-memory.js";

const WORDS = 4;
export const MEMORY_SUM_BYTES = 16;

function add(sum: Uint32Array, hash: Uint32Array, at: number): void {
  let carry = 0;
  for (let word = 0; word < WORDS; word++) {
    const total = (sum[word] ?? 0) + (hash[at + word] ?? 0) + carry;
    sum[word] = total;
    carry = total > 0xffff_ffff ? 1 : 0;
  }
}

function subtract(sum: Uint32Array, hash: Uint32Array, at: number): void {
  let borrow = 0;
  for (let word = 0; word < WORDS; word++) {
    const total = (sum[word] ?? 0) - (hash[at + word] ?? 0) - borrow;
    sum[word] = total;
    borrow = total < 0 ? 1 : 0;
  }
}

/** Content of a page as it was when the current sum was restored. */
export type OldContent = (index: number) => Uint8Array | "zero";

export class MemoryDigest {
  readonly #memory: GuestMemory;
  readonly #sum = new Uint32Array(WORDS);
  /** Hash that page i adds to the sum, where `#known[i]`. */
  readonly #hashes: Uint32Array;
  readonly #known: Uint8Array;
  readonly #page = new Uint32Array(WORDS);
  #oldContent: OldContent = () => "zero";

  /** Of memory that is all zeros. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#hashes = new Uint32Array(memory.pageCount * WORDS);
    this.#known = new Uint8Array(memory.pageCount).fill(1);
  }

  /** Little-endian words of the sum over memory as it is now. */
  current(): Uint8Array {
    for (const index of this.#memory.takeDirtyPages("digest")) this.#rehash(index);
    const bytes = new Uint8Array(MEMORY_SUM_BYTES);
    const view = new DataView(bytes.buffer);
    for (let word = 0; word < WORDS; word++) view.setUint32(word * 4, this.#sum[word] ?? 0, true);
    return bytes;
  }

  #rehash(index: number): void {
    if (this.#known[index] !== 1) this.noteContent(index, this.#oldContent(index));
    subtract(this.#sum, this.#hashes, index * WORDS);
    this.#memory.hashPage(index, this.#page);
    this.#hashes.set(this.#page, index * WORDS);
    add(this.#sum, this.#hashes, index * WORDS);
  }

  /** Page `index` holds `content` and its hash is part of the sum already. */
  noteContent(index: number, content: Uint8Array | "zero"): void {
    if (content === "zero") this.#page.fill(0);
    else this.#memory.hashContent(index, content, this.#page);
    this.#hashes.set(this.#page, index * WORDS);
    this.#known[index] = 1;
  }

  /**
   * Memory has been replaced: the sum is now `sum`; `replaced` pages have hashes that are found out from `oldContent`
   * when they are needed. All pages count as clean.
   */
  restore(sum: Uint8Array, replaced: Iterable<number>, oldContent: OldContent): void {
    const view = new DataView(sum.buffer, sum.byteOffset, sum.byteLength);
    for (let word = 0; word < WORDS; word++) this.#sum[word] = view.getUint32(word * 4, true);
    for (const index of replaced) this.#known[index] = 0;
    this.#oldContent = oldContent;
    this.#memory.takeDirtyPages("digest");
  }
}
