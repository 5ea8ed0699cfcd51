/** `bisect GOOD --with ...` and `bisect GOOD BAD`: which of several changes did it? */
import {
  ControlRefusedError,
  MachineDescriptionError,
  minimizeChanges,
  type MinimizeResult,
  parseExpression,
  shellCommand,
  type Verdict,
} from "@hvjournal/core";
import { BootError } from "@hvjournal/vmm";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, type CommandContext, listOption, stringOption } from "../commands/command.js";
import { timeOption } from "../commands/verify.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { effectLines, firstEffect, type FirstEffect } from "../output/first-effect.js";
import { counted } from "../output/value-text.js";
import { defaultRecording } from "../recording-path.js";
import { symbolsFromFiles } from "../symbols/symbol-files.js";
import { withLongAct } from "../vm/long-act.js";
import { clearOutput } from "../vm/new-recording.js";
import { type OpenRecording, withRecording } from "../vm/open-recording.js";
import { checkBeginsAtStart, defaultTimeNs, type Rerun, rerunRecording, refusedText } from "../vm/rerun-recording.js";
import { withScratchDirectory } from "../vm/scratch-directory.js";
import { type Differences, differencesBetween, differencesWith } from "./differences.js";
import { judgeByGoals } from "./recorded-goals.js";
import {
  judgeByCommand,
  judgeByExpression,
  judgeByLikeness,
  type RunVerdict,
  type VerdictOfRun,
} from "./run-judges.js";

export function bisectChanges(args: Arguments, context: CommandContext): Promise<ExitCode> {
  const words = listOption(args, "words");
  const texts = listOption(args, "with");
  const [goodPath = defaultRecording(args, context), badPath, ...more] = words;
  if (more.length > 0)
    throw new UsageError(`${words.join(" ")}: expected GOOD, or GOOD BAD`, "hvjournal bisect --help");
  if (badPath !== undefined && texts.length > 0)
    throw new UsageError(
      `--with ${texts[0] ?? ""}: ${badPath} already says what is changed`,
      "hvjournal bisect --help",
    );
  return withRecording(goodPath, context, symbolsFromFiles(args), async (good) => {
    checkBeginsAtStart(good, context.argv);
    if (badPath === undefined) {
      const search = {
        good,
        differences: await differencesWith(good, texts, context.output),
        judge: judgeOf(args, context, good),
      };
      return runSearch({ ...search, args, context });
    }
    return withRecording(badPath, context, symbolsFromFiles(args), async (bad) => {
      checkBeginsAtStart(bad, context.argv);
      if (good.architecture.name !== bad.architecture.name)
        throw new UsageError(`${good.path} is of ${good.architecture.name}, ${bad.path} of ${bad.architecture.name}`);
      const differences = differencesBetween(good, bad);
      return runSearch({ good, differences, judge: judgeOf(args, context, good, bad), args, context });
    });
  });
}

function judgeOf(
  args: Arguments,
  { runCommand }: CommandContext,
  good: OpenRecording,
  bad?: OpenRecording,
): VerdictOfRun {
  const expect = stringOption(args, "expect");
  if (expect !== undefined && runCommand !== undefined)
    throw new UsageError("bisect takes either --expect EXPR or --run COMMAND", "hvjournal bisect --help");
  if (expect !== undefined) return judgeByExpression(parseExpression(expect), good);
  if (runCommand !== undefined) {
    if (runCommand.length === 0) throw new UsageError("--run needs a command");
    return judgeByCommand(runCommand);
  }
  if (bad !== undefined) return judgeByGoals(good, bad) ?? judgeByLikeness(good, bad);
  throw new UsageError("bisect --with needs --expect EXPR or --run COMMAND: what is good", "hvjournal bisect --help");
}

interface Search {
  readonly good: OpenRecording;
  readonly differences: Differences;
  readonly judge: VerdictOfRun;
  readonly args: Arguments;
  readonly context: CommandContext;
}

