/** The VMM half of a recorded machine, put together again: to go live from a recording, to verify it, to name devices. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  type BlockBackend,
  isPlainMap,
  type MachineDescription,
  PayloadFields,
  type PlainValue,
  toHex,
  type VmmParts,
  shellCommand,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, listOption, stringOption } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { type LoadedHandler, loadHandlers } from "../handlers/handler-option.js";
import { handlersDifference, type RecordedHandler, recordedHandlers } from "../handlers/recorded-handlers.js";
import { openDriveFile } from "../host/drive-file.js";
import { nodeDigester } from "../host/node-digester.js";
import { boardFor, kernelOption, type NamedFile, readNamed } from "./machine-options.js";

/** A file that the machine was made from. */
export interface RecordedFile {
  readonly name: string;
  /** Hex. */
  readonly sha256: string;
}

export function recordedFile(what: string, value: PlainValue | undefined): RecordedFile | undefined {
  if (!isPlainMap(value)) return undefined;
  const fields = new PayloadFields(what, value);
  return { name: fields.string("name"), sha256: toHex(fields.bytes("sha256")) };
}

interface RecordedDrive extends RecordedFile {
  readonly id: string;
  readonly bytes: number;
  readonly readOnly: boolean;
}

export function recordedDrives(description: MachineDescription): RecordedDrive[] {
  const { drives } = description.boardOptions;
  return (Array.isArray(drives) ? drives : []).map((each: PlainValue) => {
    const fields = new PayloadFields("drive", isPlainMap(each) ? each : {});
    return {
      id: fields.string("id"),
      name: fields.string("name"),
      bytes: fields.number("bytes"),
      readOnly: fields.boolean("readOnly"),
      sha256: fields.string("sha256"),
    };
  });
}

/** The board with its devices, to ask which one lies where. Nothing can run on it. */
export function boardToAsk(description: MachineDescription): VmmParts {
  const drives = recordedDrives(description).map(({ id, bytes, readOnly, sha256 }): BlockBackend => ({
    id,
    bytes,
    readOnly,
    read() {
      throw new RangeError(`drive ${id} is only here to be named`);
    },
    fingerprint: () => sha256,
  }));
  return boardFor(description, { drives });
}

export interface FileChoice {
  readonly args: Arguments;
  /** Whether the machine boots, and so needs kernel and initrd. */
  readonly boots: boolean;
  /** For an error that says how to verify it all the same. */
  readonly recording?: string;
  /** The VM goes on from here: `--handler` says who answers from now on, and not only where the recorded ones are. */
  readonly replacesHandlers?: boolean;
}

/** The board as it was recorded, with the files that it needs. Throws CliError for one that is gone or is another. */
export function recordedBoard(description: MachineDescription, choice: FileChoice): VmmParts {
  const { args, boots, recording } = choice;
  const { kernel, initrd } = description.boardOptions;
  const handlers = handlersOf(description, choice);
  const drives = openRecordedDrives(recordedDrives(description), listOption(args, "drive"));
  if (!boots) return boardFor(description, { drives, handlers });
  return boardFor(description, {
    drives,
    handlers,
    kernel: sameFile("kernel", recordedFile("kernel", kernel), kernelOption(args), recording),
    initrd: sameFile("initrd", recordedFile("initrd", initrd), stringOption(args, "initrd"), recording),
  });
}

function handlersOf(
  description: MachineDescription,
  { args, boots, recording, replacesHandlers = false }: FileChoice,
): LoadedHandler[] {
  const recorded = recordedHandlers(description);
  const given = listOption(args, "handler");
  if (given.length > 0 && replacesHandlers) return loadHandlers(given, args);
  const names = given.length > 0 ? given : recorded.map(({ name }) => name);
  const gone =
    given.length > 0 ? undefined : recorded.find(({ name, sha256 }) => sha256 !== undefined && !existsSync(name));
  if (gone?.sha256 !== undefined) {
    const reason = `can't read the handler that was recorded, ${gone.name}: no such file; --handler says where it is now`;
    throw handlerGone(reason, { recorded, other: gone, recording, boots });
  }
  const loaded = loadHandlers(names, args);
  const difference = handlersDifference(recorded, loaded);
  if (difference !== undefined) {
    if (given.length > 0) throw changed(difference.text);
    const taken = boots ? "what to take" : "where the recorded one is";
    const reason = `${difference.text}; --handler says ${taken}`;
    throw handlerGone(reason, { recorded, other: recorded[difference.index], recording, boots });
  }
  return loaded;
}

interface GoneHandler {
  readonly recorded: readonly RecordedHandler[];
  /** The one that is not there, or is another. */
  readonly other: RecordedHandler | undefined;
  readonly recording: string | undefined;
  readonly boots: boolean;
}

/**
 * The recorded handler is not where it was, or is another by now. `next` names where the same one is found; else those that
 * are there are taken for a change of the machine, which is verified by its exits. A recording that begins elsewhere than at a
 * start, as of a VM that has moved, can't be changed.
 */
