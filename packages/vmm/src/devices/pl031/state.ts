/** Everything a PL031's future depends on. */
import { count, flag, structure, u32, u64, type SectionFormat, type StateOf } from "../../state-coding.js";

const codec = structure({
  /** Wall clock at guest time 0, nanoseconds since 1970-01-01T00:00Z. */
  baseNs: u64,
  /** What a write of RTCLR has added to the wall clock's seconds, modulo 2^32. */
  offsetSeconds: u32,
  match: u32,
  load: u32,
  interruptMask: flag,
  rawInterruptStatus: flag,
  /** Second of the wall clock at which the counter next equals `match`. */
  matchAtSecond: count,
});

export type Pl031State = StateOf<typeof codec>;

export const pl031Format: SectionFormat<Pl031State> = { version: 1, codec };
