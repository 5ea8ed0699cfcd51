/** What became of a run: in the words of its recording, as an exit status, and whether it came as far as was asked. */
import { shellCommand } from "@hvjournal/core";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { stopText } from "../output/record-report.js";
import type { SessionGoal } from "./live-goals.js";
import type { SessionEnd } from "./live-session.js";
import { parseStopCondition } from "./stop-condition.js";

/** What was asked of a run. */
export interface RunTerms {
  readonly until?: string | undefined;
  /** The guest's own status is wanted. */
  readonly exitStatus?: boolean;
}

/** The exit at which the guest failed, where that showed on its console: it has run on since. */
export function failedExit(end: SessionEnd): number | undefined {
  return end.why === "goal" ? end.goal.failure?.moment?.exitNumber : undefined;
}

/** Who ended it, for the recording. */
export function endedBy(end: SessionEnd): string {
  switch (end.why) {
    case "goal":
      return `--${end.goal.name} ${end.goal.text}${failedLine(end.goal)}`;
    case "timeout":
      return end.of === "guest" ? "--timeout" : "--host-timeout";
    case "interrupted":
      return end.by;
    case "failed":
      return `${end.error.code} of ${end.error.handler}`;
    default:
      return end.why;
  }
}

/**
 * Whether somebody waits for the end by the wall clock, or by a signal behind which the next one may be SIGKILL. Making the tables
 * for sqlite3 may take as long as the run has.
 */
export function isHurried(end: SessionEnd): boolean {
  if (end.why === "timeout") return end.of === "host";
  return end.why === "interrupted" && end.by.startsWith("SIG");
}

export function unindexedText(path: string): string {
  return `note: there was no time for the tables for the stock sqlite3; ${shellCommand("hvjournal", "index", path)} makes them`;
}

/** What went wrong stands in the line that shows it. */
function failedLine({ failure }: SessionGoal): string {
  return failure === undefined ? "" : `: ${failure.line}`;
}

/** A reset ends the run as well as a power-off does. */
const ENDS_WELL: ReadonlySet<string> = new Set(["powered off", "reset", "suspended"]);

/** The guest's own status, where that is to be the command's. */
export function guestStatusOf(end: SessionEnd, { exitStatus }: RunTerms): number | undefined {
  return exitStatus === true && end.why === "stopped" ? end.stop.status : undefined;
}

export function exitCodeOf(end: SessionEnd, terms: RunTerms): ExitCode {
  const own = guestStatusOf(end, terms);
  if (own !== undefined) return own;
  switch (end.why) {
    case "stopped":
      return ENDS_WELL.has(end.stop.what) && missedGoal(end, terms.until) === undefined
        ? ExitStatus.done
        : ExitStatus.no;
    case "goal":
      return end.goal.name === "fail-on" ? ExitStatus.no : ExitStatus.done;
    case "timeout":
      return ExitStatus.timeout;
    case "interrupted":
      return end.by.startsWith("SIG") ? ExitStatus.interrupted : ExitStatus.done;
    case "failed":
      return ExitStatus.error;
    case "moved":
      return ExitStatus.done;
    default:
      return end satisfies never;
  }
}

/** That the guest ended by itself before it came to `--until`; undefined: it did not, or the end was meant. */
export function missedGoal(end: SessionEnd, until: string | undefined): string | undefined {
  if (end.why !== "stopped" || until === undefined) return undefined;
  const condition = parseStopCondition(until);
  if (condition.form === "position" && condition.position.at === "end") return undefined;
  return `--until ${until} was not reached: ${stopText(end.stop)}`;
}
