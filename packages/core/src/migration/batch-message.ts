/** A batch of events as plain data, for a channel: columns of little-endian words, rows as maps. */
import { EventBatch, EVENTS_PER_BATCH_MAX, OUTPUT_BYTES_PER_BATCH_MAX } from "../event/event-batch.js";
import { EXIT_WORD_COUNT } from "../event/exit-frame.js";
import type { EventPayload, RowEvent } from "../event/event-kind.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { PayloadError, PayloadFields } from "../canonical/payload-fields.js";

const DIGEST_BYTES = 32;
const WHAT = "batch of events";

function wordBytes(words: Uint32Array, count: number): Uint8Array {
  const bytes = new Uint8Array(count * 4);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < count; index++) view.setUint32(index * 4, words[index] ?? 0, true);
  return bytes;
}

function readWords(fields: PayloadFields, name: string, into: Uint32Array, perRow: number): number {
  const bytes = fields.bytes(name);
  const count = bytes.length / 4;
  if (!Number.isInteger(count / perRow) || count > into.length)
    throw new PayloadError(WHAT, name, `up to ${into.length} words in rows of ${perRow}`, `${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = 0; index < count; index++) into[index] = view.getUint32(index * 4, true);
  return count / perRow;
}

function readBytes(fields: PayloadFields, name: string, into: Uint8Array): number {
  const bytes = fields.bytes(name);
  if (bytes.length > into.length)
    throw new PayloadError(WHAT, name, `up to ${into.length} bytes`, `${bytes.length} bytes`);
  into.set(bytes);
  return bytes.length;
}

function rowPayload({ seq, kind, version, vcpu, icount, exitNumber, payload }: RowEvent): EventPayload {
  return { seq, kind, version, vcpu, icount, exitNumber, payload };
}

function readRow(item: EventPayload): RowEvent {
  const fields = new PayloadFields(`${WHAT}: row`, item);
  return {
    seq: fields.number("seq"),
    kind: fields.string("kind"),
    version: fields.number("version"),
    vcpu: Number(fields.bigint("vcpu")),
    icount: fields.number("icount"),
    exitNumber: fields.number("exitNumber"),
    payload: fields.map("payload"),
  };
}

export function batchPayload(batch: EventBatch): EventPayload {
  const icounts = new Uint8Array(batch.count * 8);
  const view = new DataView(icounts.buffer);
  for (let index = 0; index < batch.count; index++) view.setFloat64(index * 8, batch.icounts[index] ?? 0, true);
  return {
    firstSeq: batch.firstSeq,
    exitNumber: batch.firstExitNumber,
    icount: batch.firstIcount,
    kinds: batch.kinds.slice(0, batch.count),
    icounts,
    exits: wordBytes(batch.exits, batch.exitCount * EXIT_WORD_COUNT),
    handled: wordBytes(batch.handled, batch.handledCount * 2),
    completed: wordBytes(batch.completed, batch.completedCount * 2),
    outputs: wordBytes(batch.outputs, batch.outputCount * 3),
    outputBytes: batch.outputBytes.slice(0, batch.outputByteCount),
    irqs: wordBytes(batch.irqs, batch.irqCount * 2),
    digests: batch.digests.slice(0, batch.digestCount * DIGEST_BYTES),
    rows: batch.rows.map(rowPayload),
  };
}

/** Fills `batch`. Whether its columns fit together is for the journal to check. Throws PayloadError. */
export function readBatchPayload(payload: EventPayload, batch: EventBatch): void {
  const fields = new PayloadFields(WHAT, payload);
  batch.begin({
    firstSeq: fields.number("firstSeq"),
    exitNumber: fields.number("exitNumber"),
    icount: fields.number("icount"),
  });
  batch.count = readBytes(fields, "kinds", batch.kinds);
  const icounts = fields.bytes("icounts");
  if (icounts.length !== batch.count * 8 || batch.count > EVENTS_PER_BATCH_MAX)
    throw new PayloadError(WHAT, "icounts", `${batch.count} of 8 bytes`, `${icounts.length} bytes`);
  const view = new DataView(icounts.buffer, icounts.byteOffset, icounts.byteLength);
  for (let index = 0; index < batch.count; index++) batch.icounts[index] = view.getFloat64(index * 8, true);
  batch.exitCount = readWords(fields, "exits", batch.exits, EXIT_WORD_COUNT);
  batch.handledCount = readWords(fields, "handled", batch.handled, 2);
  batch.completedCount = readWords(fields, "completed", batch.completed, 2);
  batch.outputCount = readWords(fields, "outputs", batch.outputs, 3);
  batch.outputByteCount = readBytes(fields, "outputBytes", batch.outputBytes.subarray(0, OUTPUT_BYTES_PER_BATCH_MAX));
  batch.irqCount = readWords(fields, "irqs", batch.irqs, 2);
  batch.digestCount = readBytes(fields, "digests", batch.digests) / DIGEST_BYTES;
  for (const item of fields.array("rows")) {
    if (!isPlainMap(item)) throw new PayloadError(WHAT, "rows", "map", item);
    batch.rows.push(readRow(item));
  }
}
