/** Going on with a recording that ended or broke off: both halves are brought to its end, and a recorder takes over there. */
import { CoreKind } from "../event/core-kinds.js";
import { EventBatch } from "../event/event-batch.js";
import type { RowEvent } from "../event/event-kind.js";
import { type OwnedRecording, OwnershipState } from "../migration/ownership.js";
import type { JournalReader, Snapshot } from "../ports/journal-store.js";
import { Verifier } from "../replay/verifier.js";
import { BatchWriter } from "./batch-writer.js";
import type { VmmParts } from "./live-vm.js";
import { Recorder, RecorderError, type RecorderOptions } from "./recorder.js";

/** Units between two looks at what the VMM half promised. */
const STEP_UNITS = 16_000_000;

/** How a recording ends. */
export interface RecordingEnding {
  /** What ended it; `byGuest`: the guest itself did, or can't go on. undefined: the recorder never came to say so. */
  readonly stop: { readonly what: string; readonly by: string; readonly byGuest: boolean } | undefined;
  /** What it had been told to look for, which came before the guest stopped by itself. */
  readonly failure: { readonly by: string; readonly exitNumber: number } | undefined;
  /** The operator had paused the VM. */
  readonly isPaused: boolean;
  /** Why the exit that it stands at has no answer, where its handler failed. */
  readonly failedCall: string | undefined;
}

/** The `what` of an end that the host chose. */
const STOPPED_BY_HOST = "stopped";

/** A journal, with what its ownership rows say where it has any. */
type EndedJournal = JournalReader & Partial<Pick<OwnedRecording, "ownership">>;

export function endingOf(reader: EndedJournal): RecordingEnding {
  let paused: RowEvent | undefined;
  let resumed: RowEvent | undefined;
  let stopped: RowEvent | undefined;
  let failed: RowEvent | undefined;
  let failedCall: string | undefined;
  reader.readBatches(seqBeforeLastPause(reader), new EventBatch(), (batch) => {
    for (const row of batch.rows) {
      if (row.kind === CoreKind.paused.name) paused = row;
      if (row.kind === CoreKind.resumed.name) [paused, resumed, failedCall] = [undefined, row, undefined];
      if (row.kind === CoreKind.callFailed.name) failedCall = String(row.payload["message"]);
      if (row.kind === CoreKind.failed.name) failed = row;
      if (row.kind !== CoreKind.stopped.name) continue;
      stopped = row;
      // A recording that is closed while an exit waits says so by a pause of its own.
      if (paused?.seq === row.seq - 1) paused = undefined;
    }
    return true;
  });
  const isPaused = paused !== undefined || cameHerePaused(reader, resumed?.seq ?? 0);
  if (stopped === undefined) return { stop: undefined, failure: undefined, isPaused, failedCall };
  const what = String(stopped.payload["what"]);
  const by = String(stopped.payload["by"]);
  const failure =
    failed === undefined
      ? undefined
      : { by: String(failed.payload["by"]), exitNumber: Number(failed.payload["exitNumber"]) };
  return { stop: { what, by, byGuest: what !== STOPPED_BY_HOST }, failure, isPaused, failedCall };
}

/** A pause takes a full snapshot behind it, and so does each end that a VM which has not run since is brought to. */
function seqBeforeLastPause(reader: JournalReader): number {
  const { end } = reader;
  const full = reader.snapshots().filter(({ kind }) => kind === "full");
  const isHere = full.map(({ icount, exitNumber }) => icount === end.icount && exitNumber === end.exitNumber);
  const first = isHere.indexOf(true);
  return full[(first < 0 ? full.length : first) - 1]?.seq ?? 1;
}

/** Where a VM was paused when it moved, the pause may lie before the base of the recording that it came to. */
function cameHerePaused(reader: EndedJournal, resumedSeq: number): boolean {
  const prepared = reader.ownership?.().findLast(({ state }) => state === OwnershipState.prepared);
  if (prepared?.detail["paused"] !== true) return false;
  const { seq, icount, exitNumber } = prepared.detail;
  const isWhereItCame = icount === reader.end.icount && exitNumber === reader.end.exitNumber;
  return isWhereItCame && typeof seq === "number" && resumedSeq <= seq;
}

export interface GoOnOptions extends Omit<RecorderOptions, "vmm"> {
  readonly createVmm: () => VmmParts;
}

/**
 * A recorder that goes on at the very end of the journal that it writes to, from the last full snapshot by running both
 * halves again. Throws RecorderError when the guest has ended, DivergenceError when this build does not do what the
 * recording says.
 */
export async function goOn(options: GoOnOptions): Promise<Recorder> {
  const { architecture, digester, writer, createVmm, caches } = options;
  const { stop, isPaused } = endingOf(writer);
  if (stop?.byGuest === true) throw new RecorderError(`can't go on: the guest ${stop.what} (${stop.by})`);
  const heads = writer.snapshots();
  const last = heads.findLast(({ kind }) => kind === "full");
  if (last === undefined) throw new RecorderError("can't go on: the recording has no full snapshot");
  const beyond = new BatchWriter(writer, digester);
  const from: Snapshot = writer.loadSnapshot(last.number);
  const shared = { architecture, digester, ...(caches && { caches }) };
  const verifier = new Verifier({ ...shared, reader: writer, vmm: createVmm(), from, beyond });
  while ((await verifier.step(STEP_UNITS)) !== "equal");
  const { live, machine } = verifier;
  if (live.stop !== undefined) throw new RecorderError(`can't go on: the guest ${live.stop.what} (${live.stop.by})`);
  live.settleSkip();
  beyond.flush("normal");
  const nextSnapshot = Math.max(...heads.map(({ number }) => number)) + 1;
  const recorder = { ...options, vmm: createVmm() };
  const standsStill = isPaused || (machine.exitPending && !verifier.isLeftOpen);
  return Recorder.adopt(recorder, machine, live.saveVmm(), nextSnapshot, standsStill);
}
