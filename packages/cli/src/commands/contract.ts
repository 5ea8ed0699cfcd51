/** `hvjournal contract`: what a guest may observe of its host, and what it has observed; or two of these compared. */
import { compareAsMove, formatPosition, type Position, shellWord } from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import type { Difference } from "../migration/migration-report.js";
import { differenceJson } from "../migration/migration-options.js";
import { jsonLine } from "../output/console-output.js";
import { comparisonLines, contractLines, itemJson } from "../output/contract-text.js";
import { counted } from "../output/value-text.js";
import { defaultRecording, wordsOption } from "../recording-path.js";
import { symbolsFromFiles } from "../symbols/symbol-files.js";
import { withLongAct } from "../vm/long-act.js";
import { fileAtPosition, type OpenRecording, withRecording } from "../vm/open-recording.js";
import { type RecordedContract, recordedContract } from "../vm/recorded-contract.js";
import { type Arguments, type Command, type CommandContext, listOption, stringOption, textOption } from "./command.js";

export const contract: Command = {
  usage: "contract [words..]",
  summary: "what the guest may observe of its host, and has observed: contract [RECORDING], or contract A B",
  options: (yargs) =>
    wordsOption(yargs)
      .usage("usage: $0 contract [RECORDING] [--at POSITION]\n       $0 contract A[@POSITION] B[@POSITION]")
      .option("at", textOption("POSITION: the contract as it was there (the end)")),
  run(args, context) {
    const [a, b, ...more] = listOption(args, "words");
    if (more.length > 0)
      throw new UsageError("contract takes one recording, or two: contract A[@POSITION] B[@POSITION]");
    if (b === undefined) return runShow(a ?? defaultRecording(args, context), args, context);
    const at = stringOption(args, "at");
    if (at !== undefined) throw new UsageError(`--at ${at} goes with one recording: contract A@POSITION B@POSITION`);
    return runCompare(fileAtPosition(a ?? ""), fileAtPosition(b), args, context);
  },
};

function placeOf(position: Position | undefined): string | undefined {
  return position === undefined ? undefined : formatPosition(position);
}

function runShow(word: string, args: Arguments, context: CommandContext): Promise<ExitCode> {
  const { file, position } = fileAtPosition(word);
  const asked = stringOption(args, "at");
  if (asked !== undefined && position !== undefined)
    throw new UsageError(`two moments are given: ${word} and --at ${asked}`);
  const at = asked ?? placeOf(position);
  return withRecording(file, context, symbolsFromFiles(args), async (recording) => {
    const { output } = context;
    const { items, unknownUpTo } = await readContract(recording, at, context);
    noteUnknown(recording, unknownUpTo, context);
    output.startPager();
    if (output.json) for (const item of items) output.line(jsonLine(itemJson(item)));
    else for (const line of contractLines(items, unknownUpTo)) output.line(line);
    return ExitStatus.done;
  });
}

function readContract(
  recording: OpenRecording,
  at: string | undefined,
  { output }: CommandContext,
): Promise<RecordedContract> {
  const { path, reader } = recording;
  return withLongAct({ act: `reading ${path}`, total: reader.end.icount, output }, (act) =>
    recordedContract(recording, at, act),
  );
}

/** What came before stands in the parent. */
function noteUnknown({ path, reader }: OpenRecording, unknownUpTo: number, { output }: CommandContext): void {
  if (unknownUpTo === 0) return;
  const from = reader.header.parent?.path ?? "its parent";
  output.note(
    `note: ${path} knows what its guest asked for from exit:${unknownUpTo} on; what came before: hvjournal contract ${shellWord(from)}`,
  );
}

interface Operand {
  readonly file: string;
  readonly position: Position | undefined;
}

function runCompare(a: Operand, b: Operand, args: Arguments, context: CommandContext): Promise<ExitCode> {
  const symbols = symbolsFromFiles(args);
  return withRecording(a.file, context, symbols, (recordingA) =>
    withRecording(b.file, context, symbols, async (recordingB) => {
      const { output } = context;
      const own = await readContract(recordingA, placeOf(a.position), context);
      const other = await readContract(recordingB, placeOf(b.position), context);
      const comparison = compareAsMove(own, other);
      if (output.json)
        output.line(jsonLine({ equal: comparison.equal, differences: comparison.differences.map(differenceJson) }));
      else {
        for (const line of comparisonLines(comparison, own.unknownUpTo)) output.line(line);
        output.line(`${counted(comparison.equal, "item")} equal, ${differentText(comparison.differences)}`);
      }
      return comparison.differences.every(isHidden) ? ExitStatus.done : ExitStatus.no;
    }),
  );
}

/** No guest can tell by it, such as by the name of the simulated host. */
function isHidden({ source, destination }: Difference): boolean {
  const items = [source, destination].filter((item) => item !== null && item !== undefined);
  return items.every(({ rule }) => rule === "hidden");
}

function differentText(differences: readonly Difference[]): string {
  const hidden = differences.filter(isHidden).length;
  const text = `${differences.length} different`;
  return hidden === 0 ? text : `${text}, ${hidden} of them in what no guest can tell`;
}
