/** Everything a PL011's future depends on. */
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
import { Pl011Reset } from "./registers.js";

const codec = structure({
  /** Received characters that the guest has not read, oldest first. */
  receiveFifo: list(u16),
  /** Input that waits on the line until the FIFO has room and the guest listens. */
  line: byteArray,
  overrun: flag,
  irdaCounter: u32,
  integerBaudRate: u32,
  fractionalBaudRate: u32,
  lineControl: u32,
  control: u32,
  fifoLevelSelect: u32,
  interruptMask: u32,
  rawInterruptStatus: u32,
  dmaControl: u32,
  /** Reads of UARTFR since the last write of UARTDR, up to `POLLS_THAT_MEAN_LISTENING`. */
  flagPolls: u32,
  /** Reads that told the guest that no character is there. */
  emptyReads: count,
});

export type Pl011State = StateOf<typeof codec>;

export const pl011Format: SectionFormat<Pl011State> = { version: 1, codec };

export function resetPl011State(): Pl011State {
  return {
    receiveFifo: [],
    line: new Uint8Array(0),
    overrun: false,
    irdaCounter: 0,
    integerBaudRate: 0,
    fractionalBaudRate: 0,
    lineControl: 0,
    control: Pl011Reset.control,
    fifoLevelSelect: Pl011Reset.fifoLevelSelect,
    interruptMask: 0,
    rawInterruptStatus: 0,
    dmaControl: 0,
    flagPolls: 0,
    emptyReads: 0,
  };
}