async function runSearch(search: Search): Promise<ExitCode> {
  const { good, differences, judge, args, context } = search;
  const { output } = context;
  if (differences.texts.length === 0)
    throw new CliError(`nothing differs from the machine of ${good.path}, so no change did it`, {
      code: "no-difference",
      status: ExitStatus.no,
      next: shellCommand("hvjournal", "verify", good.path),
    });
  output.note(`${counted(differences.texts.length, "difference")}; inputs of ${good.path} re-driven`);
  for (const [index, { what, how }] of differences.texts.entries()) output.note(`  ${index + 1}  ${what}  ${how}`);
  if (judge.badMeans !== undefined) output.note(`bad means: ${judge.badMeans}`);
  const keep = stringOption(args, "keep");
  if (keep !== undefined) {
    mkdirSync(keep, { recursive: true });
    return searchIn(keep, search);
  }
  return withScratchDirectory((directory) => searchIn(directory, search));
}

async function searchIn(directory: string, search: Search): Promise<ExitCode> {
  const runs = new Runs(directory, search);
  const result = await minimizeChanges(search.differences.texts.length, (applied) => runs.test(applied));
  return report(result, runs, search);
}

interface DoneRun {
  readonly number: number;
  readonly applied: readonly number[];
  readonly verdict: Verdict;
  /** undefined: it could not be made. */
  readonly path: string | undefined;
}

/** Makes runs, and says of each what it was. */
class Runs {
  readonly done: DoneRun[] = [];
  readonly #directory: string;
  readonly #search: Search;
  #untilNs: number;

  constructor(directory: string, search: Search) {
    this.#directory = directory;
    this.#search = search;
    this.#untilNs = timeOption(search.args, "timeout") ?? defaultTimeNs(search.differences.acts);
  }

