/** What became of a VM that does not answer under its name: its recording tells. */
import { existsSync } from "node:fs";
import { describeEnding, shellWord, standingOf } from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";

/** For a name under which nobody answers. */
export function noVmError(vm: string): CliError {
  const told = toldByRecording(vm);
  return new CliError(`no VM named ${vm} runs${told === undefined ? "" : `: ${told.text}`}`, {
    code: told?.code ?? "no-vm",
    status: ExitStatus.error,
    next: told?.next ?? "hvjournal ps",
  });
}

/** For a VM that went while it was asked. */
export function wentAwayError(vm: string, cause: CliError): CliError {
  const told = toldByRecording(vm);
  return new CliError(told === undefined ? cause.message : `${vm} has ended: ${told.text}`, {
    code: told?.code ?? cause.code,
    status: cause.status,
    next: told?.next ?? "hvjournal ps",
    cause,
  });
}

interface Told {
  readonly code: string;
  readonly text: string;
  readonly next: string;
}

/** A VM records into a file of its name unless it was told otherwise. */
function toldByRecording(vm: string): Told | undefined {
  const path = `${vm}.hvj`;
  if (vm.includes("/") || !existsSync(path)) return undefined;
  let reader: RecordingReader | undefined;
  try {
    reader = openRecording(path);
    return fateOf(reader, path);
  } catch {
    // A file that says nothing is no reason for another error.
    return undefined;
  } finally {
    reader?.close();
  }
}

function fateOf(reader: RecordingReader, path: string): Told | undefined {
  const standing = standingOf(reader.header, reader.ownership());
  if (standing.is === "moved") {
    const { name } = standing.detail;
    const to = typeof name === "string" ? name : standing.to;
    return { code: "vm-moved", text: `${path} was moved to ${to}`, next: `hvjournal attach ${to}` };
  }
  if (standing.is !== "owner" || reader.end.state === "open") return undefined;
  return {
    code: "vm-ended",
    text: `${path} ended at exit:${reader.end.exitNumber} (${describeEnding(reader)})`,
    next: `hvjournal replay ${shellWord(path)}`,
  };
}
