/** `hvjournal log`: events, oldest first, one a line. */
import {
  CONSOLE_PORT,
  controlHistory,
  controlPatches,
  type ControlState,
  CoreKind,
  Evaluator,
  type EventCursor,
  EventKinds,
  evolveControl,
  ExitWord,
  type ExpressionEnvironment,
  firstSeqOf,
  HotKind,
  isControlKind,
  journalCursor,
  JournalEnvironment,
  MachineEnvironment,
  nearestWord,
  NO_EVENT,
  type ParsedExpression,
  parseExpression,
  parseRange,
  type PositionRange,
  reasonMatcher,
  type Replayer,
  resolveRange,
  ROW_EVENT,
  seek,
  type SeqRange,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { nodeDigester } from "../host/node-digester.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { patchText } from "../output/control-changes.js";
import { ConsoleLines } from "../output/console-lines.js";
import { EventColumns, type EventLine, EventLines, kindOf, shortKind } from "../output/event-lines.js";
import { ExitText } from "../output/exit-text.js";
import { carriedExit, firstAnswer } from "../output/recorded-call.js";
import { wordsOption, recordingWords } from "../recording-path.js";
import { nameByLastSnapshot } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { type LongAct, type Reached, withLongAct } from "../vm/long-act.js";
import { createReplayer, liesBeforeEnd, type OpenRecording, withRecording } from "../vm/open-recording.js";
import {
  type Arguments,
  type Command,
  type CommandContext,
  countOption,
  flag,
  flagOption,
  stringOption,
  textOption,
} from "./command.js";

/** So many lines are aligned with each other before any is printed. */
const LINES_PER_CHUNK = 1000;
const WHOLE: PositionRange = { from: undefined, to: undefined };

export const log: Command = {
  usage: "log [words..]",
  summary: "events: log [RECORDING] [RANGE]",
  options: (yargs) =>
    symbolOptions(wordsOption(yargs))
      .usage("usage: $0 log [RECORDING] [A..B] [OPTIONS]")
      .option("control", flagOption("decisions of the VMM: capabilities, filters, firmware registers"))
      .option("exits", flagOption("exits and their answers"))
      .option("inputs", flagOption("what came from outside"))
      .option("hypercalls", flagOption("hypercalls, each with its answer"))
      .option("console", flagOption("what the guest wrote to its console, line by line"))
      .option("kind", textOption("kinds of events: Exited,IrqLineSet,..."))
      .option("reason", textOption("exits by reason: DABT_LOW,HVC64,..."))
      .option("vcpu", textOption("of one vCPU"))
      .option("where", textOption("EXPR that holds at the event"))
      .option("max-count", { ...textOption("at most so many events, or lines of the console"), alias: "n" })
      .option("patch", { ...flagOption("below a control event, what it changed"), alias: "p" })
      .option("reverse", flagOption("newest first")),
  run: (args, context) => {
    const { path, place } = recordingWords(args, context, "range");
    const range = place === undefined ? WHOLE : parseRange(place);
    return withRecording(
      path,
      context,
      symbolsFromFiles(args),
      (recording) =>
        withLongAct({ act: `reading ${path}`, total: recording.reader.end.icount, output: context.output }, (act) =>
          runLog(recording, range, args, { ...context, act }),
        ),
      {
        salvage: range.to !== undefined && [range.from ?? range.to, range.to].every(liesBeforeEnd),
      },
    );
  },
};

type Filter = (cursor: EventCursor) => boolean;

async function runLog(
  recording: OpenRecording,
  positions: PositionRange,
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  const range = resolveRange(positions, recording.reader, recording.architecture);
  const filter = eventFilter(recording, args, range);
  nameByLastSnapshot(recording);
  output.startPager();
  const control = flag(args, "patch") ? controlBefore(recording, range) : undefined;
  const hasPending = asksForPending(recording, args, range);
  const printer = new Printer(recording, output, { range, hasPending, control, joinsConsole: isConsoleAlone(args) });
  const most = countOption(args, "max-count") ?? Infinity;
  if (flag(args, "reverse")) await printReversed(recording, range, filter, most, { printer, act });
  else await printForwards(recording, range, filter, most, { printer, act });
  return ExitStatus.done;
}

interface Reading {
  readonly printer: Printer;
  readonly act: LongAct;
}

function reachedBy({ exitsBefore, icount }: EventCursor): Reached {
  return { exitNumber: exitsBefore, icount };
}

async function printForwards(
  { reader }: OpenRecording,
  range: SeqRange,
  filter: Filter,
  most: number,
  { printer, act }: Reading,
): Promise<void> {
  for (
    const cursor = journalCursor(reader, range.first);
    isWithin(cursor, range) && printer.count < most;
    cursor.next()
  ) {
    if (act.isTurnDue) await act.turn(reachedBy(cursor));
    if (!filter(cursor)) {
      printer.pass(cursor);
      continue;
    }
    printer.add(cursor);
    if (printer.isFull && !(await printer.print())) return;
  }
  if (printer.count < most) printer.addRest();
  await printer.print();
}

/** The newest of a recording are its end: only as many as are wanted are kept. */
async function printReversed(
  { reader }: OpenRecording,
  range: SeqRange,
  filter: Filter,
  most: number,
  { printer, act }: Reading,
): Promise<void> {
  for (const cursor = journalCursor(reader, range.first); isWithin(cursor, range); cursor.next()) {
    if (act.isTurnDue) await act.turn(reachedBy(cursor));
    if (!filter(cursor)) {
      printer.pass(cursor);
      continue;
    }
    printer.add(cursor);
    // Twice as many are kept, so that few are moved.
    if (printer.waiting > 2 * most) printer.keepLast(most);
  }
  printer.addRest();
  printer.keepLast(most);
  printer.reverse();
  await printer.print();
}

function isWithin(cursor: EventCursor, { last }: SeqRange): boolean {
  return cursor.kind !== NO_EVENT && cursor.seq <= last;
}

interface PrintedLine extends EventLine {
  readonly changes: readonly string[];
}

interface PrinterOptions {
  readonly range: SeqRange;
  /** Whether the call that came with the VM, and has no answer, is one of the lines. */
  readonly hasPending: boolean;
  /** Before the range, where changes are to be printed. */
  readonly control: ControlState | undefined;
  /** Whether the console's bytes are joined to lines. */
  readonly joinsConsole: boolean;
}

class Printer {
  readonly #recording: OpenRecording;
  readonly #output: Output;
  readonly #lines: EventLines;
  readonly #console: ConsoleLines | undefined;
  readonly #columns = new EventColumns();
  #waiting: PrintedLine[] = [];
  #control: ControlState | undefined;
  /** Lines that were added. */
  count = 0;

  constructor(recording: OpenRecording, output: Output, { range, hasPending, control, joinsConsole }: PrinterOptions) {
    this.#recording = recording;
    this.#output = output;
    this.#lines = new EventLines(recording, range.last);
    this.#console = joinsConsole ? new ConsoleLines() : undefined;
    this.#control = control;
    const pending = hasPending ? this.#lines.pendingLine() : undefined;
    if (pending !== undefined) this.#wait([pending], []);
  }

  get isFull(): boolean {
    return this.#waiting.length >= LINES_PER_CHUNK;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(cursor: EventCursor): void {
    const lines = this.#console?.push(cursor) ?? [this.#lines.line(cursor)];
    this.#wait(lines, this.#changes(cursor));
  }

  /** What has begun and not come to its end. */
  addRest(): void {
    this.#wait(this.#console?.rest() ?? [], []);
  }

  #wait(lines: readonly EventLine[], changes: readonly string[]): void {
    this.count += lines.length;
    this.#waiting.push(...lines.map((line) => ({ ...line, changes })));
  }

  /** An event that is not printed changes the configuration all the same. */
  pass(cursor: EventCursor): void {
    this.#lines.pass(cursor);
    this.#changes(cursor);
  }

  #changes(cursor: EventCursor): string[] {
    const { architecture } = this.#recording;
    const before = this.#control;
    if (before === undefined || cursor.kind !== ROW_EVENT || !isControlKind(architecture, cursor.row.kind)) return [];
    this.#control = evolveControl(architecture, before, cursor.row, cursor.seq);
    return controlPatches(before, this.#control).map(patchText);
  }

  keepLast(count: number): void {
    if (this.#waiting.length > count) this.#waiting = this.#waiting.slice(-count);
  }

  reverse(): void {
    this.#waiting.reverse();
  }

  /** False: nobody reads on. */
  async print(): Promise<boolean> {
    this.#columns.fit(this.#waiting);
    for (const line of this.#waiting) {
      const changes = line.changes.length === 0 ? {} : { changes: line.changes };
      if (this.#output.json) this.#output.line(jsonLine({ ...line.json, ...changes }));
      else {
        this.#output.line(this.#columns.text(line));
        for (const change of line.changes) this.#output.line(`    ${change}`);
      }
    }
    this.#waiting = [];
    return this.#output.flush();
  }
}

function controlBefore({ architecture, reader }: OpenRecording, range: SeqRange): ControlState {
  return controlHistory(architecture, reader, { first: 1, last: range.first - 1 }).state;
}

/** All that were asked for must hold; of the groups (--exits, --control ...) any one. */
function eventFilter(recording: OpenRecording, args: Arguments, range: SeqRange): Filter {
  const filters = [
    groupFilter(recording, args),
    kindFilter(recording, stringOption(args, "kind")),
    reasonFilter(recording, stringOption(args, "reason")),
    vcpuFilter(recording, stringOption(args, "vcpu")),
    whereFilter(recording, stringOption(args, "where"), range),
  ].filter((filter) => filter !== undefined);
  return (cursor) => filters.every((filter) => filter(cursor));
}

const GROUPS = ["control", "exits", "inputs", "hypercalls", "console"] as const;

/** A call that came with the VM has no event here: it is told among the hypercalls, unless anything else is asked of an event. */
function asksForPending({ reader }: OpenRecording, args: Arguments, { first }: SeqRange): boolean {
  const isFiltered = ["kind", "reason", "vcpu", "where"].some((name) => args[name] !== undefined);
  return flag(args, "hypercalls") && !isFiltered && first <= firstSeqOf(reader);
}

/** Where other events stand between the bytes of a line, they are not joined. */
function isConsoleAlone(args: Arguments): boolean {
  const chosen = GROUPS.filter((group) => flag(args, group));
  return chosen.length === 1 && chosen[0] === "console";
}

function groupFilter(recording: OpenRecording, args: Arguments): Filter | undefined {
  const { architecture } = recording;
  const kinds = new EventKinds(architecture.control.kinds);
  const exits = new ExitText(recording);
  const carried = flag(args, "hypercalls") ? carriedExit(recording) : undefined;
  const isCarriedCall = carried !== undefined && exits.isHypercall(carried.frame);
  const carriedAnswer = isCarriedCall ? firstAnswer(recording.reader, carried) : undefined;
  const groups: Readonly<Record<(typeof GROUPS)[number], Filter>> = {
    control: (cursor) => cursor.kind === ROW_EVENT && isControlKind(architecture, cursor.row.kind),
    exits: (cursor) => isExitOrAnswer(cursor.kind),
    inputs: (cursor) => cursor.kind === ROW_EVENT && kinds.of(cursor.row).role === "outside input",
    // The line of the exit has the answer too.
    hypercalls: (cursor) =>
      (cursor.kind === HotKind.exited && exits.isHypercall(cursor.exit)) || cursor.seq === carriedAnswer,
    console: (cursor) => cursor.kind === HotKind.outputProduced && cursor.outputPort === CONSOLE_PORT,
  };
  const chosen = GROUPS.filter((name) => flag(args, name)).map((name) => groups[name]);
  return chosen.length === 0 ? undefined : (cursor) => chosen.some((filter) => filter(cursor));
}

function isExitOrAnswer(kind: number): boolean {
  return kind === HotKind.exited || kind === HotKind.exitHandled || kind === HotKind.exitCompleted;
}

function isAnswerRow(kind: string): boolean {
  return kind === CoreKind.registerSet.name || kind === CoreKind.callReturned.name;
}

/** Exits that match, and their answers: results, and registers that the VMM half set. */
function followingExits(isMatch: Filter): Filter {
  let follows = false;
  return (cursor) => {
    if (cursor.kind === HotKind.exited) {
      follows = isMatch(cursor);
      return follows;
    }
    return follows && (isExitOrAnswer(cursor.kind) || (cursor.kind === ROW_EVENT && isAnswerRow(cursor.row.kind)));
  };
}

function noKind(name: string, known: readonly string[]): UsageError {
  const meant = nearestWord(name, [...known, ...known.map(shortKind)]);
  const suggestion = meant === undefined ? "" : `; did you mean ${meant}?`;
  return new UsageError(`--kind ${name}: kinds are ${known.join(", ")}${suggestion}`);
}

function kindFilter({ architecture }: OpenRecording, text: string | undefined): Filter | undefined {
  if (text === undefined) return undefined;
  const known = new EventKinds(architecture.control.kinds).all.map(({ name }) => name);
  const wanted = new Set(
    text.split(",").map((name) => {
      const found = known.find((each) => each === name || shortKind(each) === name);
      if (found === undefined) throw noKind(name, known);
      return found;
    }),
  );
  return (cursor) => wanted.has(kindOf(cursor));
}

function reasonFilter({ reader }: OpenRecording, text: string | undefined): Filter | undefined {
  if (text === undefined) return undefined;
  const matchers = text.split(",").map((reason) => reasonMatcher(reader, reason));
  return followingExits((cursor) => matchers.some((matches) => matches(cursor)));
}

function vcpuFilter({ description }: OpenRecording, text: string | undefined): Filter | undefined {
  if (text === undefined) return undefined;
  const vcpu = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(vcpu < description.vcpuCount)) throw new UsageError(`--vcpu ${text}: the machine has ${description.vcpuCount}`);
  const ofExit = followingExits((cursor) => cursor.exit[ExitWord.vcpu] === vcpu);
  return (cursor) => {
    const isOfExit = ofExit(cursor);
    return isOfExit || (cursor.kind === ROW_EVENT && cursor.row.vcpu === vcpu);
  };
}

/** What asks for registers or memory is answered by a replay that goes along. */
function whereFilter(recording: OpenRecording, text: string | undefined, range: SeqRange): Filter | undefined {
  if (text === undefined) return undefined;
  const expression = parseExpression(text);
  return expression.needsState ? stateFilter(recording, expression, range) : journalFilter(recording, expression);
}

function journalFilter({ reader, architecture, symbols }: OpenRecording, expression: ParsedExpression): Filter {
  const evaluator = new Evaluator(expression);
  let environment: ExpressionEnvironment | undefined;
  return (cursor) => {
    environment ??= new JournalEnvironment({ reader, architecture, digester: nodeDigester, symbols }, cursor);
    if (cursor.kind === HotKind.outputProduced) evaluator.noteOutput(cursor.outputPort, cursor.outputBytes);
    return evaluator.holds(environment);
  };
}

function stateFilter(recording: OpenRecording, expression: ParsedExpression, range: SeqRange): Filter {
  const evaluator = new Evaluator(expression);
  let going: { readonly replayer: Replayer; readonly environment: MachineEnvironment } | undefined;
  const start = (): NonNullable<typeof going> => {
    const replayer = createReplayer(recording);
    seek(replayer, { seq: range.first - 1 });
    replayer.outputListeners.add((port, bytes) => evaluator.noteOutput(port, bytes));
    return { replayer, environment: new MachineEnvironment(replayer.machine, recording.symbols) };
  };
  return ({ seq }) => {
    going ??= start();
    going.replayer.advance({ seq });
    return evaluator.holds(going.environment);
  };
}
