/** `--handler FILE|builtin:NAME`, which may be repeated, and `--handler-timeout TIME`. */
import { type EventPayload, meantHint, parseGuestTime, shellCommand } from "@hvjournal/core";
import { BUILTIN_HANDLER_NAMES, builtinHandler, isBuiltinName, type NamedHandler } from "@hvjournal/vmm";
import { UsageError } from "../cli-error.js";
import { type Arguments, flag, listOption, stringOption, textOption } from "../commands/command.js";
import { DEFAULT_RECORDING } from "../recording-path.js";
import { loadHandlerFile } from "./handler-file.js";
import { HandlerWatchdog } from "./handler-watchdog.js";
import { type TimeLimit, timedHandler } from "./timed-handler.js";

const DEFAULT_TIMEOUT = "10s";
const NANOSECONDS_PER_MS = 1e6;
/** setTimeout takes no more. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export const HANDLER_OPTION = textOption(
  "FILE, builtin:psci, builtin:sdei, builtin:hv-ext: answers the VMM's calls; repeatable, asked in turn (hvjournal help handlers)",
);
export const HANDLER_TIMEOUT_OPTION = textOption("wall clock that a handler may take (10s)");

export interface LoadedHandler extends NamedHandler {
  /** Of a file: its fingerprint, hex. */
  readonly sha256?: string;
}

/** Throws UsageError for a name that there is not, and what `loadHandlerFile` throws. */
export function loadHandlers(names: readonly string[], args: Arguments): LoadedHandler[] {
  if (names.length === 0) return [];
  const limit = timeLimit(names, args);
  return names.map((name, index) => {
    if (isBuiltinName(name)) return builtinNamed(name);
    return timedHandler(loadHandlerFile(name), index, limit);
  });
}

function builtinNamed(name: string): NamedHandler {
  let found;
  try {
    found = builtinHandler(name);
  } catch (error) {
    throw new UsageError(
      `--handler ${name}: ${error instanceof Error ? error.message : ""}`,
      "hvjournal help handlers",
    );
  }
  if (found !== undefined) return found;
  const hint = meantHint(name, BUILTIN_HANDLER_NAMES);
  throw new UsageError(
    `--handler ${name}: there are ${BUILTIN_HANDLER_NAMES.join(", ")}${hint}`,
    "hvjournal help handlers",
  );
}

function timeLimit(names: readonly string[], args: Arguments): TimeLimit {
  const text = stringOption(args, "handler-timeout") ?? DEFAULT_TIMEOUT;
  const limitMs = (parseGuestTime(text) ?? 0) / NANOSECONDS_PER_MS;
  if (limitMs < 1 || limitMs > TIMEOUT_MS_MAX)
    throw new UsageError(`--handler-timeout ${text}: expected a time from 1ms up, such as 10s`);
  const watched = { limitMs, handlers: names, json: flag(args, "json"), ...afterKill(args) };
  return { limitMs, text, watchdog: new HandlerWatchdog(watched) };
}

/** No option of a command line. */
const RERUN_OF = "rerun-of";

/** What of a command's options says how handlers are watched where `recording` is only run again. */
export function watchOptions(args: Arguments, recording: string): Arguments {
  return { "handler-timeout": args["handler-timeout"], json: args["json"], [RERUN_OF]: recording };
}

/** What a process that is killed leaves, and what looks at it. */
function afterKill(args: Arguments): { readonly left: string; readonly next: string } {
  const rerunOf = stringOption(args, RERUN_OF);
  if (rerunOf !== undefined)
    return { left: `${rerunOf} is as it was`, next: shellCommand("hvjournal", "log", rerunOf, "--hypercalls") };
  const recording = stringOption(args, "output") ?? DEFAULT_RECORDING;
  return { left: "what was committed stays", next: shellCommand("hvjournal", "fsck", recording) };
}

/** The options again, for an instance in a process of its own. */
export function handlerWords(args: Arguments): string[] {
  const timeout = stringOption(args, "handler-timeout");
  const words = listOption(args, "handler").flatMap((name) => ["--handler", name]);
  return timeout === undefined ? words : [...words, "--handler-timeout", timeout];
}

/** As the machine description has them. */
export function handlersPayload(handlers: readonly LoadedHandler[]): EventPayload {
  if (handlers.length === 0) return {};
  return { handlers: handlers.map(({ name, sha256 }) => ({ name, ...(sha256 === undefined ? {} : { sha256 }) })) };
}
