/** Records of words that were decoded before: what a word means does not depend on where it stands. */

const RECORD_WORDS = 4;
/** Words that are kept before all are forgotten: a kernel with its userland has about a hundred thousand. */
const TEMPLATES_MAX = 1 << 18;
const TEMPLATES_FIRST = 1 << 12;

/** One for each list of definitions; records of 16 bytes, as 32-bit words. */
export class RecordTemplates {
  readonly #places = new Map<number, number>();
  #records = new Int32Array(TEMPLATES_FIRST * RECORD_WORDS);

  /** Copies the record of `encoding` to word `at` of `words`; false: it is not known. */
  copy(encoding: number, words: Int32Array, at: number): boolean {
    const place = this.#places.get(encoding | 0);
    if (place === undefined) return false;
    for (let word = 0; word < RECORD_WORDS; word++) words[at + word] = this.#records[place + word] ?? 0;
    return true;
  }

  /** Keeps the complete record at word `at` of `words` for `encoding`, which is not known yet. */
  keep(encoding: number, words: Int32Array, at: number): void {
    if (this.#places.size >= TEMPLATES_MAX) this.#places.clear();
    const place = this.#places.size * RECORD_WORDS;
    if (place >= this.#records.length) this.#grow();
    for (let word = 0; word < RECORD_WORDS; word++) this.#records[place + word] = words[at + word] ?? 0;
    this.#places.set(encoding | 0, place);
  }

  #grow(): void {
    const grown = new Int32Array(2 * this.#records.length);
    grown.set(this.#records);
    this.#records = grown;
  }
}
