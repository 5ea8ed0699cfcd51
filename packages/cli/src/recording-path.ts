/** Which recording a command means: the one named, else -i, else $HVJOURNAL, else ./vm.hvj. */
import type { Argv } from "yargs";
import { PositionError, parsePosition, parseRange } from "@hvjournal/core";
import { UsageError } from "./cli-error.js";
import { type Arguments, type CommandContext, listOption, stringOption, textOption } from "./commands/command.js";

export const DEFAULT_RECORDING = "vm.hvj";

/** For every command that reads a recording which it was not told by a positional word. */
export function recordingOption(yargs: Argv): Argv {
  return yargs.option("recording-file", {
    ...textOption("recording (default: $HVJOURNAL, else vm.hvj)"),
    alias: "i",
  });
}

/** For a command whose positional `words` are read by `recordingWords`, or by itself. */
export function wordsOption(yargs: Argv): Argv {
  return recordingOption(yargs.positional("words", { type: "string", array: true }));
}

/** The recording of a command whose positional word `recording` names it. */
export function recordingPath(args: Arguments, context: CommandContext): string {
  return stringOption(args, "recording") ?? defaultRecording(args, context);
}

export function defaultRecording(args: Arguments, context: CommandContext): string {
  return stringOption(args, "recording-file") ?? context.environment["HVJOURNAL"] ?? DEFAULT_RECORDING;
}

export interface RecordingWords {
  readonly path: string;
  /** The POSITION or RANGE behind it, as it was written. */
  readonly place: string | undefined;
}

/**
 * `[RECORDING] [POSITION or RANGE]` of the positional `words`: a single word is a place when it reads as one.
 * A file of such a name is reached as ./start.
 */
export function recordingWords(args: Arguments, context: CommandContext, place: "position" | "range"): RecordingWords {
  const words = listOption(args, "words");
  const [first, second] = words;
  if (words.length > 2) throw new UsageError(`${words.join(" ")}: expected [RECORDING] [${place.toUpperCase()}]`);
  if (first !== undefined && second !== undefined) return { path: first, place: second };
  if (first !== undefined && reads(first, place)) return { path: defaultRecording(args, context), place: first };
  return { path: first ?? defaultRecording(args, context), place: undefined };
}

function reads(text: string, place: "position" | "range"): boolean {
  // A path may hold dots, and a range without its ends is of no use.
  if (text.includes("/") && !text.startsWith("console:")) return false;
  if (/^(exit|event|icount|time|console|hypercall|snapshot):/.test(text)) return true;
  try {
    if (place === "position") parsePosition(text);
    else parseRange(text);
    return true;
  } catch (error) {
    if (error instanceof PositionError) return false;
    throw error;
  }
}
