/** Which recording a command means: the one named, else -i, else $HVJOURNAL, else ./vm.hvj. */
import { type Arguments, type CommandContext, stringOption } from "./commands/command.js";

export const DEFAULT_RECORDING = "vm.hvj";

export function recordingPath(args: Arguments, context: CommandContext): string {
  return (
    stringOption(args, "recording") ??
    stringOption(args, "input-recording") ??
    context.environment["HVJOURNAL"] ??
    DEFAULT_RECORDING
  );
}
