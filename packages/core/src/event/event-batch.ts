/**
 * A batch: about a thousand events in order, as typed columns and a few rows.
 *
 * `kinds[i]` says what event `firstSeq + i` is: a hot kind, whose next row stands in that
 * kind's columns, or `ROW_EVENT`, the next of `rows`.
 */
import { EXIT_WORD_COUNT, type ExitFrame } from "./exit-frame.js";
import { HotKind, ROW_EVENT, type RowEvent } from "./event-kind.js";

export const EVENTS_PER_BATCH_MAX = 1024;
/** Console bytes and the like of one batch. */
export const OUTPUT_BYTES_PER_BATCH_MAX = 16 * 1024;

/** Where the numbering stands before a batch's first event. */
export interface BatchStart {
  /** Seq of the batch's first event. */
  readonly firstSeq: number;
  /** Exits that occurred before it. */
  readonly exitNumber: number;
  readonly icount: number;
}

export class EventBatch {
  firstSeq = 1;
  /** Exits, and units, at the start of the batch. */
  firstExitNumber = 0;
  firstIcount = 0;
  count = 0;
  readonly kinds: Uint8Array = new Uint8Array(EVENTS_PER_BATCH_MAX);
  /** icount of every event, hot or row. Units fit a double exactly (2^53). */
  readonly icounts: Float64Array = new Float64Array(EVENTS_PER_BATCH_MAX);

  exitCount = 0;
  /** Word `w` of exit `i` stands at `exits[i * EXIT_WORD_COUNT + w]`. */
  readonly exits: Uint32Array = new Uint32Array(EVENTS_PER_BATCH_MAX * EXIT_WORD_COUNT);

  /** `ExitHandled`: the kernel half's result (x0, the value of a trapped register), low and high word. */
  handledCount = 0;
  readonly handled: Uint32Array = new Uint32Array(EVENTS_PER_BATCH_MAX * 2);

  /** `ExitCompleted`: the VMM half's data, low and high word. */
  completedCount = 0;
  readonly completed: Uint32Array = new Uint32Array(EVENTS_PER_BATCH_MAX * 2);

  /** `OutputProduced`: port, first byte in `outputBytes`, byte count. */
  outputCount = 0;
  readonly outputs: Uint32Array = new Uint32Array(EVENTS_PER_BATCH_MAX * 3);
  outputByteCount = 0;
  readonly outputBytes: Uint8Array = new Uint8Array(OUTPUT_BYTES_PER_BATCH_MAX);

  /** `IrqLineSet`: line, level. */
  irqCount = 0;
  readonly irqs: Uint32Array = new Uint32Array(EVENTS_PER_BATCH_MAX * 2);

  /** `Digested`: 32 bytes each. */
  digestCount = 0;
  readonly digests: Uint8Array = new Uint8Array(EVENTS_PER_BATCH_MAX * 32);

  readonly rows: RowEvent[] = [];

  /** Empties the batch for the events from `start` on. */
  begin(start: BatchStart): void {
    this.firstSeq = start.firstSeq;
    this.firstExitNumber = start.exitNumber;
    this.firstIcount = start.icount;
    this.count = 0;
    this.exitCount = 0;
    this.handledCount = 0;
    this.completedCount = 0;
    this.outputCount = 0;
    this.outputByteCount = 0;
    this.irqCount = 0;
    this.digestCount = 0;
    this.rows.length = 0;
  }

  get nextSeq(): number {
    return this.firstSeq + this.count;
  }

  /** Whether another event, with `outputBytes` bytes of output, fits. */
  hasRoom(outputBytes: number): boolean {
    return this.count < EVENTS_PER_BATCH_MAX && this.outputByteCount + outputBytes <= OUTPUT_BYTES_PER_BATCH_MAX;
  }

  appendExit(icount: number, frame: ExitFrame): void {
    this.exits.set(frame, this.exitCount * EXIT_WORD_COUNT);
    this.exitCount += 1;
    this.#append(HotKind.exited, icount);
  }

  appendHandled(icount: number, low: number, high: number): void {
    this.handled[this.handledCount * 2] = low;
    this.handled[this.handledCount * 2 + 1] = high;
    this.handledCount += 1;
    this.#append(HotKind.exitHandled, icount);
  }

  appendCompleted(icount: number, low: number, high: number): void {
    this.completed[this.completedCount * 2] = low;
    this.completed[this.completedCount * 2 + 1] = high;
    this.completedCount += 1;
    this.#append(HotKind.exitCompleted, icount);
  }

  appendOutput(icount: number, port: number, bytes: Uint8Array): void {
    this.outputs[this.outputCount * 3] = port;
    this.outputs[this.outputCount * 3 + 1] = this.outputByteCount;
    this.outputs[this.outputCount * 3 + 2] = bytes.length;
    this.outputBytes.set(bytes, this.outputByteCount);
    this.outputByteCount += bytes.length;
    this.outputCount += 1;
    this.#append(HotKind.outputProduced, icount);
  }

  appendIrqLine(icount: number, line: number, level: number): void {
    this.irqs[this.irqCount * 2] = line;
    this.irqs[this.irqCount * 2 + 1] = level;
    this.irqCount += 1;
    this.#append(HotKind.irqLineSet, icount);
  }

  appendDigest(icount: number, digest: Uint8Array): void {
    this.digests.set(digest, this.digestCount * 32);
    this.digestCount += 1;
    this.#append(HotKind.digested, icount);
  }

  appendRow(event: RowEvent): void {
    this.rows.push(event);
    this.#append(ROW_EVENT, event.icount);
  }

  #append(kind: number, icount: number): void {
    this.kinds[this.count] = kind;
    this.icounts[this.count] = icount;
    this.count += 1;
  }
}
