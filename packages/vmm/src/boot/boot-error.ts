/** Thrown when a guest can't be started from what it was given. */
export class BootError extends Error {
  override readonly name = "BootError";
}
