/** Everything that the clock's and its memory's future depends on. */
import {
  byteArray,
  count,
  flag,
  list,
  structure,
  u32,
  u64,
  type SectionFormat,
  type StateOf,
} from "../../state-coding.js";

const codec = structure({
  /** Wall clock at guest time 0, nanoseconds since 1970-01-01T00:00Z. */
  baseNs: u64,
  /** What setting the clock has added to the wall clock, in seconds: its size, and whether it was subtracted. */
  offsetSeconds: count,
  offsetIsNegative: flag,
  index: u32,
  /** The time registers as they stand, while register B's SET stops the clock; else empty. */
  held: list(u32),
  a: u32,
  b: u32,
  /** Interrupts that have occurred, bits as in register B, up to guest time `seenNs`. */
  occurred: u32,
  seenNs: count,
  /** What lies behind every register that is not listed above. */
  memory: byteArray,
});

export type CmosState = StateOf<typeof codec>;

export const cmosFormat: SectionFormat<CmosState> = { version: 1, codec };
