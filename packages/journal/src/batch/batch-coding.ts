/**
 * A batch's columns as bytes. `batch_columns.bytes` holds them deflated (raw deflate, RFC 1951);
 * the hash chain is over what is drawn here (varints and columns: `byte-coding.ts`,
 * `column-coding.ts`; exits: `exit-coding.ts`).
 *
 *     ┌──────────────────────────────────────────────────────────────────────────────┐
 *     │ coding u8 = 1, or 2 with registers                                           │
 *     │ first seq, exits before the batch, icount before the batch, event count      │ varints
 *     │ counts: exits, handled, completed, outputs, output bytes, irq lines, digests │ varints
 *     │ coding 2: counts of registers and of their names                             │ varints
 *     ├──────────────────────────────────────────────────────────────────────────────┤
 *     │ kind of each event: u8, `HotKind` or 0 for a row event                       │
 *     │ icount of each event: varint, difference to the event before (to the batch)  │
 *     │ exits                                                                        │
 *     │ handled:   column of low words, column of high words                         │
 *     │ completed: column of low words, column of high words                         │
 *     │ outputs:   column of ports, column of lengths, the bytes one after the other │
 *     │ irq lines: column of lines, column of levels                                 │
 *     │ digests:   32 bytes each                                                     │
 *     │ coding 2: registers: the names, each a length varint and UTF-8, column of    │
 *     │            vCPUs, of names by number, of low words, of high words            │
 *     └──────────────────────────────────────────────────────────────────────────────┘
 *
 * A register that the VMM half has set, up to 64 bits wide, is `HotKind.registerSet` here and the row event `RegisterSet` for
 * whoever reads. In older recordings it is a row event already.
 *
 * All columns here are seeded with 0. Row events are not in it; they stand in the table `events`, and the chain
 * covers them behind these bytes (`chain.ts`).
 */
import {
  EVENTS_PER_BATCH_MAX,
  type EventBatch,
  EXIT_WORD_COUNT,
  HotKind,
  OUTPUT_BYTES_PER_BATCH_MAX,
  REGISTER_NAME_LENGTH_MAX,
  REGISTER_NAMES_MAX,
  REGISTER_WORDS,
  ROW_EVENT,
} from "@hvjournal/core";
import { ByteCodingError, ByteSink, ByteSource } from "../canonical/byte-coding.js";
import { readColumn, writeColumn } from "./column-coding.js";
import { ExitCoder } from "./exit-coding.js";

const BATCH_CODING = 1;
const REGISTER_CODING = 2;
const DIGEST_BYTES = 32;
/** In UTF-8. */
const REGISTER_NAME_BYTES_MAX = 3 * REGISTER_NAME_LENGTH_MAX;
const VARINT_BYTES_MAX = 8;
const WORD_VARINT_BYTES_MAX = 5;
const POSITION_MAX = Number.MAX_SAFE_INTEGER;

/** No batch's columns are longer: what an inflated blob may be at most. */
export const BATCH_BYTES_MAX =
  1024 +
  EVENTS_PER_BATCH_MAX * (1 + VARINT_BYTES_MAX + (EXIT_WORD_COUNT + 1) * (WORD_VARINT_BYTES_MAX + 1) + DIGEST_BYTES) +
  OUTPUT_BYTES_PER_BATCH_MAX +
  REGISTER_NAMES_MAX * (REGISTER_NAME_BYTES_MAX + 1);

/** Writes and reads batches, with working memory that is used again for each. */
export class BatchCoder {
  readonly #sink = new ByteSink(64 * 1024);
  readonly #exits = new ExitCoder();
  readonly #words = new Uint32Array(EVENTS_PER_BATCH_MAX);

  /** A view that the next call changes. */
  encode(batch: EventBatch): Uint8Array {
    const sink = this.#sink;
    sink.reset();
    const hasRegisters = batch.registerCount > 0;
    sink.u8(hasRegisters ? REGISTER_CODING : BATCH_CODING);
    for (const value of [batch.firstSeq, batch.firstExitNumber, batch.firstIcount, batch.count]) sink.varint(value);
    for (const value of columnCounts(batch)) sink.varint(value);
    if (hasRegisters) for (const value of [batch.registerCount, batch.registerNames.length]) sink.varint(value);
    sink.raw(batch.kinds.subarray(0, batch.count));
    this.#writeIcounts(batch);
    this.#exits.write(sink, batch.exits, batch.exitCount);
    this.#writeFields(batch.handled, batch.handledCount, 2, 0);
    this.#writeFields(batch.handled, batch.handledCount, 2, 1);
    this.#writeFields(batch.completed, batch.completedCount, 2, 0);
    this.#writeFields(batch.completed, batch.completedCount, 2, 1);
    this.#writeFields(batch.outputs, batch.outputCount, 3, 0);
    this.#writeFields(batch.outputs, batch.outputCount, 3, 2);
    sink.raw(batch.outputBytes.subarray(0, batch.outputByteCount));
    this.#writeFields(batch.irqs, batch.irqCount, 2, 0);
    this.#writeFields(batch.irqs, batch.irqCount, 2, 1);
    sink.raw(batch.digests.subarray(0, batch.digestCount * DIGEST_BYTES));
    if (hasRegisters) this.#writeRegisters(batch);
    return sink.view();
  }

