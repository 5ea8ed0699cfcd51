/** Going to a moment from the nearest place before it. */
import type { SnapshotHead } from "../ports/journal-store.js";
import type { Goal } from "../machine/goal.js";
import { ReplayError, type AdvanceResult, type Replayer } from "./replayer.js";

/** What of a place decides whether it lies before a goal. */
interface Place {
  /** The last event that has taken effect. */
  readonly seq: number;
  readonly exitNumber: number;
  readonly icount: number;
  readonly guestTimeNs: number;
}

/** Whether every part of the goal lies surely behind the place. An equal icount may be too late already. */
export function isBefore(place: Place, goal: Goal): boolean {
  const { seq, exitNumber, icount, guestTimeNs } = goal;
  if (seq !== undefined && place.seq > seq) return false;
  if (exitNumber !== undefined && place.exitNumber >= exitNumber) return false;
  if (icount !== undefined && place.icount >= icount) return false;
  return guestTimeNs === undefined || place.guestTimeNs < guestTimeNs;
}

function snapshotBefore(snapshots: readonly SnapshotHead[], goal: Goal): SnapshotHead | undefined {
  return snapshots.findLast((head) => isBefore(head, goal));
}

/** After the numbered exit and close to the goal: places that only a look inside can confirm. */
function tryBehindExit(replayer: Replayer, goal: Goal): boolean {
  const { exitNumber, unitsAfter } = goal;
  if (exitNumber === undefined || unitsAfter === undefined) return false;
  for (const head of replayer.reader.snapshots().toReversed()) {
    if (head.exitNumber !== exitNumber) continue;
    replayer.restore(replayer.reader.loadSnapshot(head.number));
    const { machine } = replayer;
    if (machine.exitPending || machine.icount <= machine.answeredIcount + unitsAfter) return true;
  }
  return false;
}

/**
 * Stands at the goal, by way of the nearest snapshot before it unless the replayer is nearer. A goal with `atExit` is
 * searched for from the nearest place before its other parts, or from the start. Throws DivergenceError.
 */
export function seek(replayer: Replayer, goal: Goal): AdvanceResult {
  const { machine } = replayer;
  const here: Place = {
    seq: replayer.nextSeq - 1,
    exitNumber: machine.exitNumber,
    icount: machine.icount,
    guestTimeNs: machine.guestTimeNs,
  };
  const isHereBefore = isBefore(here, goal);
  const head = goal.atExit === undefined ? snapshotBefore(replayer.reader.snapshots(), goal) : undefined;
  if (!(isHereBefore && (head === undefined || head.seq <= here.seq)) && !tryBehindExit(replayer, goal)) {
    if (head !== undefined) replayer.restore(replayer.reader.loadSnapshot(head.number));
    else goToStart(replayer, goal);
  }
  return replayer.advance(goal);
}

function goToStart(replayer: Replayer, goal: Goal): void {
  replayer.restart();
  const { parent } = replayer.reader.header;
  if (parent === undefined) return;
  const { seq, exitNumber, icount } = goal;
  const isTooEarly =
    (seq !== undefined && seq < replayer.nextSeq - 1) ||
    (exitNumber !== undefined && exitNumber < replayer.machine.exitNumber) ||
    (icount !== undefined && icount < replayer.machine.icount);
  if (isTooEarly)
    throw new ReplayError(
      `this recording starts at exit:${parent.exitNumber} (event:${parent.seq}); earlier moments are in its parent ${parent.path}`,
    );
}
