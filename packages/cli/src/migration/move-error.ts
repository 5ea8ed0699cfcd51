/** How `migrate` tells that a move came to nothing: who owns the VM, and how to go on. */
import { describeEnding, endingOf as recordedEnding, shellCommand, standingOf } from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { existsSync } from "node:fs";
import { relative } from "node:path";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { parseAddress } from "./addresses.js";

/** A VM that was to move: one that runs, or one at the end of its recording. */
export interface MoveSource {
  readonly is: "vm" | "recording";
  readonly name: string;
  readonly path: string;
}

interface Attempt {
  readonly source: MoveSource;
  /** As the user wrote it. */
  readonly dst: string;
  /** `--host`, where it was given. */
  readonly host?: string | undefined;
}

function command(...words: readonly string[]): string {
  return shellCommand("hvjournal", ...words);
}

function fileOf(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}

/** What a user would name: an address is not there to be looked into. */
function recordingAt(dst: string): string | undefined {
  if (parseAddress(dst) !== undefined) return undefined;
  return dst.endsWith(".hvj") ? dst : `${dst}.hvj`;
}

/** Of a VM that ended by itself while it was to move; undefined: its recording does not say that it did, and still owns it. */
function endingOf({ name, path }: MoveSource, act: string, dst: string): CliError | undefined {
  if (!existsSync(path)) return undefined;
  const reader = openRecording(path);
  try {
    if (reader.end.state !== "closed" || standingOf(reader.header, reader.ownership()).is !== "owner") return undefined;
    const file = fileOf(path);
    const { stop } = recordedEnding(reader);
    const isOver = stop?.byGuest === true;
    const text = `${act}: ${name} ended meanwhile, at exit:${reader.end.exitNumber} (${describeEnding(reader)}); nothing has moved, its recording is ${file}`;
    return new CliError(text, {
      code: isOver ? "guest-ended" : "migration-failed",
      status: isOver ? ExitStatus.no : ExitStatus.error,
      next: isOver ? command("replay", file) : command("migrate", file, dst),
    });
  } finally {
    reader.close();
  }
}

/** Errors that have nothing to do with the move itself stay as they are. */
export function moveError(error: CliError, { source, dst, host }: Attempt): CliError {
  const { code, status, details, message } = error;
  const act = `can't migrate ${source.name} to ${dst}`;
  const stays = `${source.is === "vm" ? source.name : source.path} still owns the VM`;
  const onHost = host === undefined ? [] : ["--host", host];
  const told = (text: string, next: string): CliError =>
    new CliError(text, { code, status, details, next, cause: error });
  switch (code) {
    case "migration-refused":
      return told(`${act}: ${message}; ${stays}`, command("migrate", "--explain", ...onHost, source.name, dst));
    case "migration-failed":
    case "timeout":
    case "connect":
      return told(`${act}: ${message}; ${stays}`, error.next ?? command("migrate", source.name, dst));
    case "migration-in-doubt":
    case "vm-ended": {
      const ended = code === "vm-ended" ? endingOf(source, act, dst) : undefined;
      if (ended !== undefined) return ended;
      const recording = recordingAt(dst);
      const file = fileOf(source.path);
      const which = "which recording owns the VM, the two files say";
      if (recording === undefined)
        return told(`${act}: ${message}; ${which}, by migrate --resolve where both are`, command("info", file));
      // Where nothing has come into being at the destination there is nothing to decide.
      const isNew = code === "vm-ended" && !existsSync(recording);
      const next = isNew ? command("migrate", file, dst) : command("migrate", "--resolve", file, recording);
      return told(`${act}: ${message}; ${which}`, next);
    }
    default:
      return error;
  }
}

/** Of a move that a signal gave up: status 130, with what was said of it. What is in doubt stays so. */
export function interruptedMove(error: unknown): unknown {
  if (!(error instanceof CliError) || error.code !== "migration-failed") return error;
  const { message, next, details } = error;
  return new CliError(message, {
    ...{ code: "interrupted", status: ExitStatus.interrupted, details, cause: error },
    ...(next === undefined ? {} : { next }),
  });
}
