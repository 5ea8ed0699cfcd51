/** A recording that a command looks at, and what goes wrong with it in the user's words. */
import {
  type Architecture,
  describeEnding,
  DivergenceError,
  formatPosition,
  type Goal,
  type JournalReader,
  type MachineDescription,
  parseMachine,
  parsePosition,
  type Position,
  PositionNotFoundError,
  Replayer,
  resolvePosition,
} from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
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

/** Opens, prints the journal's notes, closes; errors get the path and a next step. */
export async function withRecording<Result>(
  path: string,
  context: CommandContext,
  symbols: Symbols,
  use: (recording: OpenRecording) => Result | Promise<Result>,
): Promise<Result> {
  const reader = openRecording(path);
  try {
    for (const note of reader.notes) context.output.note(`note: ${note.text}`);
    const architecture = architectureNamed(reader.header.architecture);
    return await use({ path, reader, architecture, description: parseMachine(reader.header.machine), symbols });
  } catch (error) {
    throw inContext(error, path, reader, symbols);
  } finally {
    reader.close();
  }
}

export function createReplayer({ architecture, reader }: Pick<OpenRecording, "architecture" | "reader">): Replayer {
  return new Replayer({ architecture, digester: nodeDigester, reader });
}

function inContext(error: unknown, path: string, reader: RecordingReader, symbols: Symbols): unknown {
  if (error instanceof DivergenceError) return divergenceReport(error.report, { path, header: reader.header, symbols });
  if (error instanceof PositionNotFoundError) return positionMissing(path, reader, formatPosition(error.position));
  return error;
}

/** How the guest ended, for a sentence: "guest powered off", "not closed". */
export function endingText(reader: JournalReader): string {
  const ending = describeEnding(reader);
  const [what, by] = ending.split(" by ");
  if (by === undefined) return ending;
  return what === "stopped" ? `stopped by ${by}` : `guest ${what}`;
}

/** Exit status 1: `place` lies behind the end, or nowhere. */
export function positionMissing(path: string, reader: JournalReader, place: string): CliError {
  const { exitNumber, firstSeq, icount } = reader.end;
  const isNumber = /^(exit:\d|event:|icount:|time:)/.test(place);
  const what = isNumber ? "" : `${place} is not in ${path}: `;
  const subject = isNumber ? path : "it";
  const end = exitNumber === 0 ? `icount:${icount}` : `exit:${exitNumber}`;
  return new CliError(`${what}${subject} ends at ${end} (${endingText(reader)})`, {
    code: "not-found",
    status: ExitStatus.no,
    position: place,
    next: `hvjournal replay ${path} --until end`,
    fields: { end: { exit: exitNumber, event: firstSeq - 1, icount } },
  });
}

export interface Place {
  readonly position: Position;
  readonly goal: Goal;
}

/** Throws PositionError, or PositionNotFoundError for a moment that the recording does not have. */
export function findPlace(text: string, reader: JournalReader): Place {
  const position = parsePosition(text);
  return { position, goal: resolvePosition(position, reader) };
}

/** Throws CliError when the replay ended before it came to `place`. */
export function checkReached(result: string, { position }: Place, { path, reader }: OpenRecording): void {
  if (result === "end" && position.at !== "end") throw positionMissing(path, reader, formatPosition(position));
}
