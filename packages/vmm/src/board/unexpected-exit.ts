/** Thrown for an exit that a VMM has no answer to. */
export class UnexpectedExitError extends Error {
  override readonly name = "UnexpectedExitError";
}
