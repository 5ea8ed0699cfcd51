/** When, by a test of mine? Binary search with git-bisect's rules. */
import type { Goal } from "../machine/goal.js";
import type { Replayer, ReplayCheckpoint } from "../replay/replayer.js";
import { isBefore, seek } from "../replay/seek.js";
import { BisectEndError } from "./bisect-when.js";

export type Verdict = "good" | "bad" | "skip";

/** The test's status says that nothing more can be found out. */
export class BisectStoppedError extends Error {
  override readonly name = "BisectStoppedError";
  readonly status: number;
  constructor(status: number) {
    super(`the test ended with status ${status}: 0 is good, 125 skip, 1 to 127 bad, 128 and more stop`);
    this.status = status;
  }
}

/** The test can't tell at an end, so nothing can be told in between. */
export class BisectSkippedError extends Error {
  override readonly name = "BisectSkippedError";
  constructor(end: "good" | "bad") {
    super(`can't bisect: the test skips the ${end} end`);
  }
}

const STATUS_SKIP = 125;
const STATUS_STOP = 128;

/** As `git bisect run`. Throws BisectStoppedError. */
export function verdictOfStatus(status: number): Verdict {
  if (status === 0) return "good";
  if (status < 0 || status >= STATUS_STOP) throw new BisectStoppedError(status);
  return status === STATUS_SKIP ? "skip" : "bad";
}

export interface Boundary {
  /** The highest number known to be good, and the lowest known to be bad. */
  readonly good: number;
  readonly bad: number;
  /** Numbers in between that could not be tested: the first bad one may be any of them, or `bad`. */
  readonly skipped: readonly number[];
  readonly probes: number;
}

export interface BoundarySearch {
  readonly good: number;
  readonly bad: number;
  readonly test: (number: number) => Promise<Verdict>;
  /** Both ends are known to have their answers. */
  readonly areEndsKnown?: boolean;
}

/** The untested number nearest to the middle, looking further out in halving steps; undefined: all were skipped. */
function candidate(good: number, bad: number, skipped: ReadonlySet<number>): number | undefined {
  for (let parts = 2; parts / 2 < bad - good; parts *= 2)
    for (let part = 1; part < parts; part += 2) {
      const number = good + Math.floor(((bad - good) * part) / parts);
      if (number > good && number < bad && !skipped.has(number)) return number;
    }
  for (let number = good + 1; number < bad; number++) if (!skipped.has(number)) return number;
  return undefined;
}

async function checkEnds(search: BoundarySearch): Promise<number> {
  if (search.areEndsKnown === true) return 0;
  const good = await search.test(search.good);
  if (good === "skip") throw new BisectSkippedError("good");
  if (good !== "good") throw new BisectEndError("good", `the test says ${good} at the good end`);
  const bad = await search.test(search.bad);
  if (bad === "skip") throw new BisectSkippedError("bad");
  if (bad !== "bad") throw new BisectEndError("bad", `the test says ${bad} at the bad end`);
  return 2;
}

/** Tries both ends first. Throws BisectEndError when one has the wrong answer, BisectSkippedError when it has none. */
export async function findBoundary(search: BoundarySearch): Promise<Boundary> {
  if (search.good >= search.bad)
    throw new BisectEndError("bad", `the good end (${search.good}) must lie before the bad one (${search.bad})`);
  let probes = await checkEnds(search);
  let { good, bad } = search;
  const skipped = new Set<number>();
  for (;;) {
    const number = candidate(good, bad, skipped);
    if (number === undefined) break;
    const verdict = await search.test(number);
    probes += 1;
    if (verdict === "good") good = number;
    else if (verdict === "bad") bad = number;
    else skipped.add(number);
  }
  return {
    good,
    bad,
    skipped: [...skipped].filter((number) => number > good && number < bad).sort((a, b) => a - b),
    probes,
  };
}

/**
 * Brings a replayer to one probe after the other: from the nearest snapshot, or from the last good place kept in memory, so
 * that all probes together replay at most about twice the interval.
 */
export class ProbeNavigator {
  readonly replayer: Replayer;
  #kept:
    | {
        readonly checkpoint: ReplayCheckpoint;
        readonly icount: number;
        readonly exitNumber: number;
        readonly guestTimeNs: number;
      }
    | undefined;

  constructor(replayer: Replayer) {
    this.replayer = replayer;
  }

  goTo(goal: Goal): void {
    const kept = this.#kept;
    if (kept !== undefined) {
      const place = { ...kept, seq: kept.checkpoint.nextSeq - 1 };
      const nearest = this.replayer.reader.snapshots().findLast((head) => isBefore(head, goal));
      if (isBefore(place, goal) && (nearest === undefined || nearest.seq < place.seq))
        this.replayer.restoreCheckpoint(kept.checkpoint);
    }
    seek(this.replayer, goal);
  }

  /** The present place is good: later probes start here. */
  keep(): void {
    const { icount, exitNumber, guestTimeNs } = this.replayer.machine;
    this.#kept = { checkpoint: this.replayer.checkpoint(), icount, exitNumber, guestTimeNs };
  }
}

export interface BisectCommandOptions {
  readonly replayer: Replayer;
  /** Exit numbers; 0 is the start. */
  readonly goodExit: number;
  readonly badExit: number;
  /** Tests the moment at which the replayer stands. */
  readonly test: (replayer: Replayer) => Promise<Verdict>;
}

export interface BisectCommandResult {
  readonly exits: Boundary;
  /** Units behind exit `exits.good`; undefined when exits were skipped, or the very exit makes the difference. */
  readonly units: Boundary | undefined;
}

/** Searches among exits, then among the units between the last good exit and the first bad one. */
export async function bisectCommand(options: BisectCommandOptions): Promise<BisectCommandResult> {
  const { replayer, goodExit, badExit, test } = options;
  const navigator = new ProbeNavigator(replayer);
  const probe = async (goal: Goal): Promise<Verdict> => {
    navigator.goTo(goal);
    const verdict = await test(replayer);
    if (verdict === "good") navigator.keep();
    return verdict;
  };
  const atExit = (number: number): Goal =>
    number === 0 ? { seq: replayer.reader.snapshots()[0]?.seq ?? 0 } : { exitNumber: number };
  const exits = await findBoundary({ good: goodExit, bad: badExit, test: (number) => probe(atExit(number)) });
  if (exits.skipped.length > 0) return { exits, units: undefined };
  navigator.goTo(atExit(exits.bad));
  const badIcount = replayer.machine.icount;
  const behind = (units: number): Goal =>
    exits.good === 0 ? { icount: units } : { exitNumber: exits.good, unitsAfter: units };
  navigator.goTo(behind(0));
  const length = badIcount - replayer.machine.icount;
  if (length < 1) return { exits, units: undefined };
  // Unit -1 stands for the exit before its answer, which is known to be good; the last is the bad exit itself.
  const units = await findBoundary({
    good: -1,
    bad: length,
    areEndsKnown: true,
    test: (number) => probe(behind(number)),
  });
  return { exits, units };
}
