/** `hvjournal verify`: run a recording again with the VMM half live, everything compared. */
import { Verifier } from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { HANDLER_OPTION, HANDLER_TIMEOUT_OPTION } from "../handlers/handler-option.js";
import { nodeDigester } from "../host/node-digester.js";
import { jsonLine } from "../output/console-output.js";
import { Progress } from "../output/progress.js";
import { counted } from "../output/value-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { checkPassedBy, type OpenRecording, withRecording } from "../vm/open-recording.js";
import { changed, recordedBoard } from "../vm/recorded-machine.js";
import { type Arguments, type Command, type CommandContext, stringOption, textOption } from "./command.js";

/** Units between two looks at the host. */
const SLICE_UNITS = 16_000_000;
const LEVELS = ["bits", "exits", "outcome"];

export const verify: Command = {
  usage: "verify [recording]",
  summary: "run a recording again with the VMM half live, and compare everything",
  options: (yargs) =>
    symbolOptions(recordingOption(yargs.positional("recording", { type: "string" })))
      .option("level", textOption("bits: every exit and digest (the default)"))
      .option("kernel", textOption("where the recorded kernel is now"))
      .option("initrd", textOption("where the recorded initrd is now"))
      .option("drive", textOption("ID=PATH: where a recorded drive's image is now; repeatable"))
      .option("handler", { ...HANDLER_OPTION, describe: "where a recorded handler is now; repeatable, as recorded" })
      .option("handler-timeout", HANDLER_TIMEOUT_OPTION),
  run: (args, context) => {
    const level = stringOption(args, "level") ?? "bits";
    if (!LEVELS.includes(level)) throw new UsageError(`--level ${level}: ${LEVELS.join(", ")}`);
    if (level !== "bits") throw changed(`--level ${level} compares a machine that was changed`);
    const path = recordingPath(args, context);
    return withRecording(path, context, symbolsFromFiles(args), (recording) => runVerify(recording, args, context));
  },
};

async function runVerify(recording: OpenRecording, args: Arguments, { output }: CommandContext): Promise<ExitCode> {
  const { path, reader, architecture, description } = recording;
  const boots = reader.header.parent === undefined;
  const vmm = recordedBoard(description, { args, boots, recording: path });
  const verifier = new Verifier({ architecture, digester: nodeDigester, reader, vmm });
  const progress = new Progress(output, `verifying ${path}:`, reader.end.icount);
  while ((await verifier.step(SLICE_UNITS)) !== "equal") progress.at(verifier.machine.icount);
  const { exits, digests } = verifier.compared;
  if (output.json) output.line(jsonLine({ recording: path, equal: true, exits, digests }));
  else if (!output.quiet)
    output.line(
      `${path}: ${counted(exits, "exit")}, ${counted(digests, "digest")} and all that the VMM half did, equal`,
    );
  checkPassedBy(recording);
  return ExitStatus.done;
}
