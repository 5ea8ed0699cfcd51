/** Random numbers from a seed, for tests that can be repeated. Marsaglia's xorshift32. */
export class RandomSource {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
    // The first numbers of small seeds are alike.
    for (let round = 0; round < 16; round++) this.word();
  }

  /** 32 bits. */
  word(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return this.#state;
  }

  /** From 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor((this.word() / 0x1_0000_0000) * limit);
  }

  /** From `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  /** True in one of `count` times. */
  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError("a choice from nothing");
    return item;
  }

  doubleword(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

/** The seed of a random test: from HVJOURNAL_SEED, to repeat a run, else a fresh one. */
export function seedOfRun(): number {
  const given = process.env["HVJOURNAL_SEED"];
  if (given === undefined) return (Date.now() ^ (process.pid << 16)) >>> 0;
  const seed = Number(given);
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff)
    throw new Error(`HVJOURNAL_SEED is "${given}", not a number of 32 bits`);
  return seed;
}
