/** `hvjournal bisect`: find the moment at which something became so, or the change that did it. */
import { BisectEndError, BisectSkippedError, BisectStoppedError, parseExpression, shellCommand } from "@hvjournal/core";
import { join } from "node:path";
import { runCommandSearch } from "../bisect/bisect-by-command.js";
import { bisectChanges } from "../bisect/bisect-changes.js";
import { runWhen } from "../bisect/bisect-moment.js";
import { CliError, UsageError } from "../cli-error.js";
import { showCommand } from "../output/show-command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { defaultRecording, wordsOption } from "../recording-path.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { withRecording } from "../vm/open-recording.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flagOption,
  listOption,
  stringOption,
  textOption,
} from "./command.js";

export const bisect: Command = {
  usage: "bisect [words..]",
  summary: "find the moment at which something became so, or the change that did it",
  options: (yargs) =>
    symbolOptions(wordsOption(yargs))
      .usage(
        [
          "usage: $0 bisect [RECORDING] --when EXPR",
          "$0 bisect [RECORDING] --run COMMAND [ARG ...]",
          "$0 bisect GOOD --with FILE|NAME=VALUE ... --expect EXPR",
          "$0 bisect GOOD BAD [--expect EXPR | --run COMMAND [ARG ...]]",
        ].join("\n       "),
      )
      .option(
        "when",
        textOption(
          "EXPR: the first moment at which it holds; one that reads registers is asked behind every instruction, or with `$pc == X &&` at X; `A || B` is two searches",
        ),
      )
      .option("run", flagOption("the rest of the line is a command: 0 good, 125 skip, 1 to 127 bad, 128 and more stop"))
      .option("good", textOption("POSITION at which it is good (start)"))
      .option("bad", textOption("POSITION at which it is bad (end)"))
      .option("all", flagOption("with --when: every change, not only the first"))
      .option(
        "with",
        textOption("what GOOD's machine is changed to: a machine file, or NAME=VALUE of record; repeatable"),
      )
      .option("expect", textOption("EXPR that holds of a good run"))
      .option("timeout", textOption("guest time that a run may take (twice the recorded run's, and 1s)"))
      .option("keep", textOption("directory for the recordings of all runs")),
  run: (args, context) =>
    (asksForChange(args) ? searchChange(args, context) : searchMoment(args, context)).catch((error: unknown) => {
      throw bisectFailure(error, { good: laterSearch(args, context), bad: withRunsKept(args, context) });
    }),
};

function asksForChange(args: Arguments): boolean {
  return listOption(args, "words").length > 1 || args["with"] !== undefined;
}

const OF_MOMENTS = ["when", "good", "bad", "all"];
const OF_CHANGES = ["expect", "keep", "timeout"];

function refuseOptions(args: Arguments, names: readonly string[], why: string): void {
  const given = names.find((name) => args[name] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} ${why}`, "hvjournal bisect --help");
}

/** Each form's promise fails; none throws. */
async function searchChange(args: Arguments, context: CommandContext): Promise<ExitCode> {
  refuseOptions(args, OF_MOMENTS, "is for one recording as it is: which change did it has no moment");
  return bisectChanges(args, context);
}

async function searchMoment(args: Arguments, context: CommandContext): Promise<ExitCode> {
  refuseOptions(args, OF_CHANGES, "is for a search among changes: bisect GOOD --with FILE, or GOOD BAD");
  const path = pathOf(args, context);
  const when = stringOption(args, "when");
  const { runCommand: command } = context;
  if ((when === undefined) === (command === undefined))
    throw new UsageError("bisect takes either --when EXPR or --run COMMAND", "hvjournal bisect --help");
  return withRecording(path, context, symbolsFromFiles(args), (recording) =>
    when === undefined
      ? runCommandSearch(recording, command ?? [], args, context)
      : runWhen(recording, parseExpression(when), args, context),
  );
}

function pathOf(args: Arguments, context: CommandContext): string {
  return listOption(args, "words")[0] ?? defaultRecording(args, context);
}

/** Where an expression holds at the start already: the search for when it first does not. */
function laterSearch(args: Arguments, context: CommandContext): string | undefined {
  const when = stringOption(args, "when");
  if (when === undefined) return undefined;
  const isLater = stringOption(args, "good") !== undefined;
  return shellCommand("hvjournal", "bisect", pathOf(args, context), "--when", isLater ? when : `!(${when})`);
}

/** Where all changes together are good: what that run was. The search begins with none of them, and then with all. */
function withRunsKept(args: Arguments, { argv }: CommandContext): string | undefined {
  if (!asksForChange(args)) return undefined;
  const keep = stringOption(args, "keep");
  if (keep !== undefined) return showCommand(join(keep, "bisect-2.hvj"), "end");
  const [command = "bisect", ...words] = argv;
  return shellCommand("hvjournal", command, "--keep", "runs", ...words);
}

/** What helps where an end of the search is not as it should be. */
type NextByEnd = Readonly<Record<BisectEndError["end"], string | undefined>>;

function bisectFailure(error: unknown, nextByEnd: NextByEnd): unknown {
  if (error instanceof BisectEndError) {
    const next = nextByEnd[error.end];
    return new CliError(error.message, {
      code: "bisect-end",
      ...(next === undefined ? {} : { next }),
      cause: error,
    });
  }
  if (error instanceof BisectSkippedError)
    return new CliError(error.message, {
      code: "bisect-skipped",
      status: ExitStatus.untestable,
      next: `hvjournal bisect --good POSITION --bad POSITION --run ...`,
      cause: error,
    });
  if (error instanceof BisectStoppedError) return new CliError(error.message, { code: "bisect-stopped", cause: error });
  return error;
}
