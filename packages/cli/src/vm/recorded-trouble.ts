/** A Linux kernel's last words on the console of a recording. */
import { HotKind, journalCursor, firstSeqOf, NO_EVENT } from "@hvjournal/core";
import type { RecordingReader } from "@hvjournal/journal";
import { KernelTrouble } from "./kernel-trouble.js";
import type { Reached } from "./long-act.js";

export interface RecordedTrouble {
  /** The exit behind which the words were complete. */
  readonly exitNumber: number;
  /** From the words that are looked for to the end of their line. */
  readonly line: string;
}

/** In the order in which they came: at most an oops and a panic. Throws JournalError for what is damaged. */
export function* recordedTrouble(reader: RecordingReader): Generator<Reached, readonly RecordedTrouble[], void> {
  // Events have no guest time; a moment of one is its exit.
  const clock = { exitNumber: 0, guestTimeNs: 0 };
  const trouble = new KernelTrouble(clock);
  for (const cursor = journalCursor(reader, firstSeqOf(reader)); cursor.kind !== NO_EVENT; cursor.next()) {
    if (cursor.kind !== HotKind.outputProduced) continue;
    clock.exitNumber = cursor.exitsBefore;
    trouble.note(cursor.outputPort, cursor.outputBytes);
    yield { exitNumber: cursor.exitsBefore, icount: cursor.icount };
  }
  return trouble.seen.map(({ moment, line }) => ({ exitNumber: moment.exitNumber, line }));
}
