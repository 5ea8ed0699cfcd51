/** POSITION|EXPR of a recording that runs again. */
import {
  Evaluator,
  type Goal,
  HotKind,
  journalCursor,
  MachineEnvironment,
  NO_EVENT,
  type ParsedExpression,
  type Position,
  type Replayer,
  startSeq,
  type SymbolTable,
} from "@hvjournal/core";
import type { RecordingReader } from "@hvjournal/journal";
import { findPlace } from "./open-recording.js";
import { parseStopCondition } from "./stop-condition.js";

export interface ReplayGoal {
  readonly goal: Goal;
  /** As the user wrote it. */
  readonly text: string;
  /** undefined: an expression. */
  readonly position: Position | undefined;
}

/** It must be asked between two events too: a search does that, and a goal does not. */
export function isChangedByInstructions({ changesWithUnits, loads }: ParsedExpression): boolean {
  return changesWithUnits || loads.length > 0;
}

/** Throws PositionError, CliError, ExpressionError. */
export function replayGoal(
  text: string,
  replayer: Replayer,
  reader: RecordingReader,
  symbols: SymbolTable,
): ReplayGoal {
  const condition = parseStopCondition(text);
  if (condition.form === "position") return { ...findPlace(text, reader), text };
  const evaluator = new Evaluator(condition.expression);
  const environment = new MachineEnvironment(replayer.machine, symbols);
  evaluator.evaluate(environment);
  evaluator.reset();
  const cursor = journalCursor(reader, startSeq(reader) + 1);
  for (; cursor.kind !== NO_EVENT && cursor.seq < replayer.nextSeq; cursor.next())
    if (cursor.kind === HotKind.outputProduced) evaluator.noteOutput(cursor.outputPort, cursor.outputBytes);
  replayer.outputListeners.add((port, bytes) => evaluator.noteOutput(port, bytes));
  return { goal: { atExit: () => evaluator.holds(environment) }, text, position: undefined };
}
