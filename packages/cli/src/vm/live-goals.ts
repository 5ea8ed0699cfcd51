/** `--until` and `--fail-on` of a VM that runs: moments that lie ahead, known only when they come. */
import {
  CONSOLE_PORT,
  ConsoleMatcher,
  Evaluator,
  exitNumberByName,
  ExitWord,
  HypercallExits,
  type Machine,
  MachineEnvironment,
  outcomeForm,
  type ParsedExpression,
  type Position,
  type Recorder,
  type SymbolTable,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { ConsoleFailure } from "./console-failure.js";
import { parseStopCondition } from "./stop-condition.js";

/** Something at which the run stops. */
export interface SessionGoal {
  readonly name: "until" | "fail-on" | "pause";
  /** As the user wrote it. */
  readonly text: string;
  readonly icount?: number;
  readonly guestTimeNs?: number;
  /** This many units behind the answer to an exit. */
  readonly behindExit?: { readonly number: number; readonly units: number };
  /** Asked at each exit, before it is answered. */
  readonly atExit?: () => boolean;
  /** Whether an EXPR held at the very first exit, without asking for it: nothing that the guest did made it so. */
  readonly heldFromStart?: () => boolean;
  /** A failure that shows on the console: the run goes on for what explains it. */
  readonly failure?: ConsoleFailure;
  /** Asked whenever output came. */
  readonly afterOutput?: (port: number, bytes: Uint8Array) => boolean;
}

export interface GoalTexts {
  readonly until: string | undefined;
  readonly failOn: string | undefined;
}

/** What a goal may ask of the VM. */
export type WatchedVm = Pick<Recorder, "machine">;

/** Reads the texts before anything is made. Throws as `liveGoals`, but for names that only a machine knows. */
export function checkGoals({ until, failOn }: GoalTexts): void {
  if (until !== undefined) parseStopCondition(until);
  const failure = failOn === undefined ? undefined : parseStopCondition(failOn);
  if (failure?.form === "position" && failure.position.at === "end")
    throw new UsageError("--fail-on end: every run ends, and that is no moment of it");
}

type Moment = Omit<SessionGoal, "name" | "text">;

/**
 * Where several come at the same moment, the first of these counts: what fails before what is done. Throws PositionError,
 * ExpressionError, or UsageError for a moment that only a finished recording has.
 */
export function liveGoals(texts: GoalTexts, vm: WatchedVm, symbols?: SymbolTable): SessionGoal[] {
  const goals: SessionGoal[] = [];
  for (const [name, text] of [
    ["fail-on", texts.failOn],
    ["until", texts.until],
  ] as const) {
    if (text === undefined) continue;
    const condition = parseStopCondition(text);
    const moment =
      condition.form === "expression"
        ? expressionMoment(condition.expression, vm.machine, symbols)
        : name === "fail-on"
          ? failureMoment(condition.position, `--${name} ${text}`, vm.machine)
          : positionMoment(condition.position, `--${name} ${text}`, vm.machine);
    if (moment !== undefined) goals.push({ name, text, ...moment });
  }
  return goals;
}

/** What to say of conditions that an exit may come too late for: nobody asks for registers and memory between two. */
export function goalNotes({ until, failOn }: GoalTexts): string[] {
  return Object.entries({ "--until": until, "--fail-on": failOn }).flatMap(([option, text]) => {
    const condition = text === undefined ? undefined : parseStopCondition(text);
    if (condition?.form !== "expression") return [];
    const { loads, source } = condition.expression;
    const isOfExits = /\bexit\./.test(source) || (loads.length === 0 && !source.includes("$"));
    return isOfExits
      ? []
      : [
          `note: ${option} '${source}' is asked at exits only: what comes and goes between two is missed; console:/RE/ is exact, and bisect --when finds the moment in the recording`,
        ];
  });
}

function failureMoment(position: Position, option: string, machine: Machine): Moment | undefined {
  if (position.at !== "console") return positionMoment(position, option, machine);
  const occurrence = checkedOccurrence(position.occurrence, option);
  return { failure: new ConsoleFailure(position.expression, occurrence, machine) };
}

/** undefined: the end, which comes by itself. `option`: for the error of a moment that can't be waited for. */
export function positionMoment(position: Position, option: string, machine: Machine): Moment | undefined {
  switch (position.at) {
    case "end":
      return undefined;
    case "exit":
      return position.unitsAfter === undefined
        ? { atExit: () => machine.exitNumber === position.number }
        : { behindExit: { number: position.number, units: position.unitsAfter } };
    case "icount":
      return { icount: position.icount };
    case "time":
      return { guestTimeNs: position.timeNs };
    case "console":
      return consoleMoment(position.expression, checkedOccurrence(position.occurrence, option));
    case "hypercall":
      return countedExit(checkedOccurrence(position.occurrence, option), hypercallTest(machine, position.function));
    case "reason":
      return countedExit(checkedOccurrence(position.occurrence, option), reasonTest(machine, position.reason, option));
    case "start":
    case "event":
    case "snapshot":
      throw new UsageError(`${option}: a VM that runs is stopped at an exit:, icount:, time:, console: or hypercall:`);
    default:
      return position satisfies never;
  }
}

function checkedOccurrence(occurrence: number, option: string): number {
  if (occurrence > 0) return occurrence;
  throw new UsageError(`${option}: which match is the last is known only at the end; count from #1`);
}

function consoleMoment(expression: RegExp, occurrence: number): Moment {
  const matcher = new ConsoleMatcher(expression);
  let left = occurrence;
  return {
    afterOutput(port, bytes) {
      if (port === CONSOLE_PORT) left -= matcher.pushAll(bytes);
      return left <= 0;
    },
  };
}

function countedExit(occurrence: number, isMatch: () => boolean): Moment {
  let left = occurrence;
  return {
    atExit() {
      if (isMatch()) left -= 1;
      return left <= 0;
    },
  };
}

function hypercallTest({ exitModel, architecture, kernel }: Machine, number: bigint): () => boolean {
  const exits = new HypercallExits(
    exitModel.reasons.map(({ name }) => name),
    architecture,
  );
  return () => exits.calls(kernel.exit, number);
}

function reasonTest(machine: Machine, reason: string, option: string): () => boolean {
  const { reasons } = machine.exitModel;
  const row = exitNumberByName(reasons, "reason", reason);
  const kvmExit = exitNumberByName(reasons, "kvm", reason);
  if (row === undefined && kvmExit === undefined)
    throw new UsageError(`${option}: this machine's exits are ${reasons.map(({ name }) => name).join(", ")}`);
  const [word, wanted] = row === undefined ? [ExitWord.kvmExit, kvmExit] : [ExitWord.reason, row];
  return () => BigInt(machine.kernel.exit[word] ?? 0) === wanted;
}

function expressionMoment(expression: ParsedExpression, machine: Machine, symbols: SymbolTable | undefined): Moment {
  const known = symbols && {
    find: (name: string) => symbols.find(name),
    at: (address: bigint) => symbols.at(address),
    adviceOn: () =>
      "a kernel's own names are not known before it runs: give --symbols vmlinux or System.map, or stop at console:/RE/; bisect --when finds it in the recording",
  };
  const environment = new MachineEnvironment(machine, known);
  // A name that does not exist is an error now, and not when the guest has run for an hour.
  new Evaluator(expression).evaluate(environment);
  const evaluator = new Evaluator(expression);
  const asksForExit = outcomeForm(expression) === "ever";
  let asked = 0;
  return {
    atExit() {
      asked += 1;
      return evaluator.holds(environment);
    },
    // The run ends at the first exit at which it holds.
    heldFromStart: () => asked === 1 && !asksForExit,
    afterOutput(port, bytes) {
      evaluator.noteOutput(port, bytes);
      return false;
    },
  };
}
