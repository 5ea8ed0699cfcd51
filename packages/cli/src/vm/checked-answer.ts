/**
 * What a run that came to its recording's end has to say. What it passed by is checked too, which costs little beside the
 * run; the answer is told once all of that is decided.
 */
import { shellCommand } from "@hvjournal/core";
import { damageBesideBatches, type FsckProblem } from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { problemText } from "../output/damage-text.js";
import type { LongAct } from "./long-act.js";
import type { OpenRecording } from "./open-recording.js";

/** `fsck` tells the rest. */
const PROBLEMS_TOLD_MAX = 3;

export interface Answer {
  readonly json: Readonly<Record<string, unknown>>;
  /** In text. */
  readonly tell: () => void;
}

/**
 * Throws CliError for damage where the run had nothing to read. The answer stands all the same: in text it comes before the
 * error, with `--json` in it, as `answer`.
 */
export async function tellChecked(
  { path, reader }: OpenRecording,
  { json, tell }: Answer,
  { act, output }: { readonly act: LongAct; readonly output: Output },
): Promise<void> {
  const problems = await act.run(damageBesideBatches(reader));
  // SQLite does not look up from its own check.
  await act.turn();
  const damage = damageError(path, problems, output.json ? { answer: json } : {});
  if (!output.json) tell();
  if (damage !== undefined) throw damage;
  if (output.json) output.line(jsonLine(json));
}

function damageError(
  path: string,
  problems: readonly FsckProblem[],
  fields: Readonly<Record<string, unknown>>,
): CliError | undefined {
  const [first, ...others] = problems.map(problemText);
  if (first === undefined) return undefined;
  return new CliError(`${path} is damaged where this run had nothing to read, at ${first}`, {
    code: "journal-damaged",
    details: others.slice(0, PROBLEMS_TOLD_MAX).map((text) => `  and at ${text}`),
    next: shellCommand("hvjournal", "fsck", path),
    fields,
  });
}
