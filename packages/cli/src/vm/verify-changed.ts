/** `verify` of a machine that was changed: by the exits that reach the VMM half, or by what becomes of it. */
import {
  ControlRefusedError,
  ExitSequenceComparison,
  type GuestStop,
  type Machine,
  Outcome,
  outsideActs,
  type ParsedExpression,
  type Recorder,
  shellCommand,
} from "@hvjournal/core";
import { join } from "node:path";
import { CliError } from "../cli-error.js";
import { type Arguments, type CommandContext, flag, stringOption } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { watchOptions } from "../handlers/handler-option.js";
import { type ChangeText, changedLines, changeText } from "../output/change-text.js";
import { exitSequenceReport } from "../output/exit-sequence-report.js";
import { handlerFailure } from "../output/handler-failure-report.js";
import { heldFromStartText, momentText, stopText } from "../output/record-report.js";
import { counted } from "../output/value-text.js";
import { type Answer, tellChecked } from "./checked-answer.js";
import { withLongAct } from "./long-act.js";
import type { MachineChange, MachinePlan } from "./machine-plan.js";
import { clearOutput } from "./new-recording.js";
import { endingText, type OpenRecording } from "./open-recording.js";
import {
  defaultTimeNs,
  refusedMachine,
  type Rerun,
  rerunJson,
  rerunNotes,
  rerunRecording,
  type RunJudge,
} from "./rerun-recording.js";
import { withScratchDirectory } from "./scratch-directory.js";

export interface ChangedVerification {
  readonly recording: OpenRecording;
  readonly plan: MachinePlan;
  readonly changes: readonly MachineChange[];
  readonly level: "exits" | "outcome";
  readonly expression: ParsedExpression | undefined;
  readonly timeoutNs: number | undefined;
  readonly hostTimeoutMs: number | undefined;
  readonly args: Arguments;
  readonly context: CommandContext;
}

export function verifyChanged(what: ChangedVerification): Promise<ExitCode> {
  const kept = stringOption(what.args, "output");
  if (kept === undefined)
    return withScratchDirectory((directory) => verifyInto(join(directory, "run.hvj"), false, what));
  clearOutput({ path: kept, isNamed: true, force: flag(what.args, "force"), argv: process.argv.slice(2) });
  return verifyInto(kept, true, what);
}

/** What the levels ask of a run. */
class Judgement implements RunJudge {
  readonly comparison: ExitSequenceComparison | undefined;
  outcome: Outcome | undefined;
  #recorder: Recorder | undefined;

  constructor({ level, recording }: Pick<ChangedVerification, "level" | "recording">) {
    this.comparison = level === "exits" ? new ExitSequenceComparison(recording.reader) : undefined;
  }

  of(recorder: Recorder, { expression, recording }: ChangedVerification): this {
    this.#recorder = recorder;
    this.outcome = expression && new Outcome(expression, recorder.machine, recording.symbols);
    return this;
  }

  get machine(): Machine | undefined {
    return this.#recorder?.machine;
  }

  atExit(): boolean {
    const { machine } = this;
    if (machine === undefined) return false;
    const holds = this.outcome?.atExit() ?? true;
    if (this.comparison === undefined) return holds;
    const isCompared = this.comparison.atExit(machine);
    return isCompared && (holds || this.comparison.difference !== undefined);
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    this.outcome?.noteOutput(port, bytes);
  }
}

async function verifyInto(path: string, isKept: boolean, what: ChangedVerification): Promise<ExitCode> {
  const { recording, plan, expression, level, context } = what;
  const acts = outsideActs(recording.reader);
  const judgement = new Judgement(what);
  let run: Rerun;
  try {
    run = await rerunRecording({
      ...{ recording, plan, path, isKept, output: context.output, lanes: [acts.acts] },
      watch: watchOptions(what.args, recording.path),
      untilNs: what.timeoutNs ?? defaultTimeNs(acts),
      by: expression === undefined ? "verify" : `--expect ${expression.source}`,
      judge: (recorder) => judgement.of(recorder, what),
      act: `verifying ${recording.path}`,
      hostTimeoutMs: what.hostTimeoutMs,
    });
  } catch (error) {
    throw error instanceof ControlRefusedError ? refusedMachine(error) : failureOf(error, what, judgement);
  }
  const { comparison, outcome } = judgement;
  comparison?.end(run.stop?.what ?? run.why);
  checkTime(run, what, judgement);
  if (comparison?.difference !== undefined)
    throw exitSequenceReport({
      ...{ recording, comparison, difference: comparison.difference, recorder: run.recorder },
      ...{ ending: runEnding(run), recordedEnding: endingText(recording.reader), keptPath: isKept ? path : undefined },
      changes: changeTexts(what),
      notes: notesOf(run),
      json: { recording: recording.path, level, ...rerunJson(run) },
    });
  const holds = outcome?.atEnd() ?? true;
  if (!holds) throw notHeld(run, what, isKept ? path : undefined);
  const answer = heldAnswer(run, what, {
    level,
    equal: comparison?.equal,
    heldFromStart: outcome?.heldFromStart === true,
  });
  // The run asks for little of the file that it is made from: whoever trusts its answer trusts the file.
  const { output } = context;
  const { hostTimeoutMs } = what;
  await withLongAct({ act: `verifying ${recording.path}`, total: 0, output, hostTimeoutMs }, (act) =>
    tellChecked(recording, answer, { act, output }),
  );
  return ExitStatus.done;
}

