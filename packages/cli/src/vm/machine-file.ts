/** A machine file: the options of `record`, in YAML. It gives the arguments that a command line gives, and nothing else. */
import { readFileSync, statSync } from "node:fs";
import { shellCommand } from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { reason } from "../host/drive-file.js";
import { type MachineDocument, parseMachineDocument } from "./machine-document.js";
import { machineFaults } from "./machine-faults.js";
import { isListOption, type MachineFile, MACHINE_KEYS } from "./machine-keys.js";
import { type OptionText, optionTexts } from "./machine-texts.js";

/** A machine file is written by hand; a kernel that was given as one is not. */
const FILE_BYTES_MAX = 1 << 20;

/** As `readMachineFile`: the arguments alone. */
export function machineFileArguments(path: string): Arguments {
  return readMachineFile(path).args;
}

/**
 * Reads and checks a machine file. Throws CliError with status 128 for a file that can't be read, UsageError (129) for one
 * that says something wrong: all that is wrong, with line and column.
 */
export function readMachineFile(path: string): MachineFile {
  const document = parseMachineDocument(path, readText(path));
  refuseFaults(document);
  const uses = new Map<string, OptionText[]>();
  for (const [key, form] of Object.entries(MACHINE_KEYS)) {
    const value = document.value[key];
    if (value !== undefined) uses.set(key, optionTexts(key, form, value, path));
  }
  return {
    path,
    args: Object.fromEntries([...uses].map(([key, texts]) => [key, argument(key, texts)])),
    placeOf(option, value) {
      const texts = uses.get(option);
      const use = texts?.find((text) => text.value === value) ?? texts?.[0];
      return use && document.place(use.path);
    },
  };
}

function argument(key: string, texts: readonly OptionText[]): unknown {
  const values = texts.map(({ value }) => value);
  return isListOption(key) ? values : values[0];
}

function readText(path: string): string {
  let bytes: Buffer;
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX)
      throw new UsageError(
        `${path} has ${size} bytes: a machine file is YAML of at most ${FILE_BYTES_MAX} bytes`,
        shellCommand("hvjournal", "record", path),
      );
    bytes = readFileSync(path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError(`can't read machine file ${path}: ${reason(cause)}`, {
      code: "no-file",
      next: "hvjournal help machine-file",
      cause,
    });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      `${path} is no machine file: it is no text in UTF-8`,
      shellCommand("hvjournal", "record", path),
    );
  }
}

function refuseFaults(document: MachineDocument): void {
  const faults = machineFaults(document.value).map(({ path, atKey, message }) => ({
    offset: document.offset(path, atKey),
    text: `${document.place(path, atKey)}: ${message}`,
  }));
  const [first, ...rest] = faults.sort((one, other) => one.offset - other.offset);
  if (first === undefined) return;
  throw new CliError(first.text, {
    code: "usage",
    status: ExitStatus.usage,
    details: rest.map(({ text }) => text),
    fields: { faults: faults.map(({ text }) => text) },
    next: "hvjournal help machine-file",
  });
}