  async test(applied: readonly number[]): Promise<Verdict> {
    const number = this.done.length + 1;
    const path = join(this.#directory, `bisect-${number}.hvj`);
    clearOutput({ path, isNamed: false, force: false, argv: [] });
    const { verdict, why } = await this.#run(applied, path, number);
    this.done.push({ number, applied, verdict, path: existsSync(path) ? path : undefined });
    const { output } = this.#search.context;
    const which = this.#setText(applied);
    output.note(`  run ${number}  ${which.padEnd(10)}  ${verdict}${why === undefined ? "" : `: ${why}`}`);
    return verdict;
  }

  #setText(applied: readonly number[]): string {
    return setText(applied, this.#search.differences.texts.length);
  }

  async #run(applied: readonly number[], path: string, number: number): Promise<RunVerdict> {
    const { good, differences, judge, context } = this.#search;
    try {
      const run = await rerunRecording({
        ...{ recording: good, path, isKept: false, untilNs: this.#untilNs, output: context.output },
        ...differences.with(applied),
        by: "bisect",
        judge: (recorder) => judge.begin(recorder),
        act: `run ${number}`,
      });
      const [refused] = run.refused;
      if (refused !== undefined) return { verdict: "skip", why: refusedText(refused) };
      const verdict = judge.end(run, path);
      this.#boundBy(run, verdict.verdict);
      return { why: shortfall(run, this.#search.args), ...verdict };
    } catch (error) {
      const why = refusal(error);
      if (why === undefined) throw error;
      return { verdict: "skip", why };
    }
  }

  /** A good run that was told early says how long another needs at most; a time that was asked for stays. */
  #boundBy({ why, recorder }: Rerun, verdict: Verdict): void {
    if (verdict !== "good" || why !== "decided" || this.#search.args["timeout"] !== undefined) return;
    this.#untilNs = Math.min(
      this.#untilNs,
      defaultTimeNs({ ...this.#search.differences.acts, endNs: recorder.machine.guestTimeNs }),
    );
  }
}

/** That what came from outside did not all come up in a run which had its time, or that it had less than it may have needed. */
function shortfall({ why, inputs }: Rerun, args: Arguments): string | undefined {
  const { count } = inputs.left;
  if (why !== "decided" && count > 0) return `${count} of ${counted(inputs.count, "input")} never came up`;
  const timeout = stringOption(args, "timeout");
  return why === "time" && timeout !== undefined ? `it still ran at --timeout ${timeout}` : undefined;
}

/** What the rules, options that exclude each other, or a loader say of a machine that can't be made; undefined: that is not what is wrong. */
function refusal(error: unknown): string | undefined {
  const isRefusal =
    error instanceof ControlRefusedError ||
    error instanceof MachineDescriptionError ||
    error instanceof BootError ||
    error instanceof UsageError;
  return isRefusal ? error.message : undefined;
}

/** "none", "all", "1-3, 5" */
export function setText(applied: readonly number[], count: number): string {
  if (applied.length === 0) return "none";
  if (applied.length === count && count > 1) return "all";
  const ranges: [number, number][] = [];
  for (const index of applied) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === index) last[1] = index + 1;
    else ranges.push([index + 1, index + 1]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}

function report(result: MinimizeResult, runs: Runs, search: Search): Promise<ExitCode> {
  const { good, context } = search;
  const find = (applied: readonly number[]): DoneRun | undefined =>
    runs.done.find((run) => run.applied.join(",") === applied.join(","));
  const [none, bad] = [find([]), find(result.cause)];
  if (none?.path === undefined || bad?.path === undefined)
    throw new CliError("a run has no recording", { code: "bug" });
  const shownPath = keptPath(bad.path, search);
  return withRecording(none.path, context, good.symbols, (unchanged) =>
    withRecording(shownPath, context, good.symbols, async (failing) => {
      const act = `comparing ${good.path} and ${shownPath}`;
      const effect = await withLongAct({ act, total: 0, output: context.output }, (longAct) =>
        longAct.run(firstEffect(good, unchanged, failing)),
      );
      tell({ result, runs, effect, shownPath }, search);
      return ExitStatus.done;
    }),
  );
}

/** The run that shows it stays where the user is, kept or not. */
function keptPath(path: string, { args }: Search): string {
  if (stringOption(args, "keep") !== undefined) return path;
  const kept = basename(path);
  clearOutput({ path: kept, isNamed: false, force: false, argv: [] });
  copyFileSync(path, kept);
  return kept;
}

interface Found {
  readonly result: MinimizeResult;
  readonly runs: Runs;
  readonly effect: FirstEffect | undefined;
  readonly shownPath: string;
}

function tell(found: Found, search: Search): void {
  const {
    differences,
    good,
    context: { output },
  } = search;
  const { result, effect, shownPath } = found;
  const next = shellCommand("hvjournal", "diff", good.path, shownPath);
  if (output.json) {
    tellJson(found, search, next);
    return;
  }
  const lines = result.cause.map((index) => {
    const { what = "", how = "" } = differences.texts[index] ?? {};
    return `${what}  ${how}`;
  });
  const head = `caused by ${result.cause.length} of ${differences.texts.length}:  `;
  for (const [index, line] of lines.entries()) output.line(`${index === 0 ? head : " ".repeat(head.length)}${line}`);
  if (effect !== undefined) {
    output.line("first effect");
    for (const line of effectLines(effect)) output.line(line);
  }
  output.note(`next: ${next}`);
}

function tellJson({ result, runs, effect }: Found, { differences, judge, context }: Search, next: string): void {
  const numbered = (applied: readonly number[]): number[] => applied.map((index) => index + 1);
  context.output.line(
    jsonLine({
      differences: differences.texts,
      badMeans: judge.badMeans,
      runs: runs.done.map(({ number, applied, verdict }) => ({ number, applied: numbered(applied), verdict })),
      cause: numbered(result.cause),
      firstEffect: effect,
      next,
    }),
  );
}
