/** Which change did it? Delta debugging (Zeller and Hildebrandt 2002) over a list of differences. */
import { BisectEndError } from "./bisect-when.js";
import type { Verdict } from "./bisect-command.js";

export interface MinimizeResult {
  /** Indexes of a minimal set that makes it bad: without any one of them it is not. */
  readonly cause: readonly number[];
  readonly runs: readonly { readonly applied: readonly number[]; readonly verdict: Verdict }[];
}

function split(items: readonly number[], parts: number): number[][] {
  const pieces: number[][] = [];
  for (let part = 0; part < parts; part++)
    pieces.push(
      items.slice(Math.floor((items.length * part) / parts), Math.floor((items.length * (part + 1)) / parts)),
    );
  return pieces.filter((piece) => piece.length > 0);
}

/**
 * `test` runs with some of `count` changes applied; "skip" for a set that the rules refuse. None must be good and all bad.
 * Throws BisectEndError.
 */
export async function minimizeChanges(
  count: number,
  test: (applied: readonly number[]) => Promise<Verdict>,
): Promise<MinimizeResult> {
  const runs: { readonly applied: readonly number[]; readonly verdict: Verdict }[] = [];
  const known = new Map<string, Verdict>();
  const ask = async (applied: readonly number[]): Promise<Verdict> => {
    const key = applied.join(",");
    const before = known.get(key);
    if (before !== undefined) return before;
    const verdict = await test(applied);
    known.set(key, verdict);
    runs.push({ applied, verdict });
    return verdict;
  };
  const all = Array.from({ length: count }, (_, index) => index);
  const none = await ask([]);
  if (none !== "good") throw new BisectEndError("good", `with no change applied the run is ${none}`);
  const every = await ask(all);
  if (every !== "bad") throw new BisectEndError("bad", `with all changes applied the run is ${every}`);
  let cause = all;
  for (let parts = 2; cause.length > 1 && parts <= cause.length;) {
    const next = await reduce(cause, parts, ask);
    if (next === undefined) {
      if (parts >= cause.length) break;
      parts = Math.min(cause.length, parts * 2);
    } else {
      parts = next.isSubset ? 2 : Math.max(parts - 1, 2);
      cause = next.cause;
    }
  }
  return { cause, runs };
}

async function reduce(
  cause: readonly number[],
  parts: number,
  ask: (applied: readonly number[]) => Promise<Verdict>,
): Promise<{ readonly cause: number[]; readonly isSubset: boolean } | undefined> {
  const pieces = split(cause, parts);
  for (const piece of pieces) if ((await ask(piece)) === "bad") return { cause: piece, isSubset: true };
  if (parts === 2) return undefined;
  for (const piece of pieces) {
    const rest = cause.filter((item) => !piece.includes(item));
    if ((await ask(rest)) === "bad") return { cause: rest, isSubset: false };
  }
  return undefined;
}
