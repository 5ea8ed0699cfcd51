/** `hvjournal fsck`: is every byte of the recording what was written? */
import { fsck as check } from "@hvjournal/journal";
import { ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { problemText } from "../output/damage-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import type { Command } from "./command.js";

export const fsck: Command = {
  usage: "fsck [recording]",
  summary: "check a recording: which bytes are damaged, which events are lost",
  options: (yargs) => recordingOption(yargs.positional("recording", { type: "string" })),
  run(args, context) {
    const path = recordingPath(args, context);
    const report = check(path);
    const { output } = context;
    if (output.json) output.line(jsonLine(report));
    else {
      for (const note of report.notes) output.note(`note: ${note.text}`);
      for (const problem of report.problems) output.line(`damaged: ${problemText(problem)}`);
      const { batchCount, snapshotCount, pageCount, end } = report;
      if (report.isWhole && end !== undefined) {
        output.line(
          `${path}: whole: ${end.firstSeq - 1} events in ${batchCount} batches, ${snapshotCount} snapshots, ${pageCount} pages, ${end.state}`,
        );
      } else if (report.replaysTo === undefined) output.line(`${path}: nothing of it replays`);
      else
        output.line(
          `${path}: replays up to event:${report.replaysTo.seq} (exit:${report.replaysTo.exitNumber}, icount:${report.replaysTo.icount})`,
        );
    }
    return Promise.resolve(report.isWhole ? ExitStatus.done : ExitStatus.no);
  },
};
