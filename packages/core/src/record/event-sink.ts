/** Where the events of a running VM go: a journal that is written, or one that they are compared with. */
import type { EventKind, EventPayload } from "../event/event-kind.js";
import type { ExitFrame } from "../event/exit-frame.js";

/** Where a row event stands. */
export interface EventPlace {
  readonly icount: number;
  readonly exitNumber: number;
  /** -1 for the VM. */
  readonly vcpu: number;
}

export interface EventSink {
  /** The number that the next event gets. */
  readonly nextSeq: number;
  /** Where the next exit may be described, so that `exited` need not copy it. undefined: anywhere. */
  readonly nextFrame?: ExitFrame | undefined;
  exited(icount: number, frame: ExitFrame): void;
  handled(icount: number, low: number, high: number): void;
  completed(icount: number, low: number, high: number): void;
  output(icount: number, port: number, bytes: Uint8Array): void;
  /** The VMM half has set a register of up to 128 bits. */
  registerSet(place: EventPlace, name: string, value: bigint): void;
  irqLine(icount: number, line: number, level: number): void;
  /** Up to `MEMORY_WRITE_BYTES_MAX` bytes. Gives the payload, from which names of pages can be learned; undefined: there is none. */
  memoryWritten(place: EventPlace, physical: number, bytes: Uint8Array): EventPayload | undefined;
  row(kind: Pick<EventKind, "name" | "version">, place: EventPlace, payload: EventPayload): void;
}
