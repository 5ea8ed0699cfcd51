/** Copies of a recording in which something is not what happened, or not for this build: what a command must find. */
import { EventBatch, type RecordingHeader, type Snapshot } from "@hvjournal/core";
import { readFileSync, writeFileSync } from "node:fs";
import { createRecording, openRecording, type RecordingReader, type RecordingWriter } from "@hvjournal/journal";

const PAGE_HASH_BYTES = 16;

/** `change` sees each batch before it is written again, with a chain of its own. */
export function forgeRecording(
  from: string,
  to: string,
  change: (batch: EventBatch) => void,
  header: Partial<RecordingHeader> = {},
): void {
  const reader = openRecording(from);
  const writer = createRecording(to, { ...reader.header, ...header }, { kinds: reader.eventKinds() });
  try {
    for (const { number } of reader.snapshots()) copySnapshot(reader.loadSnapshot(number), reader, writer);
    reader.readBatches(1, new EventBatch(), (batch) => {
      change(batch);
      writer.append(batch, "normal");
      return true;
    });
    writer.finish("closed", { index: false });
  } finally {
    writer.close();
    reader.close();
  }
}

function copySnapshot(snapshot: Snapshot, reader: RecordingReader, writer: RecordingWriter): void {
  const { pageHashes } = snapshot;
  for (let at = 0; at < pageHashes.length; at += PAGE_HASH_BYTES) {
    const hash = Buffer.from(pageHashes.subarray(at, at + PAGE_HASH_BYTES)).toString("hex");
    if (/[^0]/.test(hash) && !writer.hasPage(hash)) writer.storePage(hash, reader.loadPage(hash));
  }
  writer.addSnapshot(snapshot, "normal");
}

/** What a device register read gave is another value once, so that a replay diverges. */
export function forgeAnswer(from: string, to: string): void {
  const TRANSMIT_FIFO_FULL = 0x20;
  let isForged = false;
  forgeRecording(from, to, (batch) => {
    if (isForged || batch.firstSeq === 1 || batch.completedCount === 0) return;
    batch.completed[0] = TRANSMIT_FIFO_FULL;
    isForged = true;
  });
}

/** As a later build might write it: another `user_version`, and a header table that this build does not know. */
export function forgeFormat(from: string, to: string, formatVersion: number): void {
  const USER_VERSION_OFFSET = 60;
  const KEY = "format_version";
  const bytes = readFileSync(from);
  bytes.writeUInt32BE(formatVersion, USER_VERSION_OFFSET);
  for (let at = bytes.indexOf(KEY); at >= 0; at = bytes.indexOf(KEY, at + 1)) bytes.write(KEY.toUpperCase(), at);
  writeFileSync(to, bytes);
}

/** One bit of a batch's columns is another. */
export function flipBit(from: string, to: string): void {
  const bytes = readFileSync(from);
  const reader = openRecording(from);
  const { database } = reader.tables.connection;
  const columns = database.prepare("SELECT bytes FROM batch_columns ORDER BY number DESC").pluck().get();
  reader.close();
  if (!Buffer.isBuffer(columns)) throw new Error(`${from} has no batch`);
  // As much of it as lies in one page of the file for certain.
  const at = bytes.indexOf(columns.subarray(0, 32));
  if (at < 0) throw new Error(`${from} does not hold its last batch in one piece`);
  bytes.writeUInt8(bytes.readUInt8(at + 16) ^ 1, at + 16);
  writeFileSync(to, bytes);
}

/** One bit of a page that only the last snapshot needs is another: a replay from the start never reads it. */
export function flipLastPage(from: string, to: string): void {
  const bytes = readFileSync(from);
  const reader = openRecording(from);
  const [first = [], last = []] = [reader.snapshots()[0], reader.snapshots().at(-1)].map((head) =>
    head === undefined ? [] : hashesOf(reader.loadSnapshot(head.number)),
  );
  const own = last.filter((hash) => /[^0]/.test(hash) && !first.includes(hash)).map((hash) => reader.loadPage(hash));
  reader.close();
  const at = own.map((content) => onlyPlaceOf(content, bytes)).find((place) => place !== undefined);
  if (at === undefined) throw new Error(`${from} has no page of its last snapshot's own`);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(to, bytes);
}

/** One line of the console in the tables for sqlite3 is not what the guest wrote; batches keep it in another form. */
export function forgeIndexedLine(from: string, to: string, line: string): void {
  const bytes = readFileSync(from);
  const at = onlyPlaceOf(Buffer.from(line), bytes);
  if (at === undefined) throw new Error(`${from} does not hold ${line} in one place`);
  bytes.write("X", at);
  writeFileSync(to, bytes);
}

/** Where some piece of a page stands that the file has once; undefined when there is no such piece. */
function onlyPlaceOf(content: Uint8Array, file: Buffer): number | undefined {
  const PIECE_BYTES = 64;
  for (let start = 0; start < content.length; start += PIECE_BYTES) {
    const piece = Buffer.from(content.subarray(start, start + PIECE_BYTES));
    const at = file.indexOf(piece);
    if (at >= 0 && !file.includes(piece, at + 1)) return at;
  }
  return undefined;
}

function hashesOf({ pageHashes }: Snapshot): string[] {
  const names = Buffer.from(pageHashes).toString("hex");
  return Array.from({ length: pageHashes.length / PAGE_HASH_BYTES }, (_, index) =>
    names.slice(index * 2 * PAGE_HASH_BYTES, (index + 1) * 2 * PAGE_HASH_BYTES),
  );
}
