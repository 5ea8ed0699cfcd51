/** `hvjournal fsck`: is every byte of the recording what was written? */
import { shellCommand } from "@hvjournal/core";
import { type FsckReport, fsckSteps } from "@hvjournal/journal";
import { ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { problemText } from "../output/damage-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { withLongAct } from "../vm/long-act.js";
import type { Command } from "./command.js";

/** A file of which half is gone has thousands. */
const PROBLEMS_TOLD_MAX = 20;

export const fsck: Command = {
  usage: "fsck [recording]",
  summary: "check a recording: which bytes are damaged, which events are lost",
  options: (yargs) => recordingOption(yargs.positional("recording", { type: "string" })),
  async run(args, context) {
    const path = recordingPath(args, context);
    const { output } = context;
    const report = await withLongAct({ act: `checking ${path}`, total: 0, output }, (act) => act.run(fsckSteps(path)));
    if (output.json) output.line(jsonLine(reportJson(report)));
    else if (report.isWhole) tellWhole(report, output);
    else tellDamage(report, output);
    return report.isWhole ? ExitStatus.done : ExitStatus.no;
  },
};

/** What the text says in notes stands in it too. `isFinished` is undefined where nothing could be opened. */
function reportJson(report: FsckReport): Record<string, unknown> {
  const unfinished = unfinishedText(report);
  const own = unfinished === undefined ? [] : [{ code: "unfinished", text: unfinished }];
  return { ...report, isFinished: report.end && report.end.state !== "open", notes: [...report.notes, ...own] };
}

/** undefined: it has its end mark, or is damaged, which says more. */
function unfinishedText({ isWhole, end, batchCount }: FsckReport): string | undefined {
  if (!isWhole || end?.state !== "open") return undefined;
  return `no end mark stands behind batch ${batchCount}: its recorder was killed after it, or still runs (hvjournal ps)`;
}

function countsText({ end, batchCount, snapshotCount, pageCount }: FsckReport): string {
  const events = (end?.firstSeq ?? 1) - 1;
  return `${events} events in ${batchCount} batches, ${snapshotCount} snapshots, ${pageCount} pages`;
}

function tellWhole(report: FsckReport, output: Output): void {
  const { path, end } = report;
  if (end === undefined) return;
  const counts = countsText(report);
  const unfinished = unfinishedText(report);
  if (unfinished === undefined) output.line(`${path}: whole: ${counts}, ${end.state}`);
  else {
    output.line(`${path}: not finished, whole up to exit:${end.exitNumber}: ${counts}`);
    output.note(`note: ${unfinished}`);
  }
}

function tellDamage(report: FsckReport, output: Output): void {
  const { path, problems, replaysTo, onlyDerived } = report;
  for (const problem of problems.slice(0, PROBLEMS_TOLD_MAX)) output.line(`damaged: ${problemText(problem)}`);
  const left = problems.length - PROBLEMS_TOLD_MAX;
  if (left > 0) output.line(`damaged: ${left} more places (--json lists them)`);
  if (onlyDerived) {
    output.line(`${path}: the tables for sqlite3 alone are damaged, nothing is lost: ${countsText(report)}`);
    output.note(`next: ${shellCommand("hvjournal", "index", path)}`);
    return;
  }
  if (replaysTo === undefined || replaysTo.exitNumber === 0) {
    output.line(`${path}: nothing of it replays`);
    return;
  }
  const { seq, exitNumber, icount } = replaysTo;
  output.line(`${path}: replays up to event:${seq} (exit:${exitNumber}, icount:${icount})`);
  output.note(`next: ${shellCommand("hvjournal", "replay", path, "--until", `exit:${exitNumber}`)}`);
}
