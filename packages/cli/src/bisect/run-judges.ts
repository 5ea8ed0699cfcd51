/** Whether a run with some changes applied is good or bad: by an EXPR, by a command, or by which of two recordings it is like. */
import {
  comparedExitKey,
  endingOf,
  FinishedBy,
  ExitWord,
  ForwardedExits,
  Outcome,
  type ParsedExpression,
  type RecordedExit,
  type Recorder,
  type Verdict,
} from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import type { OpenRecording } from "../vm/open-recording.js";
import type { Rerun, RunJudge } from "../vm/rerun-recording.js";
import { verdictOf } from "./bisect-by-command.js";

/** What is said of a run that has ended. */
export interface RunVerdict {
  readonly verdict: Verdict;
  /** Why it is neither good nor bad, or what was not as it should be. */
  readonly why?: string | undefined;
}

export interface VerdictOfRun {
  /** Where nobody has said what is good: what is taken for bad. */
  readonly badMeans?: string;
  begin(recorder: Recorder): RunJudge;
  /** `path`: its recording. */
  end(run: Rerun, path: string): RunVerdict;
}

export function judgeByExpression(expression: ParsedExpression, { symbols }: OpenRecording): VerdictOfRun {
  let outcome: Outcome | undefined;
  return {
    begin(recorder) {
      const begun = new Outcome(expression, recorder.machine, symbols);
      outcome = begun;
      return { atExit: () => begun.atExit(), noteOutput: (port, bytes) => begun.noteOutput(port, bytes) };
    },
    end: () => ({ verdict: outcome?.atEnd() === true ? "good" : "bad" }),
  };
}

export function judgeByCommand(command: readonly string[]): VerdictOfRun {
  return {
    begin: () => ({ atExit: () => false }),
    end: (_, path) => ({ verdict: verdictOf(command, path, "end") }),
  };
}

/** A run that a host ends goes on as far as anybody has looked. */
const GOES_ON = "goes on";

function endOfRecording({ reader }: OpenRecording): string {
  const { stop } = endingOf(reader);
  return stop?.byGuest === true ? stop.what : GOES_ON;
}

/**
 * Where the guests ended in two ways, by that: powered off, reset, stuck, or going on. Else by the first exit that
 * reaches the VMM half and is not the same in both. A run that is like neither is skipped. Throws CliError for two that
 * are alike in both.
 */
export function judgeByLikeness(good: OpenRecording, bad: OpenRecording): VerdictOfRun {
  const ends = { good: endOfRecording(good), bad: endOfRecording(bad) };
  if (ends.good !== ends.bad) return judgeByEnd(ends);
  const fork = firstFork(good, bad);
  if (fork === undefined)
    throw new CliError(
      `${good.path} and ${bad.path} end alike, and the exits that reach the VMM half are the same: --expect EXPR says what is good`,
      { code: "no-difference", status: ExitStatus.no, next: "hvjournal bisect --help" },
    );
  return judgeByExit(fork);
}

function judgeByEnd({ good, bad }: { readonly good: string; readonly bad: string }): VerdictOfRun {
  return {
    badMeans: `the guest ${bad}, where the good one's ${good}`,
    begin: () => ({ atExit: () => false }),
    end({ why, stop }) {
      const what = why === "stopped" ? (stop?.what ?? GOES_ON) : GOES_ON;
      if (what === good) return { verdict: "good" };
      if (what === bad) return { verdict: "bad" };
      return { verdict: "skip", why: `the guest ${what}, where it was to be ${good} or ${bad}` };
    },
  };
}

/** The first exit to the VMM half that is not the same; undefined where one side has none any more. */
interface Fork {
  /** Exits to the VMM half before it. */
  readonly equal: number;
  readonly good: string | undefined;
  readonly bad: string | undefined;
  /** Name of the exit model that both have; undefined: each has its own. */
  readonly model: string | undefined;
}

function firstFork(good: OpenRecording, bad: OpenRecording): Fork | undefined {
  const [left, right] = [new ForwardedExits(good.reader), new ForwardedExits(bad.reader)];
  const model = left.model === right.model ? left.model : undefined;
  const key = (exits: ForwardedExits, exit: RecordedExit | undefined): string | undefined =>
    exit && exits.key(exit, model);
  for (let equal = 0; ; equal++) {
    const fork = { equal, good: key(left, left.next()), bad: key(right, right.next()), model };
    if (fork.good !== fork.bad) return fork;
    if (fork.good === undefined) return undefined;
  }
}

/** A run goes on for so many exits behind the one that decides: they show what came of it. */
const EXITS_BEHIND_FORK = 2000;

function judgeByExit({ equal, good, bad, model }: Fork): VerdictOfRun {
  let found: string | undefined;
  return {
    badMeans: "the first exit that differs from GOOD's is BAD's; --expect EXPR says something better",
    begin({ machine }) {
      let count = 0;
      found = undefined;
      return {
        atExit() {
          const { exit } = machine.kernel;
          if (exit[ExitWord.finishedBy] !== FinishedBy.vmmHalf) return false;
          count += 1;
          if (count === equal + 1) found = comparedExitKey(machine, model);
          return count > equal + EXITS_BEHIND_FORK;
        },
      };
    },
    end() {
      if (found === good) return { verdict: "good" };
      if (found === bad) return { verdict: "bad" };
      return {
        verdict: "skip",
        why: `exit ${equal + 1} that reaches the VMM half is neither the good one nor the bad one`,
      };
    },
  };
}
