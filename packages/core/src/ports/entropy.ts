/** Entropy for the guest and the schedule: named streams of one recorded seed. */

export interface EntropyStream {
  /** Draws counted since the start; the whole state of the stream. */
  counter: bigint;
  /** The next 64 bits. */
  next(): bigint;
}

export interface Entropy {
  /** The same name gives the same stream: "schedule", "trng", "virtio-rng", "boot/kaslr" ... */
  stream(name: string): EntropyStream;
}
