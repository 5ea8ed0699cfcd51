/**
 * A batch: up to some thousand events in order, as typed columns and a few rows.
 *
 * `kinds[i]` says what event `firstSeq + i` is: a hot kind, whose next row stands in that
 * kind's columns, or `ROW_EVENT`, the next of `rows`.
 */
import { EXIT_WORD_COUNT, type ExitFrame } from "./exit-frame.js";
import { HotKind, ROW_EVENT, type RowEvent } from "./event-kind.js";

/** A batch costs as much as some hundred exits, however few events it holds: hashes, a deflated blob, rows of a table. */
export const EVENTS_PER_BATCH_MAX = 4096;
export const REGISTER_WORDS = 4;
/** Names of registers in one batch, and characters of one. */
export const REGISTER_NAMES_MAX = 64;
export const REGISTER_NAME_LENGTH_MAX = 31;
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
  readonly kinds: Uint8Array;
  /** icount of every event, hot or row. Units fit a double exactly (2^53). */
  readonly icounts: Float64Array;

  exitCount = 0;
  /** Word `w` of exit `i` stands at `exits[i * EXIT_WORD_COUNT + w]`. */
  readonly exits: Uint32Array;
  /** The rows of `exits`, made when they are first asked for. */
  #frames: readonly ExitFrame[] = [];

  /** `ExitHandled`: the kernel half's result (x0, the value of a trapped register), low and high word. */
  handledCount = 0;
  readonly handled: Uint32Array;

  /** `ExitCompleted`: the VMM half's data, low and high word. */
  completedCount = 0;
  readonly completed: Uint32Array;

  /** `OutputProduced`: port, first byte in `outputBytes`, byte count. */
  outputCount = 0;
  readonly outputs: Uint32Array;
  outputByteCount = 0;
  readonly outputBytes: Uint8Array;

  /** `IrqLineSet`: line, level. */
  irqCount = 0;
  readonly irqs: Uint32Array;

  /** `Digested`: 32 bytes each. */
  digestCount = 0;
  readonly digests: Uint8Array;

  /** `RegisterSet`: vCPU, index in `registerNames`, low and high word of the value. */
  registerCount = 0;
  readonly registers: Uint32Array;
  /** Names that occur, as they first occur. */
  readonly registerNames: string[] = [];

  readonly rows: RowEvent[] = [];

  /** Room for so many events and bytes of output: for all that a batch may have, or for what one to be kept has. */
  constructor(events: number = EVENTS_PER_BATCH_MAX, outputBytes: number = OUTPUT_BYTES_PER_BATCH_MAX) {
    this.kinds = new Uint8Array(events);
    this.icounts = new Float64Array(events);
    this.exits = new Uint32Array(events * EXIT_WORD_COUNT);
    this.handled = new Uint32Array(events * 2);
    this.completed = new Uint32Array(events * 2);
    this.outputs = new Uint32Array(events * 3);
    this.outputBytes = new Uint8Array(outputBytes);
    this.irqs = new Uint32Array(events * 2);
    this.digests = new Uint8Array(events * 32);
    this.registers = new Uint32Array(events * REGISTER_WORDS);
  }

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
    this.registerCount = 0;
    this.registerNames.length = 0;
    this.rows.length = 0;
  }

  get nextSeq(): number {
    return this.firstSeq + this.count;
  }

  /** Whether another event, with `outputBytes` bytes of output, fits. */
  hasRoom(outputBytes: number): boolean {
    return this.count < this.kinds.length && this.outputByteCount + outputBytes <= this.outputBytes.length;
  }

  /** The row that the next exit will stand in: one that is described there is not copied. undefined: the batch is full. */
  get nextFrame(): ExitFrame | undefined {
    if (this.count === this.kinds.length) return undefined;
    if (this.#frames.length === 0) this.#frames = this.#rows();
    return this.#frames[this.exitCount];
  }

  #rows(): readonly ExitFrame[] {
    return Array.from({ length: this.kinds.length }, (_, index) =>
      this.exits.subarray(index * EXIT_WORD_COUNT, (index + 1) * EXIT_WORD_COUNT),
    );
  }

  appendExit(icount: number, frame: ExitFrame): void {
    if (frame !== this.#frames[this.exitCount]) this.#copyExit(frame);
    this.exitCount += 1;
    this.#append(HotKind.exited, icount);
  }

  #copyExit(frame: ExitFrame): void {
    const { exits } = this;
    const at = this.exitCount * EXIT_WORD_COUNT;
    // `set` costs more than so few words.
    for (let word = 0; word < EXIT_WORD_COUNT; word++) exits[at + word] = frame[word] ?? 0;
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
    if (bytes.length === 1) this.outputBytes[this.outputByteCount] = bytes[0] ?? 0;
    else this.outputBytes.set(bytes, this.outputByteCount);
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

  /** Whether a write to a register of that name can stand in the columns. */
  takesRegister(name: string): boolean {
    const { registerNames } = this;
    if (registerNames.includes(name)) return true;
    return registerNames.length < REGISTER_NAMES_MAX && name.length <= REGISTER_NAME_LENGTH_MAX;
  }

  /** A write of the VMM half to a register of at most 64 bits, which `takesRegister` has been asked about. */
  appendRegister(icount: number, vcpu: number, name: string, low: number, high: number): void {
    let index = this.registerNames.indexOf(name);
    if (index < 0) index = this.registerNames.push(name) - 1;
    const at = this.registerCount * REGISTER_WORDS;
    this.registers[at] = vcpu;
    this.registers[at + 1] = index;
    this.registers[at + 2] = low;
    this.registers[at + 3] = high;
    this.registerCount += 1;
    this.#append(HotKind.registerSet, icount);
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