/** A run that broke off: a handler that fails may be the difference that is looked for. */
function failureOf(error: unknown, what: ChangedVerification, { machine, comparison }: Judgement): unknown {
  if (machine === undefined) return error;
  const { recording, level, expression } = what;
  const compared = comparison === undefined ? {} : { equal: false, exits: comparison.equal };
  return handlerFailure(error, {
    ...{ recording, machine, changes: changeTexts(what), recorded: comparison?.lastEqual },
    json: {
      ...{ recording: recording.path, level, ...compared },
      ...(expression === undefined ? {} : { expect: expression.source, holds: false }),
    },
  });
}

/** A time that was asked for is up before the run has ended, and before all was told: EXPR may hold now, and not at the end. */
function checkTime(run: Rerun, what: ChangedVerification, { comparison, outcome }: Judgement): void {
  if (run.why !== "time" || what.timeoutNs === undefined) return;
  const { recording, expression } = what;
  const isKnown = outcome === undefined || (outcome.form !== "end" && outcome.atEnd());
  if (isKnown && comparison?.isOver !== false) return;
  const holds = outcome?.atEnd();
  throw new CliError(`ran out of --timeout at ${momentText(run.recorder.machine)}`, {
    code: "timeout",
    status: ExitStatus.timeout,
    details: [
      ...(expression === undefined
        ? []
        : [
            `  expected   '${expression.source}' ${holds === true ? "holds" : "does not hold"} there; the run has not ended`,
          ]),
      ...rerunNotes(run).map((note) => `  note       ${note}`),
    ],
    fields: {
      ...{ recording: recording.path, level: what.level, expect: expression?.source, holds },
      changes: changeTexts(what),
      ...rerunJson(run),
    },
  });
}

/** How a run ended, for a sentence. */
export function runEnding({ why, stop, recorder }: Pick<Rerun, "why" | "stop" | "recorder">): string {
  return `${endingReason(why, stop)} at ${momentText(recorder.machine)}`;
}

function endingReason(why: Rerun["why"], stop: GuestStop | undefined): string {
  if (stop !== undefined) return stopText(stop);
  return why === "decided" ? "left when all that was asked for was known," : "its time was up";
}

function notHeld(run: Rerun, what: ChangedVerification, keptPath: string | undefined): CliError {
  const { recording, expression } = what;
  const details = [
    `  run        ${runEnding(run)}`,
    ...changedLines(changeTexts(what)),
    ...rerunNotes(run).map((note) => `  note       ${note}`),
  ];
  return new CliError(`'${expression?.source ?? ""}' does not hold`, {
    code: "not-held",
    status: ExitStatus.no,
    details,
    ...(keptPath === undefined ? {} : { next: shellCommand("hvjournal", "diff", recording.path, keptPath) }),
    fields: {
      ...{ recording: recording.path, level: what.level, expect: expression?.source, holds: false },
      changes: changeTexts(what),
      ...rerunJson(run),
    },
  });
}

interface Told {
  readonly level: string;
  /** Exits that were equal, where they are compared. */
  readonly equal: number | undefined;
  readonly heldFromStart: boolean;
}

/** In JSON as they are, whatever came of the run. */
function changeTexts({ changes, recording }: ChangedVerification): ChangeText[] {
  return changes.map((change) => changeText(change, recording.architecture));
}

function heldAnswer(run: Rerun, what: ChangedVerification, { level, equal, heldFromStart }: Told): Answer {
  const { recording, expression, context } = what;
  const { output } = context;
  const { path } = recording;
  return {
    json: {
      ...{ recording: path, level, equal: equal === undefined ? undefined : true, exits: equal },
      ...(expression === undefined ? {} : { expect: expression.source, holds: true, heldFromStart }),
      changes: changeTexts(what),
      ...rerunJson(run),
    },
    tell() {
      if (output.quiet) return;
      const parts = [
        ...(equal === undefined ? [] : [`${counted(equal, "exit")} that reach the VMM half, equal`]),
        ...(expression === undefined ? [] : [`'${expression.source}' holds at ${momentText(run.recorder.machine)}`]),
      ];
      output.line(`${path}: ${parts.join("; ")}`);
      output.note(`  run        ${runEnding(run)}`);
      for (const line of changedLines(changeTexts(what))) output.note(line);
      for (const note of notesOf(run)) output.note(`  note       ${note}`);
      if (heldFromStart) output.note(`  note       ${heldFromStartText(expression?.source ?? "")}`);
    },
  };
}

/** Where the answer is known before the end, what was still to come is no matter. */
function notesOf(run: Rerun): string[] {
  return run.why === "decided" ? [] : rerunNotes(run);
}
