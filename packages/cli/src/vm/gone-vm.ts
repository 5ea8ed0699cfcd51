/** What became of a VM that does not answer under its name: its recording tells. */
import { existsSync } from "node:fs";
import { relative } from "node:path";
import { describeEnding, shellWord, standingOf } from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import type { ErrorCode } from "../error-codes.js";
import { ExitStatus } from "../exit-status.js";
import { type Environment, notedRecording } from "./vm-directory.js";

/** For a name under which nobody answers. */
export function noVmError(environment: Environment, vm: string): CliError {
  const told = toldByRecording(environment, vm);
  return new CliError(`no VM named ${vm} runs${told === undefined ? "" : `: ${told.text}`}`, {
    code: told?.code ?? "no-vm",
    status: ExitStatus.error,
    next: told?.next ?? "hvjournal ps",
  });
}

/** For a VM that went while it was asked. */
export function wentAwayError(environment: Environment, vm: string, cause: CliError): CliError {
  const told = toldByRecording(environment, vm);
  return new CliError(told === undefined ? cause.message : `${vm} has ended: ${told.text}`, {
    code: told?.code ?? cause.code,
    status: cause.status,
    next: told?.next ?? "hvjournal ps",
    cause,
  });
}

interface Told {
  readonly code: ErrorCode;
  readonly text: string;
  readonly next: string;
}

/** A VM records into a file of its name unless it was told otherwise. */
function toldByRecording(environment: Environment, vm: string): Told | undefined {
  if (vm.includes("/")) return undefined;
  const path = nearPath(notedRecording(environment, vm));
  if (!existsSync(path)) return undefined;
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

/** As a user in this directory would write it. */
function nearPath(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
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
