/**
 * Eventfds of a VM: counters of signals, in the kernel half. A counter only goes up, and is part of the VM's state; whoever
 * reads it remembers how far it had come, which is what read(2) of an eventfd gives. So reading is no event, and what is
 * read is the same however often anybody looked.
 */
import { PayloadFields } from "../canonical/payload-fields.js";
import type { PlainValue } from "../event/event-kind.js";

export class Eventfds {
  readonly #counts = new Map<number, number>();

  signal(fd: number): void {
    this.#counts.set(fd, this.count(fd) + 1);
  }

  /** How often it has been signalled. */
  count(fd: number): number {
    return this.#counts.get(fd) ?? 0;
  }

  /** Nothing where none was ever signalled: such a VM is saved as one without. */
  plain(): { readonly eventfds?: { readonly [fd: string]: PlainValue } } {
    if (this.#counts.size === 0) return {};
    const sorted = [...this.#counts].sort(([a], [b]) => a - b);
    return { eventfds: Object.fromEntries(sorted.map(([fd, count]) => [String(fd), count])) };
  }

  /** `fields`: of what `plain` is a part. Throws PayloadError. */
  restore(fields: PayloadFields): void {
    this.#counts.clear();
    if (!fields.has("eventfds")) return;
    const counts = new PayloadFields("eventfds", fields.map("eventfds"));
    for (const fd of Object.keys(counts.payload)) this.#counts.set(Number(fd), counts.number(fd));
  }
}
