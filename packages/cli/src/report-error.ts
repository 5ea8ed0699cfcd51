/** Turns whatever was thrown into the two lines that a user reads and the status that scripts read. */
import { JournalDamagedError, JournalError, JournalFormatError } from "@hvjournal/journal";
import {
  DivergenceError,
  InputScriptError,
  MachineDescriptionError,
  PositionError,
  ExpressionError,
} from "@hvjournal/core";
import { BootError } from "@hvjournal/vmm";
import { CliError } from "./cli-error.js";
import { ExitStatus, type ExitCode } from "./exit-status.js";
import { jsonLine, type Output } from "./output/console-output.js";

interface Report {
  readonly code: string;
  readonly message: string;
  readonly status: ExitCode;
  readonly next: string | undefined;
}

/** Prints an error and gives the exit status. A bug says that it is one, with its stack. */
export function reportError(error: unknown, output: Output): ExitCode {
  const report = describe(error);
  if (output.json) {
    output.line(
      jsonLine({
        error: report.code,
        message: report.message,
        ...(report.next === undefined ? {} : { next: report.next }),
      }),
    );
    return report.status;
  }
  process.stderr.write(`error: ${report.message}\n`);
  if (report.next !== undefined) process.stderr.write(`next: ${report.next}\n`);
  return report.status;
}

function describe(error: unknown): Report {
  if (error instanceof CliError)
    return { code: error.code, message: error.message, status: error.status, next: error.next };
  if (error instanceof JournalFormatError)
    return { code: error.code, message: error.message, status: ExitStatus.untestable, next: error.next };
  if (error instanceof JournalDamagedError || error instanceof JournalError)
    return { code: error.code, message: error.message, status: ExitStatus.error, next: error.next };
  if (error instanceof DivergenceError)
    return { code: "diverged", message: error.message, status: ExitStatus.no, next: undefined };
  if (error instanceof MachineDescriptionError)
    return {
      code: "machine",
      message: error.message,
      status: error.unsupported ? ExitStatus.untestable : ExitStatus.usage,
      next: undefined,
    };
  if (error instanceof InputScriptError || error instanceof PositionError || error instanceof ExpressionError)
    return { code: "usage", message: error.message, status: ExitStatus.usage, next: undefined };
  if (error instanceof BootError)
    return { code: "boot", message: error.message, status: ExitStatus.error, next: undefined };
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: "bug", message: `this is a bug in hvjournal: ${stack}`, status: ExitStatus.error, next: undefined };
}