  #writeRegisters({ registers, registerCount, registerNames }: EventBatch): void {
    for (const name of registerNames) this.#sink.text(name);
    for (let word = 0; word < REGISTER_WORDS; word++) this.#writeFields(registers, registerCount, REGISTER_WORDS, word);
  }

  #readRegisters(source: ByteSource, batch: EventBatch, nameCount: number): void {
    for (let index = 0; index < nameCount; index++) batch.registerNames.push(source.text(REGISTER_NAME_BYTES_MAX));
    for (let word = 0; word < REGISTER_WORDS; word++)
      this.#readFields(source, batch.registers, batch.registerCount, REGISTER_WORDS, word);
    for (let index = 0; index < batch.registerCount; index++) {
      const name = batch.registers[index * REGISTER_WORDS + 1] ?? 0;
      if (name >= nameCount)
        throw new ByteCodingError(`register ${index} of the batch names name ${name} of ${nameCount}`);
    }
  }

  /** Fills `batch`, all but its rows, of which there must be as many as the result says. Throws ByteCodingError. */
  decode(bytes: Uint8Array, batch: EventBatch): number {
    const source = new ByteSource(bytes);
    const coding = source.u8();
    if (coding !== BATCH_CODING && coding !== REGISTER_CODING)
      throw new ByteCodingError(`batch coding ${coding} is not known`);
    const firstSeq = source.varint(POSITION_MAX);
    const exitNumber = source.varint(POSITION_MAX);
    batch.begin({ firstSeq, exitNumber, icount: source.varint(POSITION_MAX) });
    batch.count = source.varint(EVENTS_PER_BATCH_MAX);
    readColumnCounts(source, batch);
    batch.registerCount = coding === REGISTER_CODING ? source.varint(batch.count) : 0;
    const nameCount = coding === REGISTER_CODING ? source.varint(REGISTER_NAMES_MAX) : 0;
    batch.kinds.set(source.raw(batch.count));
    const rowCount = checkKinds(batch);
    this.#readIcounts(source, batch);
    this.#exits.read(source, batch.exits, batch.exitCount);
    this.#readFields(source, batch.handled, batch.handledCount, 2, 0);
    this.#readFields(source, batch.handled, batch.handledCount, 2, 1);
    this.#readFields(source, batch.completed, batch.completedCount, 2, 0);
    this.#readFields(source, batch.completed, batch.completedCount, 2, 1);
    this.#readFields(source, batch.outputs, batch.outputCount, 3, 0);
    this.#readFields(source, batch.outputs, batch.outputCount, 3, 2);
    placeOutputs(batch);
    batch.outputBytes.set(source.raw(batch.outputByteCount));
    this.#readFields(source, batch.irqs, batch.irqCount, 2, 0);
    this.#readFields(source, batch.irqs, batch.irqCount, 2, 1);
    batch.digests.set(source.raw(batch.digestCount * DIGEST_BYTES));
    if (coding === REGISTER_CODING) this.#readRegisters(source, batch, nameCount);
    source.end();
    return rowCount;
  }

  #writeIcounts(batch: EventBatch): void {
    const { icounts, count, firstIcount } = batch;
    let before = firstIcount;
    let unitsMax = 0;
    for (let index = 0; index < count; index++) {
      const icount = icounts[index] ?? 0;
      const units = icount - before;
      if (units > unitsMax) unitsMax = units;
      this.#words[index] = units;
      before = icount;
    }
    if (unitsMax <= 0xffff_ffff) this.#sink.u32Varints(this.#words, count);
    else this.#writeLongIcounts(batch);
  }

  #writeLongIcounts({ icounts, count, firstIcount }: EventBatch): void {
    let before = firstIcount;
    for (let index = 0; index < count; index++) {
      const icount = icounts[index] ?? 0;
      this.#sink.varint(icount - before);
      before = icount;
    }
  }

  #readIcounts(source: ByteSource, batch: EventBatch): void {
    let icount = batch.firstIcount;
    for (let index = 0; index < batch.count; index++) {
      icount += source.varint(POSITION_MAX);
      batch.icounts[index] = icount;
    }
    if (icount > POSITION_MAX) throw new ByteCodingError(`icount ${icount} is above 2^53 - 1`);
  }

  /** One field of `count` rows that are `stride` words long, as a column. */
  #writeFields(rows: Uint32Array, count: number, stride: number, field: number): void {
    for (let index = 0; index < count; index++) this.#words[index] = rows[index * stride + field] ?? 0;
    writeColumn(this.#sink, this.#words, count, 0);
  }

  #readFields(source: ByteSource, rows: Uint32Array, count: number, stride: number, field: number): void {
    readColumn(source, this.#words, count, 0);
    for (let index = 0; index < count; index++) rows[index * stride + field] = this.#words[index] ?? 0;
  }
}

