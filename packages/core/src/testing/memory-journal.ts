/** A journal in memory. */
import type {
  Durability,
  JournalWriter,
  PageHash,
  RecordingEnd,
  RecordingHeader,
  Snapshot,
  SnapshotHead,
} from "../ports/journal-store.js";
import { EventBatch, REGISTER_WORDS, type BatchStart } from "../event/event-batch.js";
import { EXIT_WORD_COUNT } from "../event/exit-frame.js";
import { HotKind } from "../event/event-kind.js";
import { showRegistersAsRows } from "../event/register-rows.js";

/** Copies every field of a batch. */
export function copyBatch(from: EventBatch, to: EventBatch): void {
  to.begin({ firstSeq: from.firstSeq, exitNumber: from.firstExitNumber, icount: from.firstIcount });
  to.kinds.set(from.kinds.subarray(0, from.count));
  to.icounts.set(from.icounts.subarray(0, from.count));
  to.exits.set(from.exits.subarray(0, from.exitCount * EXIT_WORD_COUNT));
  to.handled.set(from.handled.subarray(0, from.handledCount * 2));
  to.completed.set(from.completed.subarray(0, from.completedCount * 2));
  to.outputs.set(from.outputs.subarray(0, from.outputCount * 3));
  to.outputBytes.set(from.outputBytes.subarray(0, from.outputByteCount));
  to.irqs.set(from.irqs.subarray(0, from.irqCount * 2));
  to.digests.set(from.digests.subarray(0, from.digestCount * 32));
  to.rows.push(...from.rows);
  to.count = from.count;
  to.exitCount = from.exitCount;
  to.handledCount = from.handledCount;
  to.completedCount = from.completedCount;
  to.outputCount = from.outputCount;
  to.outputByteCount = from.outputByteCount;
  to.irqCount = from.irqCount;
  to.digestCount = from.digestCount;
  to.registers.set(from.registers.subarray(0, from.registerCount * REGISTER_WORDS));
  to.registerNames.push(...from.registerNames);
  to.registerCount = from.registerCount;
}

export class MemoryJournal implements JournalWriter {
  readonly header: RecordingHeader;
  readonly batches: EventBatch[] = [];
  readonly #snapshots: Snapshot[] = [];
  readonly pages = new Map<PageHash, Uint8Array>();
  readonly #start: BatchStart;
  #state: RecordingEnd["state"] = "open";

  constructor(header: RecordingHeader, start: BatchStart = { firstSeq: 1, exitNumber: 0, icount: 0 }) {
    this.header = header;
    this.#start = start;
  }

  get end(): RecordingEnd {
    const last = this.batches.at(-1);
    const start =
      last === undefined
        ? this.#start
        : {
            firstSeq: last.nextSeq,
            exitNumber: last.firstExitNumber + last.exitCount,
            icount: last.icounts[last.count - 1] ?? 0,
          };
    return { ...start, state: this.#state, chain: "" };
  }

  readBatches(seq: number, batch: EventBatch, visit: (batch: EventBatch) => boolean): void {
    for (const each of this.batches) {
      if (each.nextSeq <= seq) continue;
      copyBatch(each, batch);
      if (!visit(batch)) return;
    }
  }

  #seek(isBehind: (batch: EventBatch) => boolean): BatchStart {
    const found = this.batches.findLast((batch) => !isBehind(batch)) ?? this.batches[0];
    if (found === undefined) return this.#start;
    return { firstSeq: found.firstSeq, exitNumber: found.firstExitNumber, icount: found.firstIcount };
  }

  seekByExit(exitNumber: number): BatchStart {
    return this.#seek((batch) => batch.firstExitNumber >= exitNumber);
  }

  seekByIcount(icount: number): BatchStart {
    return this.#seek((batch) => batch.firstIcount >= icount);
  }

  snapshots(): readonly SnapshotHead[] {
    return this.#snapshots;
  }

  loadSnapshot(number: number): Snapshot {
    const snapshot = this.#snapshots.find((each) => each.number === number);
    if (snapshot === undefined) throw new RangeError(`no snapshot ${number}`);
    return snapshot;
  }

  dropSnapshots(keep: (head: SnapshotHead) => boolean): void {
    this.#snapshots.splice(0, this.#snapshots.length, ...this.#snapshots.filter(keep));
  }

  loadPage(hash: PageHash): Uint8Array {
    const page = this.pages.get(hash);
    if (page === undefined) throw new RangeError(`no page ${hash}`);
    return page;
  }

  close(): void {}

  append(batch: EventBatch): void {
    if (batch.count === 0) return;
    // A whole batch would be most of a megabyte, and tests keep thousands of a few events.
    const copy = new EventBatch(batch.count, batch.outputByteCount);
    copyBatch(batch, copy);
    showRegistersAsRows(copy);
    this.batches.push(copy);
  }

  storePage(hash: PageHash, content: Uint8Array): void {
    this.pages.set(hash, content.slice());
  }

  hasPage(hash: PageHash): boolean {
    return this.pages.has(hash);
  }

  addSnapshot(snapshot: Snapshot, _durability: Durability): void {
    this.#snapshots.push(snapshot);
  }

  finish(state: "closed" | "sealed"): void {
    this.#state = state;
  }

  /** Breaks recorded exit `exitNumber`, as a divergence would show. */
  tamperExit(exitNumber: number, word: number, value: number): void {
    for (const batch of this.batches) {
      const index = exitNumber - 1 - batch.firstExitNumber;
      if (index >= 0 && index < batch.exitCount)
        batch.exits[index * (batch.exits.length / batch.kinds.length) + word] = value;
    }
  }

  /** Breaks the first recorded digest at or behind an icount. */
  tamperDigest(icount: number): void {
    for (const batch of this.batches) {
      let digest = 0;
      for (let index = 0; index < batch.count; index++) {
        if (batch.kinds[index] !== HotKind.digested) continue;
        if ((batch.icounts[index] ?? 0) >= icount) {
          batch.digests[digest * 32] = (batch.digests[digest * 32] ?? 0) ^ 1;
          return;
        }
        digest += 1;
      }
    }
  }
}
