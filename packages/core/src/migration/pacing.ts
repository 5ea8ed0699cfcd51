/** When a move stops the source, and how far the source slows down until then. */

/** Share of the host's time that the source leaves to its guest at least. */
export const DUTY_MIN = 0.05;
/**
 * Of the limit: what the last events take to replay. Where other processes want the CPUs, a replay is slower than it was
 * a moment ago, and digest, device state and what both sides store durably take as long again.
 */
const REPLAY_SHARE = 0.3;
/** To read, hash, send and store a page, in milliseconds. */
const PAGE_MS = 0.1;
/** So much of what the destination replays in a time the source may add in the same time: the backlog halves. */
const GROWTH_MAX = 0.5;

export interface PacingOptions {
  /** For how long the guest may stand still, in milliseconds. */
  readonly downtimeLimitMs: number;
  /** After this time the source is stopped whatever it takes. */
  readonly maxTimeMs?: number;
  readonly isThrottled: boolean;
}

/** How much a VM has done: what replaying it costs grows with both. */
export interface Work {
  readonly events: number;
  readonly units: number;
}

export interface Round {
  /** From the request to its answer. */
  readonly tookMs: number;
  /** What the destination replayed in that time, and what the source added. */
  readonly replayed: Work;
  readonly added: Work;
  /** What the destination has yet to replay. */
  readonly backlog: Work;
  /** Pages that a snapshot of this moment would have to carry; undefined where that is no way. */
  readonly changedPages: number | undefined;
  /** Since the move began. */
  readonly elapsedMs: number;
}

export type PacingDecision =
  { readonly act: "hand over"; readonly by: "replay" | "snapshot" } | { readonly act: "go on"; readonly duty: number };

type Measure = keyof Work;
const MEASURES: readonly Measure[] = ["events", "units"];

/** Looks at one round after the other. */
export class Pacing {
  readonly #options: PacingOptions;
  readonly #behindMs: number[] = [];
  /** How long the destination takes for one, by the last round in which it replayed any. */
  readonly #costMs: { events: number; units: number } = { events: Infinity, units: Infinity };
  #duty = 1;

  constructor(options: PacingOptions) {
    this.#options = options;
  }

  /** Least share of the host's time that the guest has had. */
  get duty(): number {
    return this.#duty;
  }

  /** How far the destination was behind: at first, and each time that it was at most half of that. */
  get behindMs(): readonly number[] {
    return this.#behindMs;
  }

  /** Pages that may be stored while the guest waits. */
  get pagesMax(): number {
    return Math.floor((this.#options.downtimeLimitMs * REPLAY_SHARE) / PAGE_MS);
  }

  decide({ tookMs, replayed, added, backlog, changedPages, elapsedMs }: Round): PacingDecision {
    const { downtimeLimitMs, maxTimeMs, isThrottled } = this.#options;
    for (const measure of MEASURES) if (replayed[measure] > 0) this.#costMs[measure] = tookMs / replayed[measure];
    const behindMs = Math.max(...MEASURES.map((measure) => this.#timeFor(measure, backlog)));
    this.#note(behindMs);
    // The last events are part of the recording either way: with a snapshot they are stored, and not replayed.
    const storedMs = this.#timeFor("events", backlog);
    const snapshotMs = changedPages === undefined ? Infinity : changedPages * PAGE_MS + storedMs;
    const isClose = Math.min(behindMs, snapshotMs) <= downtimeLimitMs * REPLAY_SHARE;
    if (isClose || (maxTimeMs !== undefined && elapsedMs >= maxTimeMs))
      return { act: "hand over", by: snapshotMs < behindMs ? "snapshot" : "replay" };
    // What was not replayed in this round says nothing about who is faster.
    const growth = Math.max(
      0,
      ...MEASURES.filter((measure) => replayed[measure] > 0).map((measure) => added[measure] / replayed[measure]),
    );
    if (isThrottled && growth > GROWTH_MAX) this.#duty = Math.max(DUTY_MIN, this.#duty * (GROWTH_MAX / growth));
    return { act: "go on", duty: this.#duty };
  }

  #timeFor(measure: Measure, work: Work): number {
    return work[measure] <= 0 ? 0 : work[measure] * this.#costMs[measure];
  }

  #note(behindMs: number): void {
    if (behindMs === Infinity) return;
    const last = this.#behindMs.at(-1);
    if (last === undefined || behindMs <= last / 2) this.#behindMs.push(behindMs);
  }
}
