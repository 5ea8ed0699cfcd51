/** Records of words that were decoded before: what a word means does not depend on where it stands. */

const RECORD_WORDS = 4;
/** Of a place in the table: the encoding, whether it is taken, and the record, in half a cache line. */
const PLACE_WORDS = 8;
const Place = { encoding: 0, taken: 1, record: 4 } as const;
/** Words that are kept before all are forgotten: a kernel with its userland has about a hundred thousand. */
const TEMPLATES_MAX = 1 << 18;
const PLACES_FIRST = 1 << 12;
/** A table grows by this factor (as a shift) once half of it is taken. */
const GROWTH_SHIFT = 2;
/** Spreads encodings, which differ in a few bits, over the table (Knuth's multiplicative hashing). */
const SPREAD = 0x9e37_79b1 | 0;

/** One for each list of definitions; records of 16 bytes, as 32-bit words. A hash table with linear probing. */
export class RecordTemplates {
  #places = new Int32Array(PLACES_FIRST * PLACE_WORDS);
  /** 32 less log2 of the count of places. */
  #shift = 32 - Math.log2(PLACES_FIRST);
  #count = 0;

  /** Copies the record of `encoding` to word `at` of `words`; false: it is not known. */
  copy(encoding: number, words: Int32Array, at: number): boolean {
    const place = this.#find(encoding);
    if (this.#places[place + Place.taken] === 0) return false;
    for (let word = 0; word < RECORD_WORDS; word++) words[at + word] = this.#places[place + Place.record + word] ?? 0;
    return true;
  }

  /** Keeps the complete record at word `at` of `words` for `encoding`, which is not known yet. */
  keep(encoding: number, words: Int32Array, at: number): void {
    if (this.#count >= TEMPLATES_MAX) this.#clear();
    if (2 * this.#count * PLACE_WORDS >= this.#places.length) this.#grow();
    const place = this.#find(encoding);
    this.#places[place + Place.encoding] = encoding | 0;
    this.#places[place + Place.taken] = 1;
    for (let word = 0; word < RECORD_WORDS; word++) this.#places[place + Place.record + word] = words[at + word] ?? 0;
    this.#count += 1;
  }

  /** Where `encoding` stands, or would. */
  #find(encoding: number): number {
    const places = this.#places;
    const mask = places.length - 1;
    let place = (Math.imul(encoding, SPREAD) >>> this.#shift) * PLACE_WORDS;
    while (places[place + Place.taken] !== 0 && places[place + Place.encoding] !== (encoding | 0))
      place = (place + PLACE_WORDS) & mask;
    return place;
  }

  #clear(): void {
    this.#places.fill(0);
    this.#count = 0;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Int32Array(before.length << GROWTH_SHIFT);
    this.#shift -= GROWTH_SHIFT;
    for (let place = 0; place < before.length; place += PLACE_WORDS) {
      if (before[place + Place.taken] === 0) continue;
      const found = this.#find(before[place + Place.encoding] ?? 0);
      for (let word = 0; word < PLACE_WORDS; word++) this.#places[found + word] = before[place + word] ?? 0;
    }
  }
}
