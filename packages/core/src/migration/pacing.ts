/** When a move stops the source, and how far the source slows down until then. */

/** Share of the host's time that the source leaves to its guest at least. */
export const DUTY_MIN = 0.05;
/** Of the limit: what the last events take to replay; the rest is for digests, device state and what both sides store durably. */
const REPLAY_SHARE = 0.5;
/** To read, hash, send and store a page, in milliseconds. */
export const PAGE_MS = 0.1;

export interface PacingOptions {
  /** For how long the guest may stand still, in milliseconds. */
  readonly downtimeLimitMs: number;
  /** After this time the source is stopped whatever it takes. */
  readonly maxTimeMs?: number;
  readonly isThrottled: boolean;
}

export interface Round {
  /** How long the destination took to come to where the source had been when the round began. */
  readonly behindMs: number;
  /** Pages that a snapshot of this moment would have to carry; undefined where that is no way. */
  readonly changedPages: number | undefined;
  /** Since the move began. */
  readonly elapsedMs: number;
}

export type PacingDecision =
  { readonly act: "hand over"; readonly by: "replay" | "snapshot" } | { readonly act: "go on"; readonly duty: number };

/** Looks at one round after the other. */
export class Pacing {
  readonly #options: PacingOptions;
  #duty = 1;
  #previousMs: number | undefined;

  constructor(options: PacingOptions) {
    this.#options = options;
  }

  get duty(): number {
    return this.#duty;
  }

  /** Pages that may be stored while the guest waits. */
  get pagesMax(): number {
    return Math.floor((this.#options.downtimeLimitMs * REPLAY_SHARE) / PAGE_MS);
  }

  decide({ behindMs, changedPages, elapsedMs }: Round): PacingDecision {
    const { downtimeLimitMs, maxTimeMs, isThrottled } = this.#options;
    const pagesMs = changedPages === undefined ? Infinity : changedPages * PAGE_MS;
    const isClose = Math.min(behindMs, pagesMs) <= downtimeLimitMs * REPLAY_SHARE;
    if (isClose || (maxTimeMs !== undefined && elapsedMs >= maxTimeMs))
      return { act: "hand over", by: pagesMs < behindMs ? "snapshot" : "replay" };
    const isHalved = this.#previousMs === undefined || behindMs <= this.#previousMs / 2;
    if (isThrottled && !isHalved) this.#duty = Math.max(DUTY_MIN, this.#duty / 2);
    this.#previousMs = behindMs;
    return { act: "go on", duty: this.#duty };
  }
}
