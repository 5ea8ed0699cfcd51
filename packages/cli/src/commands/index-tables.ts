/** `hvjournal index`: tables for the stock sqlite3. */
import { buildIndex, dropIndex } from "@hvjournal/journal";
import { ExitStatus } from "../exit-status.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { withLongAct } from "../vm/long-act.js";
import { type Command, flag, flagOption } from "./command.js";

export const index: Command = {
  usage: "index [recording]",
  summary: "make the tables exits, hypercalls, console for the stock sqlite3",
  options: (yargs) =>
    recordingOption(yargs.positional("recording", { type: "string" })).option(
      "drop",
      flagOption("take them out again"),
    ),
  async run(args, context) {
    const path = recordingPath(args, context);
    const { output } = context;
    if (flag(args, "drop")) dropIndex(path);
    else await withLongAct({ act: `indexing ${path}`, total: 0, output }, (act) => act.run(buildIndex(path)));
    output.note(flag(args, "drop") ? `${path}: tables dropped` : `${path}: tables exits, hypercalls, console made`);
    return ExitStatus.done;
  },
};
