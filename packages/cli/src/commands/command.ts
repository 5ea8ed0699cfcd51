/** The shape of every command module. */
import type { Argv } from "yargs";
import { UsageError } from "../cli-error.js";
import type { ExitCode } from "../exit-status.js";
import type { Output } from "../output/console-output.js";

/** Values as yargs parsed them; each command reads its own. */
export type Arguments = Readonly<Record<string, unknown>>;

export interface CommandContext {
  readonly output: Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The command line as it was given, the command first. */
  readonly argv: readonly string[];
  /** Words behind `--run`. */
  readonly runCommand: readonly string[] | undefined;
}

export interface Command {
  /** As yargs takes it: "record [image]". */
  readonly usage: string;
  readonly summary: string;
  /** Nothing looks up while it works: a signal ends its process, and nothing is said. */
  readonly isEndedBySignals?: true;
  options(yargs: Argv): Argv;
  run(args: Arguments, context: CommandContext): Promise<ExitCode>;
}

export function commandName({ usage }: Command): string {
  return usage.split(" ")[0] ?? usage;
}

/** For an option with one value: `text`, and what it is for. */
export function textOption(describe: string): {
  readonly type: "string";
  readonly requiresArg: true;
  readonly nargs: 1;
  readonly describe: string;
} {
  return { type: "string", requiresArg: true, nargs: 1, describe };
}

export function flagOption(describe: string): { readonly type: "boolean"; readonly describe: string } {
  return { type: "boolean", describe };
}

/** Throws UsageError for an option that was given twice. */
export function stringOption(args: Arguments, name: string): string | undefined {
  const value = args[name];
  if (Array.isArray(value))
    throw new UsageError(`--${name} is given ${value.length} times: ${value.map(String).join(", ")}`);
  return typeof value === "string" ? value : undefined;
}

export function flag(args: Arguments, name: string): boolean {
  const value = args[name];
  return Array.isArray(value) ? value.at(-1) === true : value === true;
}

/** An option that may be repeated. */
export function listOption(args: Arguments, name: string): string[] {
  const value = args[name];
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

/** A whole number from 1 up. Throws UsageError. */
export function countOption(args: Arguments, name: string): number | undefined {
  const text = stringOption(args, name);
  if (text === undefined) return undefined;
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (!Number.isSafeInteger(count) || count < 1) throw new UsageError(`--${name} ${text}: expected a number from 1 up`);
  return count;
}
