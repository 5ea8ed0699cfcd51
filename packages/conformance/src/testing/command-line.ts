/** Runs the command line from its build. */
import { afterAll } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { CommandResult } from "./command-request.js";
import { hvjournalCommand } from "./repository.js";
import { WarmCommandLine } from "./warm-command-line.js";

export interface CommandOptions {
  readonly cwd: string;
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

const TIMEOUT_MS = 240_000;

/** Control sockets lie beside the recordings: VMs of other tests do not get in the way. */
function environmentOf(cwd: string, more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const { HVJOURNAL: _, NO_COLOR: __, PAGER: ___, ...inherited } = process.env;
  return { ...inherited, XDG_RUNTIME_DIR: cwd, ...more };
}

const warm = new WarmCommandLine(environmentOf("/"));
afterAll(() => warm.close());

/** `hvjournal ARGS`, as a process of its own where it has input or an environment. */
export function runHvjournal(args: readonly string[], options: CommandOptions): CommandResult {
  const { cwd, input, environment } = options;
  if (input !== undefined || environment !== undefined || !WarmCommandLine.takes(args))
    return startHvjournal(args, options);
  return warm.run({ words: args, directory: cwd }, TIMEOUT_MS);
}

/** `hvjournal ARGS` as a process of its own, as users start it. */
export function startHvjournal(args: readonly string[], options: CommandOptions): CommandResult {
  const { cwd, input = "", environment } = options;
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [hvjournalCommand, ...args], {
    cwd,
    input,
    encoding: "utf8",
    env: environmentOf(cwd, environment),
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
  });
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

/** A directory for $PATH in which `hvjournal` is this build's. */
export function commandDirectory(parent: string): string {
  const directory = join(parent, "bin");
  mkdirSync(directory);
  const wrapper = join(directory, "hvjournal");
  writeFileSync(wrapper, `#!/bin/sh\nexec '${process.execPath}' '${hvjournalCommand}' "$@"\n`);
  chmodSync(wrapper, 0o755);
  return directory;
}

/** A line of shell; standard output and standard error as they come. */
export function runShell(
  line: string,
  { cwd, binaries }: { readonly cwd: string; readonly binaries: string },
): { readonly status: number | null; readonly output: string } {
  const { PATH: path = "" } = process.env;
  const { status, stdout, error } = spawnSync("sh", ["-c", `exec 2>&1\n${line}`], {
    cwd,
    input: "",
    encoding: "utf8",
    env: environmentOf(cwd, { PATH: `${binaries}${delimiter}${path}` }),
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
  });
  if (error !== undefined) throw error;
  return { status, output: stdout };
}