function handlerGone(message: string, { recorded, other, recording, boots }: GoneHandler): CliError {
  const code = other === undefined || existsSync(other.name) ? "file-changed" : "no-file";
  if (recording === undefined) return new CliError(message, { code });
  const found = other?.sha256 === undefined ? undefined : foundNear({ ...other, sha256: other.sha256 }, recording);
  const names = recorded.map((each) => (each === other ? (found ?? each.name) : each.name));
  const isThere = found !== undefined || (boots && other !== undefined && existsSync(other.name));
  return new CliError(message, {
    code,
    ...(boots ? { details: [BISECTED_HANDLER] } : {}),
    ...(isThere ? { next: verifyWithHandlers(recording, names) } : {}),
  });
}

/** A search through commits stops at status 128, and a handler of the tree that is searched is another at some of them. */
const BISECTED_HANDLER =
  "note: under git bisect run, or in CI, where each commit may have another: --handler takes the one that is there, and tests it";

export function verifyWithHandlers(recording: string, names: readonly string[]): string {
  return shellCommand("hvjournal", "verify", recording, ...names.flatMap((name) => ["--handler", name]));
}

type FileOption = "kernel" | "initrd";

function sameFile(
  what: FileOption,
  recorded: RecordedFile | undefined,
  given: string | undefined,
  recording: string | undefined,
): NamedFile | undefined {
  if (recorded === undefined) {
    if (given !== undefined) throw changed(`${what} ${given}: the recorded machine had none`);
    return undefined;
  }
  const path = given ?? recorded.name;
  if (!existsSync(path)) {
    const said = given === undefined ? `; --${what} says where it is now` : "";
    const reason = `can't read the ${what} that was recorded, ${path}: no such file${said}`;
    throw fileGone(reason, what, recorded, recording);
  }
  const { bytes } = readNamed(what, path);
  const sha256 = sha256Of(bytes);
  // The name is part of what the loader says, not of what the guest sees.
  if (sha256 === recorded.sha256) return { name: path, bytes };
  const reason = `${what} ${path} is not the one that was recorded: sha256 ${sha256}, recorded ${recorded.sha256}`;
  throw given === undefined ? fileGone(reason, what, recorded, recording) : changed(reason);
}

/** Throws CliError where a file that the machine was made from is gone, or has become another. */
export function checkRecordedFile(what: FileOption, recorded: RecordedFile, recording: string): void {
  sameFile(what, recorded, undefined, recording);
}

function sha256Of(bytes: Uint8Array): string {
  return toHex(nodeDigester.sha256(bytes));
}

/** The same file here, or beside the recording. */
function foundNear({ name, sha256 }: RecordedFile, recording: string): string | undefined {
  const places = [basename(name), join(dirname(recording), basename(name))];
  return places.find((place) => existsSync(place) && sha256Of(readFileSync(place)) === sha256);
}

/** What was recorded is not where it was: no fault of any build, so a search through builds must stop. */
function fileGone(message: string, what: FileOption, recorded: RecordedFile, recording: string | undefined): CliError {
  const found = recording === undefined ? undefined : foundNear(recorded, recording);
  return new CliError(message, {
    code: existsSync(recorded.name) ? "file-changed" : "no-file",
    ...(found === undefined || recording === undefined
      ? {}
      : { next: shellCommand("hvjournal", "verify", recording, `--${what}`, found) }),
  });
}

/** To run a recording with something changed is not what this build can do; another one may. */
export function changed(what: string): CliError {
  return new CliError(`${what}; this build runs a recorded machine only as it was`, {
    code: "machine-changed",
    status: ExitStatus.untestable,
  });
}

/** `--drive ID=PATH`, or as `record` takes it with the drive's id. */
export function drivePaths(texts: readonly string[]): Map<string, string> {
  return new Map(
    texts.map((text) => {
      const parts = new Map(
        text.split(",").map((part) => [part.split("=")[0] ?? "", part.slice(part.indexOf("=") + 1)] as const),
      );
      const [file, id] = [parts.get("file"), parts.get("id")];
      if (file !== undefined && id !== undefined) return [id, file];
      const [only] = parts;
      if (file !== undefined || only === undefined || parts.size !== 1)
        throw new UsageError(`--drive ${text}: expected ID=PATH`);
      return [only[0], only[1]];
    }),
  );
}

function openRecordedDrives(recorded: readonly RecordedDrive[], texts: readonly string[]): BlockBackend[] {
  const paths = drivePaths(texts);
  const unknown = [...paths.keys()].find((id) => !recorded.some((drive) => drive.id === id));
  if (unknown !== undefined) throw changed(`drive ${unknown}: the recorded machine had no such drive`);
  return recorded.map(({ id, name, readOnly, sha256 }) => {
    const drive = openDriveFile(paths.get(id) ?? name, id, readOnly);
    const found = drive.fingerprint();
    if (found === sha256) return drive;
    const what = `drive ${id}: ${drive.path} is not the image that was recorded: sha256 ${found}, recorded ${sha256}`;
    throw paths.has(id)
      ? changed(what)
      : new CliError(`${what}; --drive ${id}=PATH says where it is now`, { code: "file-changed" });
  });
}
