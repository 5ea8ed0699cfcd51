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

interface ShellOptions {
  readonly cwd: string;
  /** A `commandDirectory`. */
  readonly binaries: string;
}

interface ShellResult {
  readonly status: number | null;
  readonly output: string;
}

/** `hvjournal` with words alone, quoted or not: nothing for which the shell starts or opens anything more. */
const ONE_COMMAND = /^hvjournal(?: +(?:[^\s'"\\`$|&;<>()#]|'[^']*'|"[^"\\`$]*")+)+$/;
const warmShells = new Map<string, WarmCommandLine>();
afterAll(() => {
  for (const shell of warmShells.values()) shell.close();
});

/** A line of shell; standard output and standard error as they come. */
export function runShell(line: string, options: ShellOptions): ShellResult {
  if (!ONE_COMMAND.test(line)) return startShell(line, options);
  // The words are what the shell makes of the line.
  const { output } = startShell(line.replace(/^hvjournal/, String.raw`printf '%s\0'`), options);
  const words = output.split("\0").slice(0, -1);
  if (!WarmCommandLine.takes(words)) return startShell(line, options);
  const { status, stdout } = warmShell(options).run({ words, directory: options.cwd }, TIMEOUT_MS);
  return { status, output: stdout };
}

function warmShell({ cwd, binaries }: ShellOptions): WarmCommandLine {
  const found = warmShells.get(binaries);
  if (found !== undefined) return found;
  const made = new WarmCommandLine(shellEnvironment(cwd, binaries), true);
  warmShells.set(binaries, made);
  return made;
}

function shellEnvironment(cwd: string, binaries: string): NodeJS.ProcessEnv {
  const { PATH: path = "" } = process.env;
  return environmentOf(cwd, { PATH: `${binaries}${delimiter}${path}` });
}

function startShell(line: string, { cwd, binaries }: ShellOptions): ShellResult {
  const { status, stdout, error } = spawnSync("sh", ["-c", `exec 2>&1\n${line}`], {
    cwd,
    input: "",
    encoding: "utf8",
    env: shellEnvironment(cwd, binaries),
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
  });
  if (error !== undefined) throw error;
  return { status, output: stdout };
}
