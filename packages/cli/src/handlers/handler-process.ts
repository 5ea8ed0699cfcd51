/**
 * What the file of a handler does to the process that its VM runs in: it can't end it, what it prints by `console` is no part
 * of the command's output, which is the guest's console or JSON, and what it throws outside of a call,
 * in a timer or a promise that nobody awaits, is its own failure and not a bug of the command.
 */
import { Console } from "node:console";
import { CliError } from "../cli-error.js";

const end = process.exit.bind(process);
let report: ((error: Error) => number) | undefined;
let isGuarded = false;

/** From here on files of handlers are guarded against; `told` prints such an error and gives the exit status. */
export function guardAgainstHandlers(told: (error: Error) => number): void {
  report = told;
}

/** Code of others is about to run. Where no command runs, nothing is changed of the process. */
export function handlerCodeLoads(): void {
  if (report === undefined || isGuarded) return;
  isGuarded = true;
  globalThis.console = new Console(process.stderr, process.stderr);
  process.exit = (code?: number | string | null): never => {
    throw new Error(`process.exit(${code ?? ""}): a handler can't end the process that its VM runs in`);
  };
  process.on("uncaughtException", (error) => {
    end(report?.(strayError(error)));
  });
}

/** Ends the process with `process.exitCode`. */
export function endNow(): never {
  return end();
}

function strayError(error: unknown): Error {
  const [first = "", ...stack] = (error instanceof Error ? (error.stack ?? error.message) : String(error)).split("\n");
  return new CliError(`a handler threw outside of its call, and nothing awaits it: ${first}`, {
    code: "handler-failed",
    details: stack.slice(0, 1).map((line) => line.trim()),
  });
}
