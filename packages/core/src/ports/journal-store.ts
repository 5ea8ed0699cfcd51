/**
 * A recording, as the hypervisor writes and reads it. The `journal` package keeps it
 * in SQLite; tests may keep it in memory.
 */
import type { BatchStart, EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import type { StateSection } from "./state-section.js";

/** Written first; never changes. */
export interface RecordingHeader {
  /** Random 128 bits, hex: names this recording for ever. */
  readonly id: string;
  readonly formatVersion: number;
  readonly createdBy: string;
  readonly architecture: string;
  /** `Architecture.revision` of the recorder. */
  readonly architectureRevision: number;
  /** The machine description: board, cpu, memory, exit model, seed, rtc ... as plain data. */
  readonly machine: EventPayload;
  /** Quirks: names of old behaviour that a replay must honour. */
  readonly quirks: readonly string[];
  readonly parent: RecordingParent | undefined;
}

/** Where a migrated or branched recording grew from. */
export interface RecordingParent {
  readonly id: string;
  readonly path: string;
  /** Chain head of the parent at `seq`, hex. */
  readonly chain: string;
  readonly seq: number;
  readonly exitNumber: number;
  readonly icount: number;
  readonly why: "migration" | "branch";
}

/** 16 bytes as hex; the zero page has the zero hash and is never stored. */
export type PageHash = string;

/** Where everything stands at a snapshot. */
export interface SnapshotHead {
  /** From 0 (at the start) upwards within the recording's numbering. */
  readonly number: number;
  /** `full`: both halves; `seek`: guest half only. */
  readonly kind: "full" | "seek";
  /** The last event before it. */
  readonly seq: number;
  readonly exitNumber: number;
  readonly icount: number;
  readonly guestTimeNs: number;
  /** Guest digest, 32 bytes. */
  readonly digest: Uint8Array;
}

export interface Snapshot extends SnapshotHead {
  readonly guestSections: readonly StateSection[];
  /** Empty for a seek point. */
  readonly vmmSections: readonly StateSection[];
  /** What the control plane had folded up to here, as plain data. */
  readonly control: EventPayload;
  /** 16 bytes for each page of RAM, in order. */
  readonly pageHashes: Uint8Array;
}

export type Durability = "normal" | "full";

/** What the end of a recording says. */
export interface RecordingEnd extends BatchStart {
  /** "open": the writer did not come to close it. */
  readonly state: "closed" | "open" | "sealed";
  readonly chain: string;
}

export interface JournalReader {
  readonly header: RecordingHeader;
  readonly end: RecordingEnd;
  /** Decodes the batches from the one that holds event `seq` on, in order, each into `batch`; stops when `visit` gives false. */
  readBatches(seq: number, batch: EventBatch, visit: (batch: EventBatch) => boolean): void;
  /** The seq from which to read to meet exit `exitNumber`, unit `icount` (the batch's first seq). */
  seekByExit(exitNumber: number): BatchStart;
  seekByIcount(icount: number): BatchStart;
  snapshots(): readonly SnapshotHead[];
  loadSnapshot(number: number): Snapshot;
  /** Page content, 4096 bytes; throws when it is missing or does not match its hash. */
  loadPage(hash: PageHash): Uint8Array;
  close(): void;
}

export interface JournalWriter extends JournalReader {
  /** One transaction, one link of the chain. `full` waits for the disk. */
  append(batch: EventBatch, durability: Durability): void;
  /** Stores a copy of a page that is not there yet; inside the transaction of the next `append` or `addSnapshot`. */
  storePage(hash: PageHash, content: Uint8Array): void;
  hasPage(hash: PageHash): boolean;
  addSnapshot(snapshot: Snapshot, durability: Durability): void;
  /** Writes what is left, marks the end, leaves one file. `index`: also the derived tables. */
  finish(state: "closed" | "sealed", options: { readonly index: boolean }): void;
}
