/** Everything a console device's future depends on, beside its transport. */
import { byteArray, count, structure, type SectionFormat, type StateOf } from "../../state-coding.js";

const codec = structure({
  /** Input that waits for receive buffers. */
  input: byteArray,
  /** Notifications of the receive queue that found no input. */
  emptyReads: count,
});

export type ConsoleState = StateOf<typeof codec>;

export const consoleFormat: SectionFormat<ConsoleState> = { version: 1, codec };

export function resetConsoleState(): ConsoleState {
  return { input: new Uint8Array(0), emptyReads: 0 };
}
