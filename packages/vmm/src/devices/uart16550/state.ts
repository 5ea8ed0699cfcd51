/** Everything a 16550A's future depends on. */
import {
  byteArray,
  count,
  flag,
  list,
  structure,
  u16,
  u32,
  type SectionFormat,
  type StateOf,
} from "../../state-coding.js";

const codec = structure({
  /** Received characters that the guest has not read, oldest first. */
  receiveFifo: list(u16),
  /** Input that waits on the line until the FIFO has room and the guest listens. */
  line: byteArray,
  overrun: flag,
  interruptEnable: u32,
  fifosEnabled: flag,
  /** FCR bits 7 and 6. */
  receiveTrigger: u32,
  lineControl: u32,
  modemControl: u32,
  /** MSR bits 3 to 0. */
  modemDeltas: u32,
  scratch: u32,
  divisor: u16,
  /** The transmitter has become empty, and nobody has been told yet. */
  transmitterEmptied: flag,
  /** Reads of LSR since the last write of THR, up to `POLLS_THAT_MEAN_LISTENING`. */
  statusPolls: u32,
  /** Reads that told the guest that no character is there. */
  emptyReads: count,
});

export type UartState = StateOf<typeof codec>;

export const uartFormat: SectionFormat<UartState> = { version: 1, codec };

export function resetUartState(): UartState {
  return {
    receiveFifo: [],
    line: new Uint8Array(0),
    overrun: false,
    interruptEnable: 0,
    fifosEnabled: false,
    receiveTrigger: 0,
    lineControl: 0,
    modemControl: 0,
    modemDeltas: 0,
    scratch: 0,
    divisor: 12,
    transmitterEmptied: false,
    statusPolls: 0,
    emptyReads: 0,
  };
}
