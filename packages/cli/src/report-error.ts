/** Turns whatever was thrown into the lines that a user reads and the status that scripts read. */
import {
  ChannelTimeoutError,
  DivergenceError,
  ExpressionError,
  InputScriptError,
  MachineDescriptionError,
  MigrationFailedError,
  MigrationInDoubtError,
  MigrationRefusedError,
  OwnershipError,
  PositionError,
  RecorderError,
  ReplayError,
  StateSectionError,
  UnknownEventError,
} from "@hvjournal/core";
import { JournalError, JournalFormatError } from "@hvjournal/journal";
import { BootError, HandlerError } from "@hvjournal/vmm";
import { CliError } from "./cli-error.js";
import type { ErrorCode } from "./error-codes.js";
import { type ExitCode, ExitStatus } from "./exit-status.js";
import { shellHint } from "./help/shell-hint.js";
import { jsonLine, type Output, OutputError } from "./output/console-output.js";

interface Report {
  readonly code: ErrorCode;
  readonly message: string;
  readonly status: ExitCode;
  readonly next?: string | undefined;
  readonly position?: string | undefined;
  readonly details?: readonly string[];
  readonly fields?: Readonly<Record<string, unknown>>;
}

/**
 * Prints an error and gives the exit status. A bug says that it is one, with its stack. `help`: where usage is explained. An
 * error that standard output does not take, as `--json` wants it there, is told as that.
 */
export function reportError(error: unknown, output: Output, help?: string): ExitCode {
  const report = describe(error);
  const { code, message, status, position, details = [], fields = {} } = report;
  const next = report.next ?? (status === ExitStatus.usage ? help : undefined);
  try {
    if (output.json && !(error instanceof OutputError))
      output.line(jsonLine({ error: code, message, position, next, ...fields }));
    else output.error(message, details, next);
    return status;
  } catch (failure) {
    if (!(failure instanceof OutputError)) throw failure;
    output.error(failure.message, failure.details, failure.next);
    return failure.status;
  }
}

/** For those who pass an error on. */
export function asCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  const { message, next, position, ...rest } = describe(error);
  return new CliError(message, {
    ...rest,
    ...(next === undefined ? {} : { next }),
    ...(position === undefined ? {} : { position }),
    cause: error,
  });
}

function describe(error: unknown): Report {
  if (error instanceof CliError) return error;
  if (error instanceof JournalFormatError)
    // A file that is no recording at all is none for any build.
    return {
      code: error.code,
      message: error.message,
      status: error.formatVersion === undefined ? ExitStatus.error : ExitStatus.untestable,
      next: error.next,
    };
  if (error instanceof JournalError)
    return { code: error.code, message: error.message, status: ExitStatus.error, next: error.next };
  if (error instanceof DivergenceError) return { code: "diverged", message: error.message, status: ExitStatus.no };
  if (error instanceof UnknownEventError || error instanceof StateSectionError)
    return { code: "not-known-here", message: error.message, status: ExitStatus.untestable };
  if (error instanceof MachineDescriptionError) {
    const status = error.unsupported ? ExitStatus.untestable : ExitStatus.usage;
    return { code: error.unsupported ? "not-known-here" : "machine", message: error.message, status };
  }
  if (error instanceof PositionError)
    return { code: "usage", message: error.message, status: ExitStatus.usage, next: "hvjournal help positions" };
  if (error instanceof ExpressionError)
    return {
      code: "usage",
      message: error.message + shellHint(error.source),
      status: ExitStatus.usage,
      next: "hvjournal help expressions",
    };
  if (error instanceof InputScriptError) return { code: "usage", message: error.message, status: ExitStatus.usage };
  if (error instanceof BootError) return { code: "boot", message: error.message, status: ExitStatus.error };
  if (error instanceof HandlerError) return { code: error.code, message: error.message, status: ExitStatus.error };
  if (error instanceof ReplayError) return { code: "replay", message: error.message, status: ExitStatus.error };
  if (error instanceof MigrationRefusedError)
    return { code: "migration-refused", message: error.message, status: ExitStatus.no };
  if (error instanceof MigrationFailedError) {
    const isLate = error.cause instanceof ChannelTimeoutError;
    return isLate
      ? { code: "timeout", message: error.message, status: ExitStatus.timeout }
      : { code: "migration-failed", message: error.message, status: ExitStatus.error };
  }
  if (error instanceof MigrationInDoubtError)
    return { code: "migration-in-doubt", message: error.message, status: ExitStatus.error };
  if (error instanceof OwnershipError || error instanceof RecorderError)
    return { code: "not-possible", message: error.message, status: ExitStatus.no };
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: "bug", message: `this is a bug in hvjournal: ${stack}`, status: ExitStatus.error };
}
