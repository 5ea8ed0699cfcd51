/**
 * An act over a whole recording, in steps: whoever runs it may look up between two of them, and may leave it there by `return`,
 * which closes what it has opened and undoes what it has begun.
 */

/** Which part of the run an act is reading. */
export interface StepPlace {
  readonly exitNumber: number;
  readonly icount: number;
}

/** A step gives its place, where it is at one of the run's. */
export type Steps<Result> = Generator<StepPlace | undefined, Result, void>;

export function toItsEnd<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
