/** How a run ended, as its recording tells it. */
import { endingOf, type EventPayload, type OwnedRecording, type RecordingEnding, standingOf } from "@hvjournal/core";
import { JournalError } from "@hvjournal/journal";
import { stopText } from "./record-report.js";

/** The VM that writes the recording. */
export interface RunningAs {
  readonly name: string;
  readonly processId: number;
}

type Ending = NonNullable<RecordingEnding["stop"]> & { readonly failure?: NonNullable<RecordingEnding["failure"]> };

/** undefined: the recording does not say, because it is not closed, or because its last events can't be read. */
export function readEnding(reader: OwnedRecording): Ending | undefined {
  try {
    const { stop, failure } = endingOf(reader);
    return stop && { ...stop, ...(failure === undefined ? {} : { failure }) };
  } catch (error) {
    // What is damaged is for fsck to tell.
    if (error instanceof JournalError) return undefined;
    throw error;
  }
}

/** Why the call at the end of a recording has no answer; undefined: none waits, or its handler has not failed. */
export function readFailedCall(reader: OwnedRecording): string | undefined {
  try {
    return endingOf(reader).failedCall;
  } catch (error) {
    if (error instanceof JournalError) return undefined;
    throw error;
  }
}

/** One line. `running` undefined: no VM writes it. */
export function endingLine(reader: OwnedRecording, running: RunningAs | undefined): string {
  const standing = standingOf(reader.header, reader.ownership());
  if (standing.is === "moved") return movedText(standing.to, standing.detail);
  if (running !== undefined) return `not yet: it runs as ${running.name} (pid ${running.processId})`;
  if (reader.end.state === "open") return "not closed: its recorder was killed, or the host went down";
  const stop = readEnding(reader);
  if (stop === undefined) return "not known: fsck tells what is damaged";
  if (!stop.byGuest) return hostText(stop.by);
  const text = stopText({ what: stop.what, by: stop.by });
  return stop.failure === undefined ? text : `${hostText(stop.failure.by)}; then ${text}`;
}

/** The destination's name and file are what its host called them then. */
function movedText(to: string, { name, path, by }: EventPayload): string {
  const how = typeof by === "string" ? ` by ${by}` : "";
  if (typeof name !== "string" || typeof path !== "string") return `moved, to recording ${to}${how}`;
  return `moved, to ${name} (${path}), recording ${to}${how}`;
}

/** `by`: what `record` was told, or who stopped it. */
function hostText(by: string): string {
  if (by.startsWith("--until ")) return `reached: ${by}`;
  if (by.startsWith("--fail-on ")) return `failed: ${by}`;
  return by.startsWith("--") ? `ran out of ${by}` : `stopped (${by})`;
}
