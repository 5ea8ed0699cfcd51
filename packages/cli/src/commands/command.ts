/** The shape of every command module. */
import type { Argv } from "yargs";
import type { ExitCode } from "../exit-status.js";
import type { Output } from "../output/console-output.js";

/** Values as yargs parsed them; each command reads its own. */
export type Arguments = Readonly<Record<string, unknown>>;

export interface CommandContext {
  readonly output: Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Words behind `--run`. */
  readonly runCommand: readonly string[] | undefined;
}

export interface Command {
  /** As yargs takes it: "record [kernel]". */
  readonly usage: string;
  readonly summary: string;
  options(yargs: Argv): Argv;
  run(args: Arguments, context: CommandContext): Promise<ExitCode>;
}

export function stringOption(args: Arguments, name: string): string | undefined {
  const value = args[name];
  return typeof value === "string" ? value : undefined;
}

export function flag(args: Arguments, name: string): boolean {
  return args[name] === true;
}

/** An option that may be repeated. */
export function listOption(args: Arguments, name: string): string[] {
  const value = args[name];
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}