function columnCounts(batch: EventBatch): readonly number[] {
  const { exitCount, handledCount, completedCount, outputCount, outputByteCount, irqCount, digestCount } = batch;
  return [exitCount, handledCount, completedCount, outputCount, outputByteCount, irqCount, digestCount];
}

function readColumnCounts(source: ByteSource, batch: EventBatch): void {
  batch.exitCount = source.varint(batch.count);
  batch.handledCount = source.varint(batch.count);
  batch.completedCount = source.varint(batch.count);
  batch.outputCount = source.varint(batch.count);
  batch.outputByteCount = source.varint(OUTPUT_BYTES_PER_BATCH_MAX);
  batch.irqCount = source.varint(batch.count);
  batch.digestCount = source.varint(batch.count);
}

/** The kinds must occur as often as the counts say; gives the count of row events. */
function checkKinds(batch: EventBatch): number {
  const occurs = new Uint32Array(HotKind.registerSet + 1);
  for (let index = 0; index < batch.count; index++) {
    const kind = batch.kinds[index] ?? 0;
    if (kind > HotKind.registerSet) throw new ByteCodingError(`event kind ${kind} is not known`);
    occurs[kind] = (occurs[kind] ?? 0) + 1;
  }
  const counts: readonly (readonly [number, number])[] = [
    [HotKind.exited, batch.exitCount],
    [HotKind.exitHandled, batch.handledCount],
    [HotKind.exitCompleted, batch.completedCount],
    [HotKind.outputProduced, batch.outputCount],
    [HotKind.irqLineSet, batch.irqCount],
    [HotKind.digested, batch.digestCount],
    [HotKind.registerSet, batch.registerCount],
  ];
  for (const [kind, count] of counts) {
    if (occurs[kind] !== count)
      throw new ByteCodingError(`event kind ${kind} occurs ${occurs[kind]} times, ${count} are announced`);
  }
  return occurs[ROW_EVENT] ?? 0;
}

/** The bytes of the outputs follow each other. */
function placeOutputs(batch: EventBatch): void {
  let offset = 0;
  for (let index = 0; index < batch.outputCount; index++) {
    batch.outputs[index * 3 + 1] = offset;
    offset += batch.outputs[index * 3 + 2] ?? 0;
  }
  if (offset !== batch.outputByteCount) {
    throw new ByteCodingError(`outputs hold ${offset} bytes, ${batch.outputByteCount} are announced`);
  }
}

/** Throws RangeError for a batch that could not be read back: a bug of whoever filled it. */
export function checkBatch(batch: EventBatch, seq: number, exitNumber: number, icount: number): void {
  const fail = (reason: string): never => {
    throw new RangeError(`can't append the batch of event:${batch.firstSeq}: ${reason}`);
  };
  if (batch.firstSeq !== seq) fail(`the next event is event:${seq}`);
  if (batch.firstExitNumber !== exitNumber)
    fail(`it begins at exit:${batch.firstExitNumber}, the journal ends at exit:${exitNumber}`);
  if (batch.firstIcount < icount)
    fail(`it begins at icount:${batch.firstIcount}, the journal ends at icount:${icount}`);
  let before = batch.firstIcount;
  let offset = 0;
  for (let index = 0; index < batch.count; index++) {
    const at = batch.icounts[index] ?? 0;
    if (!(at >= before)) fail(`event:${seq + index} stands at icount:${at}, behind one at icount:${before}`);
    before = at;
  }
  for (let index = 0; index < batch.outputCount; index++) {
    if (batch.outputs[index * 3 + 1] !== offset) fail(`output ${index} does not follow the one before it`);
    offset += batch.outputs[index * 3 + 2] ?? 0;
  }
  const rowCount = checkKinds(batch);
  if (batch.rows.length !== rowCount) fail(`it has ${batch.rows.length} row events, its kinds say ${rowCount}`);
  checkRows(batch, fail);
}

function checkRows(batch: EventBatch, fail: (reason: string) => never): void {
  let row = 0;
  let exitNumber = batch.firstExitNumber;
  for (let index = 0; index < batch.count; index++) {
    const kind = batch.kinds[index];
    if (kind === HotKind.exited) exitNumber += 1;
    if (kind !== ROW_EVENT) continue;
    const event = batch.rows[row++];
    const seq = batch.firstSeq + index;
    if (event?.seq !== seq) fail(`row event ${event?.kind} carries seq ${event?.seq} in the place of event:${seq}`);
    else if (event.icount !== batch.icounts[index])
      fail(`event:${seq} carries icount ${event.icount}, its column ${batch.icounts[index]}`);
    else if (event.exitNumber !== exitNumber)
      fail(`event:${seq} carries exit number ${event.exitNumber}, ${exitNumber} had occurred`);
  }
}
