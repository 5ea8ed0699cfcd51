/** Everything an entropy device's future depends on, beside its transport. */
import { structure, u64, type SectionFormat, type StateOf } from "../../state-coding.js";

const codec = structure({
  /** Draws from the entropy stream, 64 bits each. */
  drawn: u64,
});

export type RngState = StateOf<typeof codec>;

export const rngFormat: SectionFormat<RngState> = { version: 1, codec };
