/** The end of a VM's stay in this process: its recording is closed, and everyone is told how it ended. */
import { INDEX_EXITS_MAX, openRecording, recordingSizes } from "@hvjournal/journal";
import type { CommandContext } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { movedText, nextThere } from "../output/migration-text.js";
import { endText, fileText } from "../output/record-report.js";
import type { Farewell } from "./control-server.js";
import type { Instance } from "./instance.js";
import type { SessionEnd } from "./live-session.js";
import type { InstanceEnd } from "./run-instance.js";
import { nameOfRecording } from "./vm-directory.js";

/** What somebody at the VM's console is told when the VM is gone. */
export function farewellOf(end: SessionEnd, { path, session, name }: Instance): Farewell {
  const { machine } = session.recorder;
  if (end.why !== "moved") return { text: endText(end, machine, ""), next: `hvjournal replay ${path}` };
  if (end.to === undefined)
    return {
      text: `${name} was moved, and the destination has not confirmed it; ${nameOfRecording(path)} is sealed`,
      next: `hvjournal migrate --resolve ${path} DST`,
    };
  return {
    text: movedText(end.to, nameOfRecording(path)),
    next: nextThere(end.to),
  };
}

/** Closes the recording of a VM that was received. */
export async function finishInstance(
  instance: Instance,
  { end, close, drained }: InstanceEnd & { readonly drained: () => Promise<void> },
  { output }: CommandContext,
): Promise<ExitCode> {
  const { session, path, index } = instance;
  const { recorder } = session;
  if (end.why !== "moved")
    recorder.finish({ index: index && recorder.machine.exitNumber <= INDEX_EXITS_MAX, by: endedBy(end) });
  const farewell = farewellOf(end, instance);
  await close(farewell);
  // Nothing depends on the console's reader any more, however slow it is.
  await drained();
  output.note(farewell.text);
  if (farewell.next !== undefined) output.note(`next: ${farewell.next}`);
  const reader = openRecording(path);
  try {
    const events = reader.end.firstSeq - 1 - (reader.header.parent?.seq ?? 0);
    const { events: eventBytes, snapshots: snapshotBytes } = recordingSizes(reader);
    output.note(fileText({ path, events, eventBytes, snapshots: reader.snapshots().length, snapshotBytes }));
  } finally {
    reader.close();
  }
  return exitCodeOf(end);
}

function endedBy(end: SessionEnd): string {
  switch (end.why) {
    case "goal":
      return `--${end.goal.name} ${end.goal.text}`;
    case "timeout":
      return "--timeout";
    case "interrupted":
      return end.by;
    default:
      return end.why;
  }
}

function exitCodeOf(end: SessionEnd): ExitCode {
  switch (end.why) {
    case "stopped":
      return end.stop.what === "crashed" || end.stop.what === "stuck" || end.stop.what === "waiting"
        ? ExitStatus.no
        : ExitStatus.done;
    case "goal":
      return end.goal.name === "fail-on" ? ExitStatus.no : ExitStatus.done;
    case "timeout":
      return ExitStatus.timeout;
    case "interrupted":
      return end.by.startsWith("SIG") ? ExitStatus.interrupted : ExitStatus.done;
    case "moved":
      return ExitStatus.done;
    default:
      return end satisfies never;
  }
}
