/** `hvjournal stat`: exits by reason, as perf kvm stat. */
import {
  type EventCursor,
  ExitWord,
  GUEST_NANOSECONDS_PER_UNIT,
  HotKind,
  journalCursor,
  NO_EVENT,
  parseRange,
  type Replayer,
  resolveRange,
  seek,
  type SeqRange,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { ExitStatistics, SORT_KEYS, STAT_EVENTS, type StatRow, type StatTotals } from "../output/exit-statistics.js";
import { recordingWords, wordsOption } from "../recording-path.js";
import { Symbols } from "../symbols/symbols.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import { createReplayer, type OpenRecording, withRecording } from "../vm/open-recording.js";
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

/** Of a table for people; `--json` has every row. */
const ROWS_MAX = 20;
const WHOLE = { from: undefined, to: undefined };

export const stat: Command = {
  usage: "stat [words..]",
  summary: "exits by reason: stat [RECORDING] [RANGE]",
  options: (yargs) =>
    wordsOption(yargs)
      .usage("usage: $0 stat [RECORDING] [A..B] [OPTIONS]")
      .option("event", textOption(`rows for: ${STAT_EVENTS.join(", ")}`))
      .option("key", { ...textOption(`sorted by: ${SORT_KEYS.join(", ")}`), alias: "k" })
      .option("vcpu", textOption("of one vCPU"))
      .option("max-count", { ...textOption(`at most so many rows (${ROWS_MAX})`), alias: "n" })
      .option("all", flagOption("every row, however many"))
      .option("host", flagOption("replay, and measure what finishing each exit costs on this host")),
  run: (args, context) => {
    const { path, place } = recordingWords(args, context, "range");
    return withRecording(path, context, new Symbols(), (recording) =>
      withLongAct({ act: `reading ${path}`, total: recording.reader.end.icount, output: context.output }, (act) =>
        runStat(recording, place, args, { ...context, act }),
      ),
    );
  },
};

function choice<Name extends string>(args: Arguments, option: string, names: readonly Name[], otherwise: Name): Name {
  const text = stringOption(args, option) ?? otherwise;
  const found = names.find((name) => name === text);
  if (found === undefined) throw new UsageError(`--${option} ${text}: ${names.join(", ")}`);
  return found;
}

function rowsMax(args: Arguments): number {
  return flag(args, "all") ? Infinity : (countOption(args, "max-count") ?? ROWS_MAX);
}

async function runStat(
  recording: OpenRecording,
  place: string | undefined,
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  const event = choice(args, "event", STAT_EVENTS, "vmexit");
  const key = choice(args, "key", SORT_KEYS, "sample");
  const isMeasured = flag(args, "host") || key === "host";
  const range = resolveRange(place === undefined ? WHOLE : parseRange(place), recording.reader, recording.architecture);
  const statistics = new ExitStatistics(recording, event);
  const vcpu = stringOption(args, "vcpu");
  const measure = isMeasured ? hostMeasure(recording, range) : undefined;
  await eachExit(recording, range, act, (cursor) => {
    const isCounted = vcpu === undefined || String(cursor.exit[ExitWord.vcpu]) === vcpu;
    const row = isCounted ? statistics.count(cursor) : undefined;
    measure?.(cursor, row);
  });
  const totals = timesOf(recording, range);
  statistics.setIdle(totals.idleNs);
  if (output.json) {
    for (const row of statistics.sorted(key))
      output.line(jsonLine({ event, ...row, first: `exit:${row.first}`, last: `exit:${row.last}` }));
    output.line(jsonLine({ total: statistics.total, timeNs: totals.timeNs, idleNs: totals.idleNs }));
  } else for (const line of statistics.lines(key, totals, rowsMax(args))) output.line(line);
  return ExitStatus.done;
}

async function eachExit(
  { reader }: OpenRecording,
  range: SeqRange,
  act: LongAct,
  visit: (cursor: EventCursor) => void,
): Promise<void> {
  for (
    const cursor = journalCursor(reader, range.first);
    cursor.kind !== NO_EVENT && cursor.seq <= range.last;
    cursor.next()
  ) {
    if (act.isTurnDue) await act.turn({ exitNumber: cursor.exitsBefore, icount: cursor.icount });
    if (cursor.kind === HotKind.exited) visit(cursor);
  }
}

type Measure = (cursor: EventCursor, row: StatRow | undefined) => void;

/** A replay that goes along: from each exit to behind its answer, by this host's clock. */
function hostMeasure(recording: OpenRecording, range: SeqRange): Measure {
  const replayer = createReplayer(recording);
  seek(replayer, { seq: Math.max(range.first - 1, replayer.nextSeq - 1) });
  return (cursor, row) => {
    const exitNumber = cursor.exitsBefore + 1;
    replayer.advance({ exitNumber });
    const before = process.hrtime.bigint();
    replayer.advance({ exitNumber, unitsAfter: 0 });
    if (row !== undefined) row.hostNs = (row.hostNs ?? 0) + Number(process.hrtime.bigint() - before);
  };
}

/** Guest time between the ends of a range, and what of it was skipped: all that no unit accounts for. */
function timesOf(recording: OpenRecording, range: SeqRange): StatTotals {
  const [from, to] = [momentAt(recording, range.first - 1), momentAt(recording, range.last)];
  const timeNs = to.timeNs - from.timeNs;
  return { timeNs, idleNs: timeNs - (to.icount - from.icount) * GUEST_NANOSECONDS_PER_UNIT };
}

interface Moment {
  readonly icount: number;
  readonly timeNs: number;
}

/** Events carry no guest time: a snapshot of that moment does, or a replay finds it. */
function momentAt(recording: OpenRecording, seq: number): Moment {
  const { reader } = recording;
  const [base] = reader.snapshots();
  // A snapshot is followed by the event that says so.
  const head =
    base !== undefined && seq <= base.seq
      ? base
      : reader.snapshots().find((each) => seq === each.seq || seq === each.seq + 1);
  if (head !== undefined) return { icount: head.icount, timeNs: head.guestTimeNs };
  const replayer: Replayer = createReplayer(recording);
  seek(replayer, { seq });
  return { icount: replayer.machine.icount, timeNs: replayer.machine.guestTimeNs };
}
