/** An event cursor over a recording. */
import type { JournalReader } from "../ports/journal-store.js";
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
