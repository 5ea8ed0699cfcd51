/** Bytes from outside: those that no device has taken yet, and what the guest could have seen when one was. */
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import type { OutsideInput } from "../ports/vmm-half.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { PayloadError, PayloadFields } from "../canonical/payload-fields.js";

/** Output bytes of a port that an input's anchor keeps. */
export const ANCHOR_TAIL_BYTES = 64;

/** The last bytes of a port, kept in a buffer that is moved up only when it is full. */
class OutputTail {
  readonly #bytes = new Uint8Array(ANCHOR_TAIL_BYTES * 16);
  #end = 0;

  constructor(bytes: Uint8Array) {
    this.push(bytes);
  }

  push(bytes: Uint8Array): void {
    const kept = bytes.length > ANCHOR_TAIL_BYTES ? bytes.subarray(bytes.length - ANCHOR_TAIL_BYTES) : bytes;
    if (this.#end + kept.length > this.#bytes.length) {
      this.#bytes.copyWithin(0, this.#end - ANCHOR_TAIL_BYTES, this.#end);
      this.#end = ANCHOR_TAIL_BYTES;
    }
    if (kept.length === 1) this.#bytes[this.#end] = kept[0] ?? 0;
    else this.#bytes.set(kept, this.#end);
    this.#end += kept.length;
  }

  /** At most `ANCHOR_TAIL_BYTES`. */
  get bytes(): Uint8Array {
    return this.#bytes.slice(Math.max(0, this.#end - ANCHOR_TAIL_BYTES), this.#end);
  }
}

export class OutsideInputs {
  readonly #queue: OutsideInput[] = [];
  readonly #tails = new Map<number, OutputTail>();
  /** Guest time of the last input that was taken. */
  #lastInputNs = 0;

  add(input: OutsideInput): void {
    if (input.bytes.length > 0) this.#queue.push(input);
  }

  get first(): OutsideInput | undefined {
    return this.#queue[0];
  }

  get count(): number {
    return this.#queue.length;
  }

  /** The device took the first `bytes` bytes of the first input. */
  taken(bytes: number, guestTimeNs: number): void {
    const first = this.#queue.shift();
    if (first !== undefined && bytes < first.bytes.length)
      this.#queue.unshift({ port: first.port, bytes: first.bytes.slice(bytes) });
    this.#lastInputNs = guestTimeNs;
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    const tail = this.#tails.get(port);
    if (tail === undefined) this.#tails.set(port, new OutputTail(bytes));
    else tail.push(bytes);
  }

  /** What `InputReceived` says beside port and bytes. */
  anchor(port: number, readCount: number, guestTimeNs: number): EventPayload {
    return {
      tail: this.#tails.get(port)?.bytes ?? new Uint8Array(0),
      readCount,
      sinceInputNs: guestTimeNs - this.#lastInputNs,
    };
  }

  save(): EventPayload {
    const plain = (port: number, bytes: Uint8Array): PlainValue => ({ port, bytes });
    const tails = [...this.#tails].sort(([a], [b]) => a - b).map(([port, tail]) => plain(port, tail.bytes));
    return {
      queue: this.#queue.map(({ port, bytes }) => plain(port, bytes)),
      tails,
      lastInputNs: this.#lastInputNs,
    };
  }

  restore(payload: EventPayload): void {
    const fields = new PayloadFields("outside inputs", payload);
    const entries = (name: string): { port: number; bytes: Uint8Array }[] =>
      fields.array(name).map((item) => {
        if (!isPlainMap(item)) throw new PayloadError("outside inputs", name, "map", item);
        const entry = new PayloadFields(`outside inputs: ${name}`, item);
        return { port: entry.number("port"), bytes: entry.bytes("bytes") };
      });
    this.#queue.splice(0, this.#queue.length, ...entries("queue"));
    this.#tails.clear();
    for (const { port, bytes } of entries("tails")) this.#tails.set(port, new OutputTail(bytes));
    this.#lastInputNs = fields.number("lastInputNs");
  }
}
