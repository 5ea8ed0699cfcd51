/** All that the register remembers. */
import { structure, u32, type SectionFormat, type StateOf } from "../../state-coding.js";

const codec = structure({ control: u32 });

export type ResetControlState = StateOf<typeof codec>;

export const resetControlFormat: SectionFormat<ResetControlState> = { version: 1, codec };
