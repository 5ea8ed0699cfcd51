/** A small recording with something of everything. */
import type { EventBatch, EventKind, Snapshot } from "@hvjournal/core";
import { createRecording, type RecordingWriter } from "../recording-writer.js";
import { snapshotRoot } from "../store/snapshot-tables.js";
import { sampleHeader, sampleMemory, type SampleMemory, SampleRun, sampleSnapshot } from "./sample-run.js";

export const SMALL_KINDS: readonly EventKind[] = [
  { name: "Exited", version: 1, role: "observation", fields: ["exit words"] },
  { name: "SnapshotTaken", version: 1, role: "bookkeeping", fields: ["number", "root"] },
  { name: "GuestMemoryWritten", version: 1, role: "vmm output", fields: ["gpa", "bytes"] },
];

export const SMALL_PAGE_COUNT = 48;

export interface SmallRecording {
  readonly path: string;
  readonly memories: readonly SampleMemory[];
  readonly snapshots: readonly Snapshot[];
  readonly lastSeq: number;
}

export function takeSampleSnapshot(
  writer: RecordingWriter,
  run: SampleRun,
  number: number,
  memory: SampleMemory,
): Snapshot {
  for (const [hash, page] of memory.pages) writer.storePage(hash, page);
  const at = { seq: run.batch.nextSeq - 1, exitNumber: run.exitNumber, icount: run.icount };
  const snapshot = sampleSnapshot(number, at, memory);
  run.row("SnapshotTaken", { number, root: snapshotRoot(snapshot) });
  run.end();
  writer.addSnapshot(snapshot, "full");
  return snapshot;
}

/** Three snapshots with runs between them; left open, for the caller to finish. */
export function writeSmallRun(path: string, seed = 5): { writer: RecordingWriter; recording: SmallRecording } {
  const writer = createRecording(path, sampleHeader(), { kinds: SMALL_KINDS });
  const append = (batch: EventBatch): void => writer.append(batch, "normal");
  const run = new SampleRun(seed, { firstSeq: 1, exitNumber: 0, icount: 0 }, append);
  const memories = [11, 12, 13].map((memorySeed) => sampleMemory(memorySeed, SMALL_PAGE_COUNT, 12));
  const snapshots = memories.map((memory, number) => {
    const snapshot = takeSampleSnapshot(writer, run, number, memory);
    run.run((number + 1) * 500);
    run.end();
    return snapshot;
  });
  writer.appendOwnership({
    recording: sampleHeader().id,
    epoch: 1,
    owner: "source",
    state: "taken",
    detail: { host: "a" },
  });
  return { writer, recording: { path, memories, snapshots, lastSeq: run.batch.nextSeq - 1 } };
}

export function smallRecording(path: string, options = { index: true }): SmallRecording {
  const { writer, recording } = writeSmallRun(path);
  writer.finish("closed", options);
  return recording;
}
