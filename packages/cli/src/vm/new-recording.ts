/** The file that a VM is recorded into. */
import { randomBytes } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import {
  type Architecture,
  CoreKind,
  HOT_EVENT_KINDS,
  machinePayload,
  type MachineDescription,
  type RecordingParent,
  shellCommand,
} from "@hvjournal/core";
import {
  createRecording,
  discardRecording,
  FORMAT_VERSION,
  isRecordingFile,
  leftOversOf,
  moveRecording,
  type RecordingWriter,
  removeRecording,
} from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import { productVersion } from "../version.js";

export interface OutputFile {
  readonly path: string;
  /** -o named it: an older one is kept, unless `force`. Otherwise an older one becomes PATH.old. */
  readonly isNamed: boolean;
  readonly force: boolean;
  /** The command line that asks for it. */
  readonly argv: readonly string[];
}

/**
 * Makes room for a new recording. Throws CliError where a file stands that must not be lost, JournalBusyError where
 * a VM is still recorded.
 */
export function clearOutput({ path, isNamed, force, argv }: OutputFile): void {
  if (!existsSync(path)) return clearLeftOvers(path, isNamed && force);
  if (isNamed && !force)
    throw new CliError(`can't record to ${path}: the file exists`, {
      code: "exists",
      next: forced(argv),
    });
  if (!isNamed) {
    moveRecording(path, `${path}.old`);
    return;
  }
  refuseOtherThanRecording(path, argv);
  removeRecording(path);
}

/** Of a recording whose own file is gone: leave to overwrite it is leave to remove them. */
function clearLeftOvers(path: string, isForced: boolean): void {
  const leftOvers = leftOversOf(path);
  const [first] = leftOvers;
  if (first === undefined) return;
  if (isForced) return discardRecording(path);
  throw new CliError(
    `can't record to ${path}: ${first} is left of a recording whose own file is gone, and would damage the new one`,
    { code: "exists", next: shellCommand("rm", ...leftOvers) },
  );
}

/** Leave to overwrite is leave to overwrite a recording: not a kernel, a drive, or a device. */
function refuseOtherThanRecording(path: string, argv: readonly string[]): void {
  const found = statSync(path);
  const isFile = found.isFile();
  if (isFile && (found.size === 0 || isRecordingFile(path))) return;
  throw new CliError(
    `can't record to ${path}: it is ${isFile ? "no recording" : "no regular file"}, and --force overwrites recordings only`,
    { code: "exists", ...(isFile && { next: shellCommand("hvjournal", ...withOtherName(argv, path)) }) },
  );
}

/** The same command line with another name, and no leave to overwrite what may stand there. */
function withOtherName(argv: readonly string[], path: string): string[] {
  const words = argv.map((word, index) => {
    const isNamed = word === path && ["-o", "--output"].includes(argv[index - 1] ?? "");
    return isNamed || word === `--output=${path}` ? `${word}.hvj` : word;
  });
  return words.filter((word) => word !== "--force");
}

/** The same command line, with leave to overwrite. */
function forced([command = "record", ...words]: readonly string[]): string {
  return shellCommand("hvjournal", command, "--force", ...words);
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
