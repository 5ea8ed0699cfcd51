/** What `record` is asked for: its command line, with a machine file's options below it. */
import { existsSync } from "node:fs";
import { shellCommand } from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type Arguments, listOption, stringOption } from "../commands/command.js";
import { isListOption, type MachineFile, MACHINE_FILE } from "./machine-keys.js";

/** Options of every command: a command line that has only these asks for nothing. */
const COMMON = ["_", "$0", "json", "quiet", "q", "color"];

export interface RecordRequest {
  /** With the file's. */
  readonly args: Arguments;
  /** The command line's own. */
  readonly given: Arguments;
  /** A command line that asks for the same wherever words are added to it: it names the machine file. */
  readonly argv: readonly string[];
  readonly file: MachineFile | undefined;
}

/**
 * `--config FILE`; with no arguments ./vm.yaml, where there is one. The command line goes before the file; of an option that
 * may be repeated, its uses come behind the file's. Throws as `readMachineFile`.
 */
export async function recordRequest(args: Arguments, argv: readonly string[]): Promise<RecordRequest> {
  const path = stringOption(args, "config");
  if (path !== undefined) return withFile(args, argv, path);
  if (!existsSync(MACHINE_FILE)) return { args, given: args, argv, file: undefined };
  if (isBare(args)) return withFile(args, [...argv, "--config", MACHINE_FILE], MACHINE_FILE);
  const isEnough = ["image", "kernel", "from"].some((name) => args[name] !== undefined);
  if (isEnough) return { args, given: args, argv, file: undefined };
  throw new UsageError(
    `record needs a kernel: ./${MACHINE_FILE} is taken by itself only where there are no options`,
    shellCommand("hvjournal", ...argv, "--config", MACHINE_FILE),
  );
}

function isBare(args: Arguments): boolean {
  return Object.entries(args).every(([name, value]) => value === undefined || COMMON.includes(name));
}

/** What reads YAML is loaded for those who ask for it: it takes longer to load than all else that a command needs. */
async function withFile(args: Arguments, argv: readonly string[], path: string): Promise<RecordRequest> {
  const { readMachineFile } = await import("./machine-file.js");
  const file = readMachineFile(path);
  return { args: mergedArguments(file.args, args), given: args, argv, file };
}

/** A command line's arguments over a file's. */
export function mergedArguments(file: Arguments, args: Arguments): Arguments {
  const merged: Record<string, unknown> = { ...args };
  for (const [key, value] of Object.entries(file)) {
    if (isListOption(key)) merged[key] = [...listOption(file, key), ...listOption(args, key)];
    else if (args[key] === undefined && !(key === "kernel" && args["image"] !== undefined)) merged[key] = value;
  }
  return merged;
}
