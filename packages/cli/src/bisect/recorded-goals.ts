/**
 * What two recordings themselves say is good or bad: BAD ended by `--fail-on`, its kernel panicked, or GOOD came to its
 * `--until` and BAD did not. That is what their user looked for, where the first exit that differs may mean nothing.
 */
import { CONSOLE_PORT, ConsoleMatcher, eachEvent, HotKind, journalCursor, type Recorder } from "@hvjournal/core";
import { readEnding } from "../output/ending-text.js";
import { liveGoals, type SessionGoal } from "../vm/live-goals.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { parseStopCondition, type StopCondition } from "../vm/stop-condition.js";
import type { VerdictOfRun } from "./run-judges.js";

const PANIC = "console:/Kernel panic - not syncing/";

/** undefined: the recordings do not say. */
export function judgeByGoals(good: OpenRecording, bad: OpenRecording): VerdictOfRun | undefined {
  const failure = failureOf(bad);
  if (failure !== undefined && failure !== failureOf(good))
    return judgeByGoal(failure, "bad", good, `--fail-on ${failure}, by which ${bad.path} ended`);
  if (cameTo(PANIC, bad) && !cameTo(PANIC, good))
    return judgeByGoal(PANIC, "bad", good, `${PANIC}, as on the console of ${bad.path}`);
  const goal = goalOf(good);
  if (goal !== undefined && !cameTo(goal, bad))
    return judgeByGoal(goal, "good", good, `--until ${goal}, by which ${good.path} ended, is not reached`);
  return undefined;
}

function failureOf({ reader }: OpenRecording): string | undefined {
  const ending = readEnding(reader);
  const text = conditionText(ending?.failure?.by ?? ending?.by, "--fail-on ");
  return text !== undefined && isOfGuest(parseStopCondition(text)) ? text : undefined;
}

/** Of the console only: that BAD never came to any other condition is not told by its recording alone. */
function goalOf({ reader }: OpenRecording): string | undefined {
  const text = conditionText(readEnding(reader)?.by, "--until ");
  return text !== undefined && consoleOf(text) !== undefined ? text : undefined;
}

/** How far a run has come, in exits, instructions or time, is not what makes it good or bad. */
function isOfGuest(condition: StopCondition): boolean {
  return condition.form === "expression" || ["console", "hypercall", "reason"].includes(condition.position.at);
}

/** What the option was given: behind a console's text, the recording has the line that it was found in. */
function conditionText(by: string | undefined, option: string): string | undefined {
  if (by?.startsWith(option) !== true) return undefined;
  const text = by.slice(option.length);
  const ends = [...text.matchAll(/: /g)].map(({ index }) => text.slice(0, index));
  return [...ends, text].find(isCondition);
}

function isCondition(text: string): boolean {
  try {
    parseStopCondition(text);
    return true;
  } catch {
    // A part of it only, or of a build that wrote conditions in another way.
    return false;
  }
}

function consoleOf(text: string): { readonly matcher: ConsoleMatcher; readonly occurrence: number } | undefined {
  const condition = parseStopCondition(text);
  if (condition.form !== "position" || condition.position.at !== "console") return undefined;
  return { matcher: new ConsoleMatcher(condition.position.expression), occurrence: condition.position.occurrence };
}

/** Whether a recording's console has what a `console:` position asks for. */
function cameTo(text: string, { reader }: OpenRecording): boolean {
  const wanted = consoleOf(text);
  if (wanted === undefined) return false;
  let left = wanted.occurrence;
  eachEvent(journalCursor(reader, 1), { first: 1, last: reader.end.firstSeq - 1 }, (cursor) => {
    if (cursor.kind === HotKind.outputProduced && cursor.outputPort === CONSOLE_PORT)
      left -= wanted.matcher.pushAll(cursor.outputBytes);
    return left > 0;
  });
  return left <= 0;
}

/** A run that comes to `text` is `verdict`, any other the opposite. */
function judgeByGoal(
  text: string,
  verdict: "good" | "bad",
  { symbols }: OpenRecording,
  badMeans: string,
): VerdictOfRun {
  let watch: GoalWatch | undefined;
  return {
    badMeans,
    begin(recorder) {
      const texts = verdict === "bad" ? { until: undefined, failOn: text } : { until: text, failOn: undefined };
      const [goal] = liveGoals(texts, recorder, symbols);
      const begun = new GoalWatch(goal, recorder);
      watch = begun;
      return { atExit: () => begun.atExit(), noteOutput: (port, bytes) => begun.noteOutput(port, bytes) };
    },
    end: () => ({ verdict: (watch?.isMet === true) === (verdict === "good") ? "good" : "bad" }),
  };
}

/** A run goes on behind its goal as far as `record` would, so that what explains a failure is in its recording. */
class GoalWatch {
  isMet = false;
  readonly #goal: SessionGoal | undefined;
  readonly #recorder: Recorder;

  constructor(goal: SessionGoal | undefined, recorder: Recorder) {
    this.#goal = goal;
    this.#recorder = recorder;
  }

  /** True: the run need not go on. */
  atExit(): boolean {
    const failure = this.#goal?.failure;
    this.isMet ||= this.#goal?.atExit?.() === true;
    return this.isMet && this.#recorder.machine.guestTimeNs >= (failure?.stopAtNs ?? 0);
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    const failure = this.#goal?.failure;
    failure?.note(port, bytes);
    this.isMet ||= failure?.moment !== undefined || this.#goal?.afterOutput?.(port, bytes) === true;
  }
}
