/**
 * Which of several changes did it? Halving over the list finds one that it takes, then the next beside it, as long as the
 * ones found do not suffice (QuickXplain, Junker 2004); what was found is then reduced to a minimal set (delta debugging,
 * Zeller and Hildebrandt 2002). A single cause among n takes about log2(n) + 3 tests, both ends among them.
 */
import { BisectEndError } from "./bisect-when.js";
import type { Verdict } from "./bisect-command.js";

export interface MinimizeResult {
  /** Indexes of a minimal set that makes it bad: without any one of them it is not, as far as it can be tested. */
  readonly cause: readonly number[];
  readonly runs: readonly { readonly applied: readonly number[]; readonly verdict: Verdict }[];
}

type Ask = (applied: readonly number[]) => Promise<Verdict>;

/** Tests each set once. */
class AskedSets {
  readonly runs: { readonly applied: readonly number[]; readonly verdict: Verdict }[] = [];
  readonly #known = new Map<string, Verdict>();
  readonly #test: Ask;

  constructor(test: Ask) {
    this.#test = test;
  }

  async ask(set: readonly number[]): Promise<Verdict> {
    const applied = set.toSorted((a, b) => a - b);
    const key = applied.join(",");
    const before = this.#known.get(key);
    if (before !== undefined) return before;
    const verdict = await this.#test(applied);
    this.#known.set(key, verdict);
    this.runs.push({ applied, verdict });
    return verdict;
  }
}

/**
 * `test` runs with some of `count` changes applied; "skip" for a set that the rules refuse. None must be good and all bad.
 * Throws BisectEndError.
 */
export async function minimizeChanges(count: number, test: Ask): Promise<MinimizeResult> {
  const sets = new AskedSets(test);
  const ask: Ask = (applied) => sets.ask(applied);
  const all = Array.from({ length: count }, (_, index) => index);
  const none = await ask([]);
  if (none !== "good") throw new BisectEndError("good", `with no change applied the run is ${none}`);
  const every = await ask(all);
  if (every !== "bad") throw new BisectEndError("bad", `with all changes applied the run is ${every}`);
  const cause = await reduce(await sufficient(all, ask), ask);
  return { cause: cause.toSorted((a, b) => a - b), runs: sets.runs };
}

/** Changes that together make it bad, each found as the last one that it took beside those before. */
async function sufficient(all: readonly number[], ask: Ask): Promise<number[]> {
  const found: number[] = [];
  let candidates = all;
  while (candidates.length > 0) {
    if (found.length > 0 && (await ask(found)) === "bad") return found;
    const { good, bad } = await boundary(found, candidates, ask);
    found.push(...candidates.slice(good, bad));
    candidates = candidates.slice(0, good);
  }
  return found;
}

/** The shortest beginning of the candidates with which it is bad ends at `bad`; `good` of them do not suffice. */
async function boundary(
  found: readonly number[],
  candidates: readonly number[],
  ask: Ask,
): Promise<{ readonly good: number; readonly bad: number }> {
  let [good, bad] = [0, candidates.length];
  const skipped = new Set<number>();
  for (;;) {
    const middle = nearestTo((good + bad) >> 1, good, bad, skipped);
    if (middle === undefined) return { good, bad };
    const verdict = await ask([...found, ...candidates.slice(0, middle)]);
    if (verdict === "bad") bad = middle;
    else if (verdict === "good") good = middle;
    else skipped.add(middle);
  }
}

/** Between the bounds, and not tried in vain. */
function nearestTo(middle: number, good: number, bad: number, skipped: ReadonlySet<number>): number | undefined {
  for (let distance = 0; distance < bad - good; distance++)
    for (const each of [middle - distance, middle + distance])
      if (each > good && each < bad && !skipped.has(each)) return each;
  return undefined;
}

/** Leaves out whatever it is bad without. */
async function reduce(set: readonly number[], ask: Ask): Promise<readonly number[]> {
  let cause = set;
  if (cause.length < 2) return cause;
  for (const item of set) {
    const rest = cause.filter((each) => each !== item);
    if (rest.length > 0 && (await ask(rest)) === "bad") cause = rest;
  }
  return cause;
}
