/** A recording that a command looks at, and what goes wrong with it in the user's words. */
import {
  type Architecture,
  describeEnding,
  DivergenceError,
  formatPosition,
  type Goal,
  type JournalReader,
  type Machine,
  type MachineDescription,
  parseFileAtPosition,
  parseMachine,
  parsePosition,
  type Position,
  PositionNotFoundError,
  type RecordingParent,
  Replayer,
  resolvePosition,
  shellCommand,
} from "@hvjournal/core";
import { openRecording, type OpenOptions, type RecordingReader } from "@hvjournal/journal";
import { existsSync } from "node:fs";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import type { CommandContext } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { nodeDigester } from "../host/node-digester.js";
import { divergenceReport } from "../output/divergence-report.js";
import type { Symbols } from "../symbols/symbols.js";

export interface OpenRecording {
  readonly path: string;
  readonly reader: RecordingReader;
  readonly architecture: Architecture;
  readonly description: MachineDescription;
  readonly symbols: Symbols;
}

/**
 * Opens, prints the journal's notes, closes; errors get the path and a next step. `isJudged`: whoever asks wants an answer
 * about all that ran, so a part of it is an error, where others read on as far as it goes.
 */
export async function withRecording<Result>(
  path: string,
  context: CommandContext,
  symbols: Symbols,
  use: (recording: OpenRecording) => Result | Promise<Result>,
  { isJudged = false, ...options }: OpenOptions & { readonly isJudged?: boolean } = {},
): Promise<Result> {
  const reader = openRecording(path, options);
  try {
    if (isJudged) checkNothingMissing(path, reader);
    for (const note of reader.notes) context.output.note(`note: ${note.text}`);
    const architecture = architectureNamed(reader.header.architecture);
    return await use({ path, reader, architecture, description: parseMachine(reader.header.machine), symbols });
  } catch (error) {
    throw inContext(error, { path, reader, symbols });
  } finally {
    reader.close();
  }
}

/** Throws CliError for a recording whose last part is in a file that was left behind, or can't be read. */
function checkNothingMissing(path: string, { notes }: RecordingReader): void {
  const damaged = notes.find(({ code }) => code === "wal-damaged");
  if (damaged !== undefined)
    throw new CliError(`${damaged.text}. What comes before replays`, {
      code: "journal-damaged",
      next: shellCommand("hvjournal", "fsck", path),
      fields: { recording: path },
    });
  const missing = notes.find(({ code }) => code === "wal-missing");
  if (missing === undefined) return;
  throw new CliError(
    `${missing.text}; copy ${path}-wal to it from where it was recorded: both belong together. What is there replays`,
    { code: "wal-missing", next: shellCommand("hvjournal", "replay", path), fields: { recording: path } },
  );
}

export function createReplayer({ architecture, reader }: Pick<OpenRecording, "architecture" | "reader">): Replayer {
  return new Replayer({ architecture, digester: nodeDigester, reader });
}

/** What went wrong with a recording, with its path and a next step. */
export function inContext(
  error: unknown,
  { path, reader, symbols }: Pick<OpenRecording, "path" | "reader" | "symbols">,
): unknown {
  if (error instanceof DivergenceError) return divergenceReport(error.report, { path, header: reader.header, symbols });
  if (error instanceof PositionNotFoundError) return positionMissing(path, reader, formatPosition(error.position));
  return error;
}

/**
 * For a run that compared all that a recording holds: that this was not all that ran. The answer stands all the same, so it
 * is a note, beside a status that is about what was compared. undefined: it has its end, or was said to lack it.
 */
export function unfinishedNote({ path, reader }: Pick<OpenRecording, "path" | "reader">): string | undefined {
  if (reader.end.state !== "open" || reader.notes.some(({ code }) => code !== "salvaged")) return undefined;
  const { exitNumber, icount } = reader.end;
  return `${path} has no end mark, because its recorder was killed, or still runs (hvjournal ps): all that it holds, up to exit:${exitNumber} icount:${icount}, was compared`;
}

/** How the guest ended, for a sentence: "guest powered off", "not closed". */
export function endingText(reader: JournalReader): string {
  const ending = describeEnding(reader);
  const [what, ...rest] = ending.split(" by ");
  const by = rest.length === 0 ? undefined : rest.join(" by ");
  if (by === undefined) return ending;
  return what === "stopped" ? `stopped by ${by}` : `guest ${what}`;
}

