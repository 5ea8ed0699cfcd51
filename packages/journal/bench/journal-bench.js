/**
 * What the journal costs: events a second and bytes an event, written and read back.
 * Run after a build: node packages/journal/bench/journal-bench.js [exits]
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventBatch } from "@hvjournal/core";
import { buildIndex, createRecording, fsck, openRecording, query } from "@hvjournal/journal";
import { BatchCoder } from "../dist/batch/batch-coding.js";
import { sampleHeader, sampleMemory, SampleRun, sampleSnapshot } from "../dist/testing/sample-run.js";

const exits = Number(process.argv[2] ?? 30_000);
const directory = mkdtempSync(join(tmpdir(), "hvjournal-bench-"));
const path = join(directory, "bench.hvj");

function timed(name, count, unit, act) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  const result = act();
  const ns = Number(process.hrtime.bigint() - start);
  const used = process.cpuUsage(cpu);
  const amount = count(result);
  const cpuNs = (used.user + used.system) * 1000;
  console.log(
    `${name.padEnd(34)} ${String(amount).padStart(8)} ${unit}, ${(ns / amount).toFixed(0).padStart(6)} ns each, cpu ${(cpuNs / amount).toFixed(0).padStart(6)} ns, ${((amount / ns) * 1e3).toFixed(2)} M/s`,
  );
  return result;
}

const kept = [];
function copy(batch) {
  const other = new EventBatch();
  other.begin({ firstSeq: batch.firstSeq, exitNumber: batch.firstExitNumber, icount: batch.firstIcount });
  Object.assign(other, {
    count: batch.count,
    exitCount: batch.exitCount,
    handledCount: batch.handledCount,
    completedCount: batch.completedCount,
    outputCount: batch.outputCount,
    outputByteCount: batch.outputByteCount,
    irqCount: batch.irqCount,
    digestCount: batch.digestCount,
  });
  for (const column of [
    "kinds",
    "icounts",
    "exits",
    "handled",
    "completed",
    "outputs",
    "outputBytes",
    "irqs",
    "digests",
  ])
    other[column].set(batch[column]);
  other.rows.push(...batch.rows);
  kept.push(other);
}

const run = new SampleRun(1, { firstSeq: 1, exitNumber: 0, icount: 0 }, copy);
run.run(exits);
run.end();
const events = kept.reduce((sum, batch) => sum + batch.count, 0);

const coder = new BatchCoder();
for (let round = 0; round < 3; round++) for (const batch of kept) coder.encode(batch);
let canonical = 0;
timed(
  "encode columns",
  () => events,
  "events",
  () => {
    for (const batch of kept) canonical += coder.encode(batch).length;
  },
);
const writer = createRecording(path, sampleHeader());
timed(
  "append, normal",
  () => events,
  "events",
  () => {
    for (const batch of kept) writer.append(batch, "normal");
  },
);
const memory = sampleMemory(3, 65_536, 8);
timed(
  "store pages and snapshot, full",
  () => memory.pages.size,
  "pages",
  () => {
    for (const [hash, page] of memory.pages) if (!writer.hasPage(hash)) writer.storePage(hash, page);
    writer.addSnapshot(
      sampleSnapshot(0, { seq: events, exitNumber: run.exitNumber, icount: run.icount }, memory),
      "full",
    );
  },
);
writer.finish("closed", { index: false });
const closedBytes = statSync(path).size;
const pageBytes = memory.pages.size * 4096;
console.log(
  `columns ${(canonical / events).toFixed(2)} B/event before deflate; file ${closedBytes} bytes, pages ${pageBytes}`,
);

const batches = query(path, "select count(*) from batches").rows[0][0];
const reader = openRecording(path);
const blobBytes = reader.tables.connection.database
  .prepare("select sum(length(bytes)) from batch_columns")
  .pluck()
  .get();
const rowBytes = reader.tables.connection.database.prepare("select sum(length(payload)) from events").pluck().get();
console.log(
  `${batches} batches: ${blobBytes} bytes of columns, ${rowBytes} of payloads, ${((blobBytes + rowBytes) / events).toFixed(2)} B/event`,
);
timed(
  "read and verify",
  () => events,
  "events",
  () => reader.readBatches(0, new EventBatch(), () => true),
);
timed(
  "load pages",
  () => memory.pages.size,
  "pages",
  () => {
    for (const hash of memory.pages.keys()) reader.loadPage(hash);
  },
);
timed(
  "load snapshot",
  () => 1,
  "snapshot",
  () => reader.loadSnapshot(0),
);
reader.close();
timed(
  "sql over virtual tables",
  () => run.exitNumber,
  "exits",
  () => query(path, "select reason, count(*) from exits group by 1"),
);
timed(
  "build index",
  () => run.exitNumber,
  "exits",
  () => buildIndex(path),
);
console.log(`index ${statSync(path).size - closedBytes} bytes`);
timed(
  "fsck",
  () => events,
  "events",
  () => fsck(path),
);
rmSync(directory, { recursive: true });
