/** What the VMM half does on trial: it sees its own changes, and nobody else hears of them until they are kept. */
import { OUTPUT_BYTES_PER_BATCH_MAX } from "../event/event-batch.js";
import type { EventKind, EventPayload } from "../event/event-kind.js";
import type { ExitFrame } from "../event/exit-frame.js";
import type { Machine } from "../machine/machine.js";
import type { GuestStop } from "../ports/vmm-half.js";
import type { EventPlace, EventSink } from "./event-sink.js";

/** Events that wait for the attempt to be kept. Their numbers are those that they will have. */
class HeldEvents implements EventSink {
  readonly #sink: EventSink;
  readonly #held: (() => void)[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  constructor(sink: EventSink) {
    this.#sink = sink;
  }

  get nextSeq(): number {
    return this.#sink.nextSeq + this.#count;
  }

  /** Something that goes along, in order, and is no event. */
  hold(act: () => void, events = 0): void {
    this.#held.push(act);
    this.#count += events;
  }

  exited(icount: number, frame: ExitFrame): void {
    const copy = frame.slice();
    this.hold(() => this.#sink.exited(icount, copy), 1);
  }

  handled(icount: number, low: number, high: number): void {
    this.hold(() => this.#sink.handled(icount, low, high), 1);
  }

  completed(icount: number, low: number, high: number): void {
    this.hold(() => this.#sink.completed(icount, low, high), 1);
  }

  output(icount: number, port: number, bytes: Uint8Array): void {
    const copy = bytes.slice();
    this.hold(() => this.#sink.output(icount, port, copy), Math.ceil(bytes.length / OUTPUT_BYTES_PER_BATCH_MAX));
  }

  irqLine(icount: number, line: number, level: number): void {
    this.hold(() => this.#sink.irqLine(icount, line, level), 1);
  }

  registerSet(place: EventPlace, name: string, value: bigint): void {
    this.hold(() => this.#sink.registerSet(place, name, value), 1);
  }

  memoryWritten(place: EventPlace, physical: number, bytes: Uint8Array): undefined {
    const copy = bytes.slice();
    this.hold(() => void this.#sink.memoryWritten(place, physical, copy), 1);
  }

  row(kind: Pick<EventKind, "name" | "version">, place: EventPlace, payload: EventPayload): void {
    this.hold(() => this.#sink.row(kind, place, payload), 1);
  }

  release(): void {
    for (const act of this.#held) act();
  }
}

export class Attempt {
  readonly events: HeldEvents;
  /** How the guest had ended before. */
  readonly stop: GuestStop | undefined;
  readonly #machine: Machine;
  #putBack: (() => void) | undefined;
  /** What stood in RAM before each write. */
  readonly #overwritten: { readonly physical: number; readonly bytes: Uint8Array }[] = [];

  constructor(machine: Machine, sink: EventSink, stop: GuestStop | undefined) {
    this.#machine = machine;
    this.events = new HeldEvents(sink);
    this.stop = stop;
  }

  /** Before the first change of anything but RAM. What is never changed costs nothing to keep. */
  beforeChange(): void {
    this.#putBack ??= this.#machine.hold();
  }

  /** Throws RangeError outside RAM. */
  beforeWrite(physical: number, bytes: number): void {
    // A write clears exclusive monitors.
    this.beforeChange();
    this.#overwritten.push({ physical, bytes: this.#machine.kernel.memory.read(physical, bytes) });
  }

  /** Nothing has been done yet. `stop`: how the guest has ended by now. */
  isUntouched(stop: GuestStop | undefined): boolean {
    return this.events.count === 0 && this.#putBack === undefined && stop === this.stop;
  }

  keep(): void {
    this.events.release();
  }

  undo(): void {
    for (const { physical, bytes } of this.#overwritten.reverse()) this.#machine.kernel.memory.write(physical, bytes);
    this.#putBack?.();
  }
}
