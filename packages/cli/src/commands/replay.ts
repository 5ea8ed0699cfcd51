/** `hvjournal replay`: run a recording again, stop anywhere. */
import { bisectWhenSteps, CONSOLE_PORT, type ParsedExpression, type Replayer } from "@hvjournal/core";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { showCommand } from "../output/show-command.js";
import { positionText, Standing } from "../output/standing.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { nameByGuest, nameByLastSnapshot } from "../symbols/guest-symbols.js";
import {
  unfinishedNote,
  checkReached,
  createReplayer,
  findPlace,
  liesBeforeEnd,
  type OpenRecording,
  positionMissing,
  withRecording,
} from "../vm/open-recording.js";
import { type Answer, tellChecked } from "../vm/checked-answer.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import { parseStopCondition } from "../vm/stop-condition.js";
import { isChangedByInstructions, replayGoal } from "../vm/replay-goal.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  flag,
  flagOption,
  listOption,
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
      .option(
        "until",
        textOption(
          "POSITION or EXPR to stop at (end); an EXPR over memory or registers: the first moment, between exits too",
        ),
      )
      .option("console", flagOption("print what the guest writes to its console")),
  run: (args, context) => {
    const path = recordingPath(args, context);
    const symbols = symbolsFromFiles(args);
    return withRecording(
      path,
      context,
      symbols,
      (recording) =>
        withLongAct({ act: `replaying ${path}`, total: recording.reader.end.icount, output: context.output }, (act) =>
          runReplay(recording, args, context, act),
        ),
      { salvage: isToMoment(args) },
    );
  },
};

function isToMoment(args: Arguments): boolean {
  const until = stringOption(args, "until");
  if (until === undefined) return false;
  const condition = parseStopCondition(until);
  return condition.form === "position" && liesBeforeEnd(condition.position);
}

async function runReplay(
  recording: OpenRecording,
  args: Arguments,
  { output }: CommandContext,
  act: LongAct,
): Promise<ExitCode> {
  const replayer = createReplayer(recording);
  const from = stringOption(args, "from");
  if (from !== undefined) {
    const place = findPlace(from, recording.reader);
    checkReached(await act.seek(replayer, place.goal), place, replayer, recording.path);
  }
  const until = stringOption(args, "until") ?? "end";
  const condition = parseStopCondition(until);
  // Expressions may name what only the guest knows.
  if (condition.form === "expression") nameByLastSnapshot(recording);
  const showsConsole = flag(args, "console") && !output.quiet;
  if (showsConsole) showConsole(replayer, output);
  let reachedEnd = false;
  if (condition.form === "expression" && isChangedByInstructions(condition.expression))
    await searchFor(condition.expression, replayer, recording, act);
  else reachedEnd = await advanceTo(until, replayer, recording, { isWhole: from !== undefined || showsConsole, act });
  const unfinished = reachedEnd ? unfinishedNote(recording) : undefined;
  if (unfinished !== undefined) output.note(`note: ${unfinished}`);
  const answer = standingAnswer(recording, replayer, { output, notes: notesOf(recording, unfinished) });
  if (reachedEnd) await tellChecked(recording, answer, { act, output });
  else if (output.json) output.line(jsonLine(answer.json));
  else answer.tell();
  if (!output.json)
    output.note(`next: ${showCommand(recording.path, positionText(replayer.machine), listOption(args, "symbols"))}`);
  return ExitStatus.done;
}

interface Note {
  readonly code: string;
  readonly text: string;
}

/** As `fsck` has them in its JSON. */
function notesOf({ reader }: OpenRecording, unfinished: string | undefined): Note[] {
  return [...reader.notes, ...(unfinished === undefined ? [] : [{ code: "unfinished", text: unfinished }])];
}

function standingAnswer(
  recording: OpenRecording,
  replayer: Replayer,
  { output, notes }: { readonly output: Output; readonly notes: readonly Note[] },
): Answer {
  if (output.json || !output.quiet) nameByGuest(recording.symbols, replayer.machine);
  const standing = new Standing(recording);
  return {
    json: output.json ? { ...standing.json(replayer), notes } : {},
    tell() {
      if (output.quiet) return;
      for (const line of standing.lines(replayer)) output.line(line);
    },
  };
}

/** Whether the end was reached. Throws CliError when the condition never comes. */
async function advanceTo(
  until: string,
  replayer: Replayer,
  recording: OpenRecording,
  { isWhole, act }: { readonly isWhole: boolean; readonly act: LongAct },
): Promise<boolean> {
  const { goal, text, position } = replayGoal(until, replayer, recording.reader, recording.symbols);
  // All of it is compared where all of it was asked for; a moment is reached by the shortest way.
  const goesAllTheWay = isWhole || position === undefined || position.at === "end";
  const result = goesAllTheWay ? await act.advance(replayer, goal) : await act.seek(replayer, goal);
  if (position !== undefined) checkReached(result, { position, goal }, replayer, recording.path);
  else if (result === "end") throw positionMissing(recording.path, recording.reader, `'${text}'`);
  return result === "end";
}

/** Stands at the first moment at which the expression holds, be it between two events. Throws CliError when there is none. */
async function searchFor(
  expression: ParsedExpression,
  replayer: Replayer,
  { path, reader, symbols }: OpenRecording,
  act: LongAct,
): Promise<void> {
  const search = bisectWhenSteps({
    replayer,
    expression,
    symbols,
    good: { seq: replayer.nextSeq - 1 },
    mayHoldAtGood: true,
    lastSeq: reader.end.firstSeq - 1,
  });
  const { first } = await act.run(search);
  if (first === undefined) throw positionMissing(path, reader, `'${expression.source}'`);
}

/** A search may go over a stretch twice; what the guest wrote there is printed once. */
function showConsole(replayer: Replayer, output: Output): void {
  let shown = 0;
  replayer.outputListeners.add((port, bytes, seq) => {
    if (port === CONSOLE_PORT && seq > shown) output.bytes(bytes);
    shown = Math.max(shown, seq);
  });
}
