/** Errors that a user meets: what happened, with the values and the place, and what to do next. */
import type { ErrorCode } from "./error-codes.js";
import { ExitStatus, type ExitCode } from "./exit-status.js";

export interface CliErrorOptions {
  /** What `--json` has as `error`. */
  readonly code: ErrorCode;
  readonly status?: ExitCode;
  /** A command that can be pasted. */
  readonly next?: string;
  readonly position?: string;
  /** Further lines, printed below the message as they are. */
  readonly details?: readonly string[];
  /** Further fields for `--json`. */
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: ErrorCode;
  readonly status: ExitCode;
  readonly next: string | undefined;
  readonly position: string | undefined;
  readonly details: readonly string[];
  readonly fields: Readonly<Record<string, unknown>>;
  constructor(message: string, options: CliErrorOptions) {
    super(message, { cause: options.cause });
    this.code = options.code;
    this.status = options.status ?? ExitStatus.error;
    this.next = options.next;
    this.position = options.position;
    this.details = options.details ?? [];
    this.fields = options.fields ?? {};
  }
}

/** Wrong usage: exit status 129. */
export class UsageError extends CliError {
  constructor(message: string, next?: string) {
    super(message, { code: "usage", status: ExitStatus.usage, ...(next === undefined ? {} : { next }) });
  }
}

/** SIGINT, SIGTERM or SIGHUP: exit status 130. `place`: " at exit:5 icount:70", and its fields for `--json`. */
export function interrupted(
  what: string,
  signal: NodeJS.Signals,
  place?: { readonly text: string; readonly fields: Readonly<Record<string, unknown>> },
): CliError {
  return new CliError(`${what}: interrupted (${signal})${place?.text ?? ""}`, {
    code: "interrupted",
    status: ExitStatus.interrupted,
    fields: { signal, ...place?.fields },
  });
}
