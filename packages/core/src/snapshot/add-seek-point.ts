/** Seek points that a replay adds to a recording later, where it is worth it. */
import type { JournalWriter, SnapshotHead } from "../ports/journal-store.js";
import { ReplayError, type Replayer } from "../replay/replayer.js";
import { takeSnapshot } from "./take-snapshot.js";

/** Adds one where the replayer stands. It is outside of the hash chain. Throws ReplayError while an exit is pending. */
export function addSeekPoint(replayer: Replayer, writer: JournalWriter): SnapshotHead {
  const { machine } = replayer;
  if (machine.exitPending)
    throw new ReplayError(`no seek point at exit:${machine.exitNumber}: its answer belongs to the events behind it`);
  const number = Math.max(-1, ...writer.snapshots().map((head) => head.number)) + 1;
  const snapshot = takeSnapshot(machine, writer, { number, seq: replayer.nextSeq - 1, vmmSections: undefined });
  writer.addSnapshot(snapshot, "normal");
  return snapshot;
}
