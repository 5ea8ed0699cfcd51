/** POSITION|EXPR of a recording that runs again. */
import {
  Evaluator,
  type Goal,
  HotKind,
  journalCursor,
  MachineEnvironment,
  NO_EVENT,
  type Replayer,
  resolvePosition,
  startSeq,
  type SymbolTable,
} from "@hvjournal/core";
import { parseStopCondition } from "./stop-condition.js";

export interface ReplayGoal {
  readonly goal: Goal;
  /** As in an error: "exit:90000", or the expression. */
  readonly text: string;
  /** The recording's end is what was asked for. */
  readonly isEnd: boolean;
}

/** Throws PositionError, PositionNotFoundError, ExpressionError. */
export function replayGoal(text: string, replayer: Replayer, symbols: SymbolTable): ReplayGoal {
  const condition = parseStopCondition(text);
  if (condition.form === "position") {
    const { position } = condition;
    return { goal: resolvePosition(position, replayer.reader), text, isEnd: position.at === "end" };
  }
  const evaluator = new Evaluator(condition.expression);
  const environment = new MachineEnvironment(replayer.machine, symbols);
  evaluator.evaluate(environment);
  evaluator.reset();
  const { reader } = replayer;
  const cursor = journalCursor(reader, startSeq(reader) + 1);
  for (; cursor.kind !== NO_EVENT && cursor.seq < replayer.nextSeq; cursor.next())
    if (cursor.kind === HotKind.outputProduced) evaluator.noteOutput(cursor.outputPort, cursor.outputBytes);
  replayer.outputListeners.add((port, bytes) => evaluator.noteOutput(port, bytes));
  return { goal: { atExit: () => evaluator.holds(environment) }, text, isEnd: false };
}
