/** Walks through the events of batches one by one, without an object for each. */
import { EventBatch } from "./event-batch.js";
import { EXIT_WORD_COUNT, type ExitFrame } from "./exit-frame.js";
import { HotKind, ROW_EVENT, type RowEvent } from "./event-kind.js";

/** Gives the batch that holds event `seq`, or false when there is none. */
export type BatchSource = (seq: number, batch: EventBatch) => boolean;

/** `kind` behind the last event. */
export const NO_EVENT = -1;

export class EventCursor {
  readonly #source: BatchSource;
  readonly #batch = new EventBatch();
  /** Index of the current event in the batch, and of its row in its kind's columns. */
  #index = 0;
  #exit = 0;
  #handled = 0;
  #completed = 0;
  #output = 0;
  #irq = 0;
  #digest = 0;
  #row = 0;
  /** There is no batch behind this one, as of when it was looked for. */
  #isLast = false;

  /** Stands at event `seq`. */
  constructor(source: BatchSource, seq: number) {
    this.#source = source;
    this.seek(seq);
  }

  /** Stands at event `seq`; behind the last event when there is no such one. */
  seek(seq: number): void {
    const batch = this.#batch;
    if (seq < batch.firstSeq || seq >= batch.nextSeq || batch.count === 0) this.#load(seq);
    else if (seq < this.seq) this.#rewind();
    while (this.seq < seq && this.#index < batch.count) this.#skip();
  }

  #rewind(): void {
    this.#index = 0;
    this.#exit = 0;
    this.#handled = 0;
    this.#completed = 0;
    this.#output = 0;
    this.#irq = 0;
    this.#digest = 0;
    this.#row = 0;
  }

  #load(seq: number): void {
    this.#rewind();
    this.#isLast = !this.#source(seq, this.#batch);
    if (this.#isLast) this.#batch.begin({ firstSeq: seq, exitNumber: 0, icount: 0 });
  }

  /** Only when its events are asked for: what goes up to the end of a batch needs no batch behind it, which may be damaged. */
  #loadNext(): void {
    if (!this.#isLast && this.#index >= this.#batch.count) this.#load(this.#batch.nextSeq);
  }

  /** Number of the current event. */
  get seq(): number {
    return this.#batch.firstSeq + this.#index;
  }

  /** `HotKind`, `ROW_EVENT`, or `NO_EVENT`. */
  get kind(): number {
    this.#loadNext();
    return this.#index < this.#batch.count ? (this.#batch.kinds[this.#index] ?? NO_EVENT) : NO_EVENT;
  }

  get icount(): number {
    this.#loadNext();
    return this.#batch.icounts[this.#index] ?? 0;
  }

  /** Exits before this event; an exit event's own number is one more. */
  get exitsBefore(): number {
    return this.#batch.firstExitNumber + this.#exit;
  }

  #skip(): void {
    switch (this.#batch.kinds[this.#index]) {
      case HotKind.exited:
        this.#exit += 1;
        break;
      case HotKind.exitHandled:
        this.#handled += 1;
        break;
      case HotKind.exitCompleted:
        this.#completed += 1;
        break;
      case HotKind.outputProduced:
        this.#output += 1;
        break;
      case HotKind.irqLineSet:
        this.#irq += 1;
        break;
      case HotKind.digested:
        this.#digest += 1;
        break;
      case ROW_EVENT:
        this.#row += 1;
        break;
      default:
        throw new RangeError(`event:${this.seq} has the unknown code ${this.#batch.kinds[this.#index]}`);
    }
    this.#index += 1;
  }

  /** To the next event. */
  next(): void {
    this.#loadNext();
    this.#skip();
  }

  /** The exit's words, valid until the cursor moves to another batch. */
  get exit(): ExitFrame {
    return this.#batch.exits.subarray(this.#exit * EXIT_WORD_COUNT, (this.#exit + 1) * EXIT_WORD_COUNT);
  }

  #pair(columns: Uint32Array, row: number): { readonly low: number; readonly high: number } {
    return { low: columns[row * 2] ?? 0, high: columns[row * 2 + 1] ?? 0 };
  }

  /** `ExitHandled`: the kernel half's result. */
  get handled(): { readonly low: number; readonly high: number } {
    return this.#pair(this.#batch.handled, this.#handled);
  }

  /** `ExitCompleted`: the VMM half's data. */
  get completed(): { readonly low: number; readonly high: number } {
    return this.#pair(this.#batch.completed, this.#completed);
  }

  get irqLine(): { readonly line: number; readonly level: number } {
    const { low, high } = this.#pair(this.#batch.irqs, this.#irq);
    return { line: low, level: high };
  }

  get outputPort(): number {
    return this.#batch.outputs[this.#output * 3] ?? 0;
  }

  /** Valid until the cursor moves to another batch. */
  get outputBytes(): Uint8Array {
    const at = this.#batch.outputs[this.#output * 3 + 1] ?? 0;
    return this.#batch.outputBytes.subarray(at, at + (this.#batch.outputs[this.#output * 3 + 2] ?? 0));
  }

  get digest(): Uint8Array {
    return this.#batch.digests.subarray(this.#digest * 32, (this.#digest + 1) * 32);
  }

  /** Throws RangeError when the batch's codes and rows do not fit together. */
  get row(): RowEvent {
    const row = this.#batch.rows[this.#row];
    if (this.kind !== ROW_EVENT || row === undefined) throw new RangeError(`event:${this.seq} has no row`);
    return row;
  }
}
