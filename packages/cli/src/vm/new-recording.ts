/** The file that a VM is recorded into. */
import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import {
  type Architecture,
  CoreKind,
  HOT_EVENT_KINDS,
  machinePayload,
  type MachineDescription,
  type RecordingParent,
  shellCommand,
} from "@hvjournal/core";
import { createRecording, FORMAT_VERSION, type RecordingWriter } from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import { productVersion } from "../version.js";

/** SQLite's own files beside one that is open or was not closed. */
const COMPANIONS = ["-wal", "-shm"] as const;

export interface OutputFile {
  readonly path: string;
  /** -o named it: an older one is kept, unless `force`. Otherwise an older one becomes PATH.old. */
  readonly isNamed: boolean;
  readonly force: boolean;
  /** The command line that asks for it. */
  readonly argv: readonly string[];
}

/** Makes room for a new recording. Throws CliError where a file stands that must not be lost. */
export function clearOutput({ path, isNamed, force, argv }: OutputFile): void {
  if (!existsSync(path)) return;
  if (isNamed && !force)
    throw new CliError(`can't record to ${path}: the file exists`, {
      code: "exists",
      next: forced(argv),
    });
  if (isNamed) removeRecording(path);
  else keepOld(path);
}

/** The same command line, with leave to overwrite. */
function forced([command = "record", ...words]: readonly string[]): string {
  return shellCommand("hvjournal", command, "--force", ...words);
}

/** What a crashed recorder left in the write-ahead log goes along. */
function keepOld(path: string): void {
  const old = `${path}.old`;
  removeRecording(old);
  for (const suffix of COMPANIONS) if (existsSync(path + suffix)) renameSync(path + suffix, old + suffix);
  renameSync(path, old);
}

export function removeRecording(path: string): void {
  for (const suffix of ["", ...COMPANIONS]) rmSync(path + suffix, { force: true });
}

export interface NewRecording {
  readonly architecture: Architecture;
  readonly description: MachineDescription;
  readonly parent?: RecordingParent;
}

export function createRecordingFile(
  path: string,
  { architecture, description, parent }: NewRecording,
): RecordingWriter {
  const kinds = [...HOT_EVENT_KINDS, ...Object.values(CoreKind), ...architecture.control.kinds];
  return createRecording(
    path,
    {
      id: randomBytes(16).toString("hex"),
      formatVersion: FORMAT_VERSION,
      createdBy: `hvjournal ${productVersion()}`,
      architecture: architecture.name,
      architectureRevision: architecture.revision,
      machine: machinePayload(description),
      quirks: [],
      parent,
    },
    { kinds },
  );
}