/** `short`: there is one moment that it can be about, unless it was looked for. */
type Naming = "short" | "full";

/** Exit status 1: `place` lies behind the end, or nowhere. */
export function positionMissing(
  path: string,
  reader: JournalReader,
  place: string,
  naming: Naming = "short",
): CliError {
  const { exitNumber, firstSeq, icount } = reader.end;
  const isNumber = naming === "short" && /^(exit:\d|event:|icount:|time:)/.test(place);
  const what = isNumber ? "" : `${place} is not in ${path}: `;
  const subject = isNumber ? path : "it";
  const end = exitNumber === 0 ? `icount:${icount}` : `exit:${exitNumber}`;
  return new CliError(`${what}${subject} ends at ${end} (${endingText(reader)})`, {
    code: "not-found",
    status: ExitStatus.no,
    position: place,
    next: shellCommand("hvjournal", "replay", path, "--until", "end"),
    fields: { end: { exit: exitNumber, event: firstSeq - 1, icount } },
  });
}

/** A moment before the damage is reached in a damaged recording too; the end, and what is counted from it, is not known. */
export function liesBeforeEnd(position: Position): boolean {
  return position.at !== "end" && !("occurrence" in position && position.occurrence < 0);
}

export interface Place {
  readonly position: Position;
  readonly goal: Goal;
}

/** Throws PositionError, or CliError for a moment that the recording does not have. */
export function findPlace(text: string, reader: RecordingReader, naming: Naming = "short"): Place {
  const position = parsePosition(text);
  const goal = goalIn(position, reader, naming);
  const { parent } = reader.header;
  const isEarlier =
    parent !== undefined &&
    ((goal.seq ?? Infinity) < parent.seq ||
      (goal.exitNumber ?? Infinity) < parent.exitNumber ||
      (goal.icount ?? Infinity) < parent.icount);
  if (isEarlier) throw beforeBase(reader.path, parent, position);
  return { position, goal };
}

/** Where there are two recordings, the error is of the one that lacks the moment. */
function goalIn(position: Position, reader: RecordingReader, naming: Naming): Goal {
  try {
    return resolvePosition(position, reader, architectureNamed(reader.header.architecture));
  } catch (error) {
    if (error instanceof PositionNotFoundError)
      throw positionMissing(reader.path, reader, formatPosition(error.position), naming);
    throw error;
  }
}

/** "FILE@POSITION" or "FILE". Throws PositionError where FILE is there and what stands behind its @ is no position. */
export function fileAtPosition(text: string): { readonly file: string; readonly position: Position | undefined } {
  const parsed = parseFileAtPosition(text);
  if (parsed.position !== undefined || existsSync(text)) return parsed;
  for (let at = text.lastIndexOf("@"); at > 0; at = text.lastIndexOf("@", at - 1)) {
    const file = text.slice(0, at);
    if (existsSync(file)) return { file, position: parsePosition(text.slice(at + 1)) };
  }
  return parsed;
}

/** Throws CliError when a replay, which has come to its goal or the end, does not stand at the place. */
export function checkReached(result: string, { position, goal }: Place, replayer: Replayer, path: string): void {
  const { reader, machine } = replayer;
  if (result === "end" && position.at !== "end") throw positionMissing(path, reader, formatPosition(position));
  const { parent } = reader.header;
  if (parent !== undefined && isBehind(machine, replayer.nextSeq - 1, goal)) throw beforeBase(path, parent, position);
}

function beforeBase(path: string, parent: RecordingParent, position: Position): CliError {
  const text = formatPosition(position);
  return new CliError(
    `${text} is not in ${path}: it starts at exit:${parent.exitNumber} (event:${parent.seq}), earlier moments are in its parent`,
    {
      code: "not-found",
      status: ExitStatus.no,
      position: text,
      next: shellCommand("hvjournal", "replay", parent.path, "--until", text),
    },
  );
}

/** Whether a machine that could not go back stands behind a goal. */
function isBehind(machine: Machine, seq: number, goal: Goal): boolean {
  const { exitNumber, unitsAfter, icount } = goal;
  if (goal.seq !== undefined) return seq > goal.seq;
  if (icount !== undefined) return machine.icount > icount;
  if (exitNumber === undefined) return false;
  if (unitsAfter === undefined) return machine.exitNumber > exitNumber || !machine.exitPending;
  return machine.exitNumber === exitNumber && machine.icount > machine.answeredIcount + unitsAfter;
}
