/** setTimeout takes no more milliseconds: 24 days. What is longer fires at once. */
export const TIMER_MS_MAX: number = 2 ** 31 - 1;
