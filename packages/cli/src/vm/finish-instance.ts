/** The end of a VM's stay in this process: its recording is closed, and everyone is told how it ended. */
import { shellWord } from "@hvjournal/core";
import { INDEX_EXITS_MAX, openRecording, recordingSizes } from "@hvjournal/journal";
import type { CommandContext } from "../commands/command.js";
import type { ExitCode } from "../exit-status.js";
import { movedText, nextThere } from "../output/migration-text.js";
import { endText, fileText } from "../output/record-report.js";
import type { Farewell } from "./control-server.js";
import type { Instance } from "./instance.js";
import type { SessionEnd } from "./live-session.js";
import type { InstanceEnd } from "./run-instance.js";
import {
  endedBy,
  exitCodeOf,
  failedExit,
  isHurried,
  missedGoal,
  type RunTerms,
  unindexedText,
} from "./session-result.js";
import { nameOfRecording } from "./vm-directory.js";

/** What somebody at the VM's console is told when the VM is gone. */
export function farewellOf(end: SessionEnd, instance: Instance, terms: RunTerms = instance.terms): Farewell {
  return { ...farewellText(end, instance, terms), status: exitCodeOf(end, terms) };
}

function farewellText(end: SessionEnd, { path, session, name }: Instance, { until }: RunTerms): Farewell {
  const { machine } = session.recorder;
  const missed = missedGoal(end, until);
  const text = endText(end, machine, "");
  if (end.why !== "moved")
    return { text: missed === undefined ? text : `${text}; ${missed}`, next: `hvjournal replay ${shellWord(path)}` };
  if (end.to === undefined)
    return {
      text: `${name} was moved, and the destination has not confirmed it; ${nameOfRecording(path)} is sealed. Which one owns the VM, migrate --resolve says by both recordings`,
      next: `hvjournal info ${shellWord(path)}`,
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
  const wantsIndex = index && recorder.machine.exitNumber <= INDEX_EXITS_MAX;
  if (end.why !== "moved")
    recorder.finish({
      index: wantsIndex && !isHurried(end),
      by: endedBy(end),
      failedAt: failedExit(end),
    });
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
    if (wantsIndex && isHurried(end)) output.note(unindexedText(path));
  } finally {
    reader.close();
  }
  return exitCodeOf(end, instance.terms);
}
