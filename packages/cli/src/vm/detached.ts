/** Instances in the background: this very command line again, in a process of its own. */
import { shellWord } from "@hvjournal/core";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { CliError } from "../cli-error.js";
import { ENTRY_PATH } from "../entry-path.js";
import { asCliError } from "../report-error.js";
import { errorJson, errorOfJson, isJsonObject, type JsonObject } from "./control-protocol.js";
import { type Environment, instanceLogPath } from "./vm-directory.js";

const PRIVATE_FILE = 0o600;
/** Tells an instance that it was started in the background. */
const DETACHED = "HVJOURNAL_DETACHED";

export interface DetachedInstance {
  readonly processId: number;
  /** What it said when it was ready. */
  readonly ready: JsonObject;
  /** It is on its own from now on. */
  release(): void;
  /** Its process is over, or so much time has passed. */
  ended(milliseconds: number): Promise<void>;
  /** Nothing comes of it. */
  kill(): void;
}

/**
 * Starts `hvjournal ARGV` in the background and waits until it says that it is ready. What it says on standard error goes
 * to the instance's log. Throws CliError with the instance's own error when it fails before that.
 */
export function spawnDetached(
  argv: readonly string[],
  { environment, name }: { readonly environment: Environment; readonly name: string },
): Promise<DetachedInstance> {
  const logPath = instanceLogPath(environment, name);
  const log = openSync(logPath, "w", PRIVATE_FILE);
  const child = spawn(process.execPath, [...process.execArgv, ENTRY_PATH, ...argv], {
    detached: true,
    stdio: ["ignore", "ignore", log, "ipc"],
    env: { ...environment, [DETACHED]: "1" },
  });
  closeSync(log);
  return new Promise((resolve, reject) => {
    const fail = (error: CliError): void => {
      if (child.connected) child.disconnect();
      child.unref();
      reject(error);
    };
    child.once("error", (cause) =>
      fail(new CliError(`can't start ${name}: ${cause.message}`, { code: "spawn", cause })),
    );
    child.once("exit", (code, signal) =>
      fail(
        new CliError(`${name} ended before it was ready (${signal ?? `status ${code ?? 0}`})`, {
          code: "spawn",
          next: `cat ${shellWord(logPath)}`,
        }),
      ),
    );
    child.once("message", (message) => {
      child.removeAllListeners("exit");
      if (!isJsonObject(message) || isJsonObject(message["error"]))
        return fail(errorOfJson(isJsonObject(message) && isJsonObject(message["error"]) ? message["error"] : {}));
      resolve({
        processId: child.pid ?? 0,
        ready: message,
        release() {
          if (child.connected) child.disconnect();
          child.unref();
        },
        ended: (milliseconds) => ended(child, milliseconds),
        kill() {
          child.kill();
          child.unref();
        },
      });
    });
  });
}

function ended(child: ChildProcess, milliseconds: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Whether this process was started by `spawnDetached`. */
export function isDetached(environment: Environment): boolean {
  return environment[DETACHED] === "1" && process.send !== undefined;
}

export function sayReady(ready: JsonObject): void {
  if (process.connected) process.send?.({ ...ready });
}

/** Who started this process, and waited for its word, is gone. */
export function onStarterGone(listener: () => void): void {
  process.once("disconnect", listener);
}

/** Runs an instance; an error goes to whoever started this process, and waits, as well as into the log. */
export async function reportingToStarter<Result>(
  environment: Environment,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    if (isDetached(environment) && process.connected)
      await new Promise<void>((resolve) => {
        process.send?.({ error: errorJson(asCliError(error)) }, () => resolve());
      });
    throw error;
  } finally {
    if (isDetached(environment) && process.connected) process.disconnect();
  }
}
