/** A copy of a recording in which something is not what happened: what a replay must find. */
import { EventBatch, type Snapshot } from "@hvjournal/core";
import { createRecording, openRecording, type RecordingReader, type RecordingWriter } from "@hvjournal/journal";

const PAGE_HASH_BYTES = 16;

/** `change` sees each batch before it is written again, with a chain of its own. */
export function forgeRecording(from: string, to: string, change: (batch: EventBatch) => void): void {
  const reader = openRecording(from);
  const writer = createRecording(to, reader.header, { kinds: reader.eventKinds() });
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
