/** `hvjournal replay`: run a recording again, stop anywhere. */
import { CONSOLE_PORT, type Goal, type Replayer, seek } from "@hvjournal/core";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { Progress } from "../output/progress.js";
import { Standing } from "../output/standing.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { nameByGuest, nameByLastSnapshot } from "../symbols/guest-symbols.js";
import {
  checkPassedBy,
  checkReached,
  createReplayer,
  findPlace,
  type OpenRecording,
  positionMissing,
  withRecording,
} from "../vm/open-recording.js";
import { parseStopCondition } from "../vm/stop-condition.js";
import { replayGoal } from "../vm/replay-goal.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flag,
  flagOption,
  stringOption,
  textOption,
} from "./command.js";

export const replay: Command = {
  usage: "replay [recording]",
  summary: "run a recording again, stop anywhere",
  options: (yargs) =>
    symbolOptions(recordingOption(yargs.positional("recording", { type: "string" })))
      .option(
        "from",
        textOption(
          "POSITION to compare from (the snapshot before the moment; the start for --console, an EXPR or the end)",
        ),
      )
      .option("until", textOption("POSITION or EXPR to stop at (end)"))
      .option("console", flagOption("print what the guest writes to its console")),
  run: (args, context) => {
    const path = recordingPath(args, context);
    const symbols = symbolsFromFiles(args);
    return withRecording(path, context, symbols, (recording) => runReplay(recording, args, context), {
      salvage: isToMoment(args),
    });
  },
};

/** A moment before the damage is reached in a damaged file too; whatever needs its end is refused. */
function isToMoment(args: Arguments): boolean {
  const until = stringOption(args, "until");
  if (until === undefined) return false;
  const condition = parseStopCondition(until);
  return condition.form === "position" && condition.position.at !== "end";
}

function runReplay(recording: OpenRecording, args: Arguments, { output }: CommandContext): ExitCode {
  const replayer = createReplayer(recording);
  const from = stringOption(args, "from");
  if (from !== undefined) {
    const place = findPlace(from, recording.reader);
    checkReached(seek(replayer, place.goal), place, replayer, recording.path);
  }
  const until = stringOption(args, "until") ?? "end";
  // Expressions may name what only the guest knows.
  if (parseStopCondition(until).form === "expression") nameByLastSnapshot(recording);
  const { goal, text, position } = replayGoal(until, replayer, recording.reader, recording.symbols);
  const showsConsole = flag(args, "console") && !output.quiet;
  if (showsConsole) showConsole(replayer, output);
  const watchedGoal = { ...goal, ...watched(replayer, recording, output) };
  // All of it is compared where all of it was asked for; a moment is reached by the shortest way.
  const isWhole = from !== undefined || showsConsole || position === undefined || position.at === "end";
  const result = isWhole ? replayer.advance(watchedGoal) : seek(replayer, watchedGoal);
  if (position !== undefined) checkReached(result, { position, goal }, replayer, recording.path);
  else if (result === "end") throw positionMissing(recording.path, recording.reader, `'${text}'`);
  tellStanding(recording, replayer, output);
  if (result === "end") checkPassedBy(recording);
  return ExitStatus.done;
}

function tellStanding(recording: OpenRecording, replayer: Replayer, output: Output): void {
  if (output.quiet && !output.json) return;
  nameByGuest(recording.symbols, replayer.machine);
  const standing = new Standing(recording);
  if (output.json) output.line(jsonLine(standing.json(replayer)));
  else for (const line of standing.lines(replayer)) output.line(line);
}

function showConsole(replayer: Replayer, output: Output): void {
  replayer.outputListeners.add((port, bytes) => {
    if (port === CONSOLE_PORT) output.bytes(bytes);
  });
}

/** Shows progress on the way; never stops anything. */
export function watched(replayer: Replayer, { path, reader }: OpenRecording, output: Output): Pick<Goal, "requested"> {
  const progress = new Progress(output, `replaying ${path}:`, reader.end.icount);
  return {
    requested() {
      progress.at(replayer.machine.icount);
      return false;
    },
  };
}
