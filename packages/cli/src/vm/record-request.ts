/** What `record` is asked for: its command line, with a machine file's options below it. */
import { existsSync } from "node:fs";
import { ExpressionError, PositionError, shellCommand } from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, listOption, stringOption } from "../commands/command.js";
import { asCliError } from "../report-error.js";
import { isListForm, type KeyForm, type MachineFile, MACHINE_FILE, MACHINE_KEYS } from "./machine-keys.js";

/** Options of every command: a command line that has only these asks for nothing. */
const COMMON = ["_", "$0", "json", "quiet", "q", "color"];

export interface RecordRequest {
  readonly args: Arguments;
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
  if (!existsSync(MACHINE_FILE)) return { args, argv, file: undefined };
  if (isBare(args)) return withFile(args, [...argv, "--config", MACHINE_FILE], MACHINE_FILE);
  const isEnough = ["image", "kernel", "from"].some((name) => args[name] !== undefined);
  if (isEnough) return { args, argv, file: undefined };
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
  return { args: mergedArguments(file.args, args), argv, file };
}

/** A command line's arguments over a file's. */
export function mergedArguments(file: Arguments, args: Arguments): Arguments {
  const merged: Record<string, unknown> = { ...args };
  for (const [key, value] of Object.entries(file)) {
    const form = (MACHINE_KEYS as Readonly<Record<string, KeyForm>>)[key];
    if (form !== undefined && isListForm(form)) merged[key] = [...listOption(file, key), ...listOption(args, key)];
    else if (args[key] === undefined && !(key === "kernel" && args["image"] !== undefined)) merged[key] = value;
  }
  return merged;
}

/** Runs what makes sense of the options; what it says of one that the file gives, it says with the place. */
export async function locatingOptions<Result>({ file }: RecordRequest, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw file === undefined ? error : located(error, file);
  }
}

function located(error: unknown, file: MachineFile): unknown {
  const use = error instanceof CliError ? namedUse(error, file) : conditionUse(error, file);
  if (use === undefined) return error;
  const { code, status, next, position, details, fields } = asCliError(error);
  return new CliError(`${use.place}: ${use.message}`, {
    ...{ code, status, details, fields, cause: error },
    ...(next === undefined ? {} : { next }),
    ...(position === undefined ? {} : { position }),
  });
}

interface LocatedMessage {
  readonly place: string;
  readonly message: string;
}

/** Messages about an option begin with it, and with its value. */
function namedUse({ message }: CliError, file: MachineFile): LocatedMessage | undefined {
  const [, option = "", rest = ""] = /^--([a-z-]+) (.*)$/s.exec(message) ?? [];
  if (!Object.hasOwn(MACHINE_KEYS, option)) return undefined;
  const isMeant = (value: string): boolean => rest.startsWith(`${value}:`) || rest.startsWith(`${value} `);
  const value = listOption(file.args, option).find(isMeant);
  const place = value === undefined ? undefined : file.placeOf(option, value);
  return place === undefined ? undefined : { place, message: `${option} ${rest}` };
}

/** What can't be read of a POSITION or EXPR is told with all of it. */
function conditionUse(error: unknown, file: MachineFile): LocatedMessage | undefined {
  if (!(error instanceof ExpressionError || error instanceof PositionError)) return undefined;
  const text = error instanceof ExpressionError ? error.source : error.text;
  const option = ["until", "fail-on"].find((name) => listOption(file.args, name).includes(text));
  const place = option === undefined ? undefined : file.placeOf(option, text);
  return place === undefined ? undefined : { place, message: `${option}: ${asCliError(error).message}` };
}
