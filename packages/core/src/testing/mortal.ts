/** Two ends of a move whose processes can be killed at any step: what they had stored stays, what they had in mind is gone. */
import type { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import { decodeCanonicalMap, encodeCanonical } from "../canonical/canonical-encoding.js";
import { toHex } from "../memory/page-hash.js";
import type { OwnedJournal, OwnershipRow } from "../migration/ownership.js";
import { ChannelClosedError, type MigrationChannel } from "../migration/protocol.js";
import type { Durability, RecordingHeader, Snapshot } from "../ports/journal-store.js";
import type { BatchStart } from "../event/event-batch.js";
import { plainDigester } from "./digester.js";
import { MemoryJournal } from "./memory-journal.js";

export class KilledError extends Error {
  override readonly name = "KilledError";
}

/** A process that dies at its n-th step, and never comes back. */
export class Mortal {
  readonly #diesAt: number;
  readonly onDeath: (() => void)[] = [];
  steps = 0;

  constructor(diesAt = Infinity) {
    this.#diesAt = diesAt;
  }

  get isDead(): boolean {
    return this.steps >= this.#diesAt;
  }

  /** Something that others could see is about to happen, or has just happened. */
  step(): void {
    if (!this.isDead) {
      this.steps += 1;
      if (!this.isDead) return;
      for (const listener of this.onDeath) listener();
    }
    throw new KilledError("killed");
  }
}

/** A journal that belongs to a mortal process, with ownership. */
export class MortalJournal extends MemoryJournal implements OwnedJournal {
  readonly rows: OwnershipRow[] = [];
  process = new Mortal();

  constructor(header: RecordingHeader, start?: BatchStart) {
    super(header, start);
  }

  chainAt(seq: number): string | undefined {
    const isEnd = this.batches.some((batch) => batch.nextSeq === seq + 1);
    return isEnd ? toHex(plainDigester.sha256(encodeCanonical([this.header.id, seq]))) : undefined;
  }

  ownership(): readonly OwnershipRow[] {
    return this.rows;
  }

  #around(write: () => void): void {
    this.process.step();
    write();
    this.process.step();
  }

  override append(batch: EventBatch): void {
    if (this.process.isDead) throw new KilledError("killed");
    super.append(batch);
  }

  override addSnapshot(snapshot: Snapshot, durability: Durability): void {
    this.#around(() => super.addSnapshot(snapshot, durability));
  }

  override finish(state: "closed" | "sealed"): void {
    this.#around(() => super.finish(state));
  }

  appendOwnership(row: OwnershipRow, batch?: EventBatch): void {
    this.#around(() => {
      if (batch !== undefined && batch.count > 0) super.append(batch);
      this.rows.push(row);
    });
  }
}

class ChannelEnd implements MigrationChannel {
  readonly process: Mortal;
  readonly #inbox: EventPayload[] = [];
  #waiting: ((message: EventPayload | undefined) => void) | undefined;
  #isClosed = false;
  peer: ChannelEnd | undefined;
  bytesSent = 0;

  constructor(process: Mortal) {
    this.process = process;
    process.onDeath.push(() => this.close());
  }

  async send(message: EventPayload): Promise<void> {
    this.process.step();
    await Promise.resolve();
    if (this.#isClosed) throw new ChannelClosedError("the channel is closed");
    // Over bytes, as every real channel goes.
    const bytes = encodeCanonical(message);
    this.bytesSent += bytes.length;
    this.peer?.deliver(decodeCanonicalMap(bytes));
    this.process.step();
  }

  deliver(message: EventPayload): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#inbox.push(message);
    else waiting(message);
  }

  async receive(): Promise<EventPayload> {
    this.process.step();
    const message = this.#inbox.shift() ?? (this.#isClosed ? undefined : await this.#next());
    this.process.step();
    if (message === undefined) throw new ChannelClosedError("the peer is gone");
    return message;
  }

  #next(): Promise<EventPayload | undefined> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  /** Both directions end; what was sent before is still read. */
  close(): void {
    for (const end of [this, this.peer]) {
      if (end === undefined || end.#isClosed) continue;
      end.#isClosed = true;
      end.#waiting?.(undefined);
      end.#waiting = undefined;
    }
  }
}

export function channelPair(
  left: Mortal,
  right: Mortal,
): { readonly left: MigrationChannel; readonly right: MigrationChannel } {
  const a = new ChannelEnd(left);
  const b = new ChannelEnd(right);
  a.peer = b;
  b.peer = a;
  return { left: a, right: b };
}
