/** What a move waits for, unless it is given up meanwhile. */
import { MigrationFailedError } from "@hvjournal/core";

/** `discard` gets what comes when nobody waits for it any more. Throws MigrationFailedError with the reason of `left`. */
export async function unlessLeft<Result>(
  left: AbortSignal,
  coming: Promise<Result>,
  discard: (late: Result) => void = () => undefined,
): Promise<Result> {
  let leave = (): void => undefined;
  const leaving = new Promise<"left">((resolve) => (leave = () => resolve("left")));
  left.addEventListener("abort", leave);
  if (left.aborted) leave();
  try {
    const first = await Promise.race([leaving, coming.then((result) => ({ result }))]);
    if (first !== "left") return first.result;
  } finally {
    left.removeEventListener("abort", leave);
  }
  coming.then(discard, () => undefined);
  throw new MigrationFailedError(String(left.reason));
}
