/** Acts over a recording that yield the machine between two steps, so that whoever drives them can look up from them. */

/** Takes all steps in one go. */
export function lastOf<Step, Result>(steps: Generator<Step, Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}
