/** Everything that a recording answers, as text, so that two readings can be compared. */
import { EventBatch } from "@hvjournal/core";
import { createHash } from "node:crypto";
import type { RecordingReader } from "../recording-reader.js";
import { query } from "../derived/query.js";

/** Maps in order of their keys: the journal keeps their content, not their order. */
function plain(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === "bigint") return `${item}n`;
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    if (ArrayBuffer.isView(item)) return Buffer.from(item.buffer, item.byteOffset, item.byteLength).toString("hex");
    return Object.fromEntries(Object.entries(item).sort(([left], [right]) => (left < right ? -1 : 1)));
  });
}

/** Its events, and a hash of all that it holds. */
export function batchText(batch: EventBatch): string {
  const { firstSeq, firstExitNumber, firstIcount, count, rows } = batch;
  const content = plain({
    firstSeq,
    firstExitNumber,
    firstIcount,
    kinds: [...batch.kinds.subarray(0, count)],
    icounts: [...batch.icounts.subarray(0, count)],
    exits: batch.exits.subarray(0, batch.exitCount * 18),
    handled: batch.handled.subarray(0, batch.handledCount * 2),
    completed: batch.completed.subarray(0, batch.completedCount * 2),
    outputs: batch.outputs.subarray(0, batch.outputCount * 3),
    outputBytes: batch.outputBytes.subarray(0, batch.outputByteCount),
    irqs: batch.irqs.subarray(0, batch.irqCount * 2),
    digests: batch.digests.subarray(0, batch.digestCount * 32),
    registers: batch.registers.subarray(0, batch.registerCount * 4),
    registerNames: batch.registerNames,
    rows,
  });
  return `event:${firstSeq}..${firstSeq + count - 1} ${createHash("sha256").update(content).digest("hex")}`;
}

export function batchTexts(reader: Pick<RecordingReader, "readBatches">, seq = 0): string[] {
  const texts: string[] = [];
  reader.readBatches(seq, new EventBatch(), (batch) => {
    texts.push(batchText(batch));
    return true;
  });
  return texts;
}

export type Question = readonly [name: string, ask: () => string];

/** One question for each kind of answer; `pages` are hashes in hex. */
export function questions(reader: RecordingReader, pages: readonly string[]): readonly Question[] {
  const snapshots = [0, 1, 2];
  return [
    ["header", () => plain(reader.header)],
    ["end", () => plain(reader.end)],
    ["kinds", () => plain(reader.eventKinds())],
    ["ownership", () => plain(reader.ownership())],
    ["batches", () => batchTexts(reader).join("\n")],
    ["seeks by exit", () => plain(Array.from({ length: 40 }, (_, index) => reader.seekByExit(index * 37)))],
    ["seeks by icount", () => plain(Array.from({ length: 40 }, (_, index) => reader.seekByIcount(index * 99_991)))],
    ["snapshots", () => plain(reader.snapshots())],
    ...snapshots.map((number): Question => [`snapshot ${number}`, () => plain(reader.loadSnapshot(number))]),
    ...pages.map((hash): Question => [`page ${hash}`, () => plain(reader.loadPage(hash))]),
    ["sql exits", () => plain(query(reader.path, "SELECT * FROM exits").rows)],
    ["sql console", () => plain(query(reader.path, "SELECT * FROM console").rows)],
  ];
}
