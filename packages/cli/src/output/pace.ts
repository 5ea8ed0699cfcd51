/** How often what takes long says so. */

/** When a command that runs for so long says so, in milliseconds since it began. */
export interface Pace {
  readonly first: number;
  readonly interval: number;
}

/** A person looks at it. */
export const TERMINAL_PACE: Pace = { first: 1000, interval: 200 };
/** A log keeps it, as that of a CI job: whoever waits knows that it goes on, and the log stays short. */
export const LOG_PACE: Pace = { first: 10_000, interval: 30_000 };
