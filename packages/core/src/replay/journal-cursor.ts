/** An event cursor over a recording. */
import type { JournalReader, SnapshotHead } from "../ports/journal-store.js";
import { EventCursor } from "../event/event-cursor.js";

/** Stands at event `seq` of the recording. */
export function journalCursor(reader: JournalReader, seq: number): EventCursor {
  return new EventCursor((wanted, batch) => {
    let found = false;
    reader.readBatches(wanted, batch, () => {
      found = true;
      return false;
    });
    return found && wanted >= batch.firstSeq && wanted < batch.nextSeq;
  }, seq);
}

/** The first event that this recording itself holds. */
export function firstSeqOf({ header }: Pick<JournalReader, "header">): number {
  return (header.parent?.seq ?? 0) + 1;
}

/**
 * The event to go on with at a snapshot. A branch's base may be a snapshot that its parent took before the last digests and
 * bookkeeping of that very moment: these stand in the parent.
 */
export function seqBehind(snapshot: Pick<SnapshotHead, "seq">, reader: Pick<JournalReader, "header">): number {
  return Math.max(snapshot.seq + 1, firstSeqOf(reader));
}
