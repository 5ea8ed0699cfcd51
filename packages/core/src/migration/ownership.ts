/**
 * Who may run a VM: a durable record in the recordings, not a running process.
 *
 *     source        (none: it made the VM)  ──────────────────  moved{epoch+1, to}
 *     destination   (none)  ──  prepared{epoch+1}  ──────────────────────────────  taken{epoch+1}
 *
 * The source's `moved` is the moment of the move. Before it the source owns the VM whatever the destination says; from it
 * on the destination does, and the source never runs again by itself.
 */
import type { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import type { JournalReader, JournalWriter, RecordingHeader } from "../ports/journal-store.js";

/** The epoch of a VM that has never moved. */
export const FIRST_EPOCH = 1;

export const OwnershipState = {
  prepared: "prepared",
  moved: "moved",
  taken: "taken",
  /** The destination will never own this epoch: the source said so. */
  abandoned: "abandoned",
  /** The operator's recorded force: the source owns the VM again. */
  reclaimed: "reclaimed",
} as const;

/** One durable step of a move, as a journal keeps it. */
export interface OwnershipRow {
  /** `RecordingHeader.id` of the recording that the row stands in. */
  readonly recording: string;
  readonly epoch: number;
  /** `RecordingHeader.id` of the recording that owns the VM after this step. */
  readonly owner: string;
  /** One of `OwnershipState`. */
  readonly state: string;
  readonly detail: EventPayload;
}

/** A recording that also says who owns the VM. */
export interface OwnedRecording extends JournalReader {
  /** Hash chain up to event `seq`, hex, where a batch ends with it or the recording begins behind it. */
  chainAt(seq: number): string | undefined;
  /** Oldest first. */
  ownership(): readonly OwnershipRow[];
}

export interface OwnedJournal extends OwnedRecording, JournalWriter {
  /** Durable; the row and the events of the batch are both there afterwards, or neither is. */
  appendOwnership(row: OwnershipRow, batch?: EventBatch): void;
}

/** What a recording may do with its VM. */
export type Standing =
  | { readonly is: "owner"; readonly epoch: number }
  /** A destination that has received nothing durable yet, or whose move was given up. */
  | { readonly is: "nobody" }
  /** A destination that has everything and waits for the source's word. */
  | { readonly is: "prepared"; readonly epoch: number; readonly detail: EventPayload }
  | { readonly is: "moved"; readonly epoch: number; readonly to: string; readonly detail: EventPayload };

export class OwnershipError extends Error {
  override readonly name = "OwnershipError";
}

export function standingOf(header: RecordingHeader, rows: readonly OwnershipRow[]): Standing {
  const last = rows.at(-1);
  if (last === undefined)
    return header.parent?.why === "migration" ? { is: "nobody" } : { is: "owner", epoch: FIRST_EPOCH };
  switch (last.state) {
    case OwnershipState.taken:
    case OwnershipState.reclaimed:
      return { is: "owner", epoch: last.epoch };
    case OwnershipState.prepared:
      return { is: "prepared", epoch: last.epoch, detail: last.detail };
    case OwnershipState.moved:
      return { is: "moved", epoch: last.epoch, to: last.owner, detail: last.detail };
    case OwnershipState.abandoned:
      return { is: "nobody" };
    default:
      throw new OwnershipError(`recording ${header.id} has the unknown ownership state ${last.state}`);
  }
}

/** One side of a move, as its file tells it. */
export interface Side {
  readonly header: RecordingHeader;
  readonly rows: readonly OwnershipRow[];
}

export type OwnershipVerdict =
  /** The source owns the VM; `abandon`: the destination's preparation is void. */
  | { readonly owner: "source"; readonly abandon: boolean }
  /** The destination owns the VM; `take`: it has yet to write that down. */
  | { readonly owner: "destination"; readonly epoch: number; readonly take: boolean };

/**
 * Decides a move from its two files. Exactly one side owns the VM. Throws OwnershipError where the two do not belong
 * together, or where only the operator's force helps.
 */
export function resolveOwnership(source: Side, destination: Side): OwnershipVerdict {
  const { id } = destination.header;
  if (destination.header.parent?.id !== source.header.id)
    throw new OwnershipError(`recording ${id} did not grow from recording ${source.header.id}`);
  const from = standingOf(source.header, source.rows);
  const to = standingOf(destination.header, destination.rows);
  switch (from.is) {
    case "owner":
      return { owner: "source", abandon: to.is === "prepared" };
    case "moved":
      return movedVerdict(from, to, id);
    case "prepared":
    case "nobody":
      throw new OwnershipError(`recording ${source.header.id} does not own a VM that it could have moved`);
    default:
      return from satisfies never;
  }
}

function movedVerdict(from: Standing & { readonly is: "moved" }, to: Standing, id: string): OwnershipVerdict {
  if (from.to !== id) throw new OwnershipError(`the VM was moved to recording ${from.to}, not to ${id}`);
  switch (to.is) {
    case "prepared":
      if (to.epoch === from.epoch) return { owner: "destination", epoch: from.epoch, take: true };
      throw new OwnershipError(`recording ${id} is prepared for epoch ${to.epoch}, the VM was moved in ${from.epoch}`);
    case "owner":
      return { owner: "destination", epoch: to.epoch, take: false };
    case "moved":
      // It has gone on from there: this move is long over.
      return { owner: "destination", epoch: to.epoch, take: false };
    case "nobody":
      throw new OwnershipError(`the VM was moved to recording ${id}, which has lost what it had prepared`);
    default:
      return to satisfies never;
  }
}

export function ownershipRow(
  recording: string,
  step: { readonly epoch: number; readonly owner: string; readonly state: string },
  detail: EventPayload,
): OwnershipRow {
  return { recording, ...step, detail };
}
