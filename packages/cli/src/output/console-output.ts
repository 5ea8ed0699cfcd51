/** Where a command writes: data on stdout, everything else on stderr. */
import { writeSync } from "node:fs";
import { CliError } from "../cli-error.js";
import { reason } from "../host/drive-file.js";
import { LOG_PACE, TERMINAL_PACE } from "./pace.js";
import type { Pager } from "./pager.js";

export interface Output {
  /** One line of data. */
  line(text: string): void;
  /** Data bytes as they are. */
  bytes(bytes: Uint8Array): void;
  /** A note for people. */
  note(text: string): void;
  error(message: string, details: readonly string[], next: string | undefined): void;
  /** Whether it is time to say how far the command has come: never where it is quiet or short. */
  isProgressDue(): boolean;
  /** Replaces the progress line on a terminal; elsewhere a line of its own. */
  progress(text: string): void;
  /** Lets a pager take what has been written. False: its reader has seen enough. */
  flush(): Promise<boolean>;
  /** Sends data through a pager from now on, where stdout is a terminal; to be ended by `endPager`. */
  startPager(): void;
  endPager(): Promise<void>;
  /** Colours text of stdout where they are wanted. */
  paint(color: Color, text: string): string;
  readonly json: boolean;
  readonly quiet: boolean;
}

export type Color = "red" | "green" | "cyan" | "bold" | "dim";

const COLOR_CODES: Readonly<Record<Color, number>> = { bold: 1, dim: 2, red: 31, green: 32, cyan: 36 };

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  /** On stdout; errors are coloured by what stderr is. */
  readonly color: boolean;
  readonly colorErrors: boolean;
  /** undefined: stdout is no terminal, or nobody wants one. */
  readonly openPager?: (() => Pager) | undefined;
}

const STDOUT = 1;
const STDERR = 2;
/** Between two tries at a pipe that is full. */
const RETRY_MS = 1;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

export function painted(color: Color, text: string): string {
  return `\x1b[${COLOR_CODES[color]}m${text}\x1b[0m`;
}

/** Standard output takes no more: its disk is full, say. */
export class OutputError extends CliError {
  constructor(cause: unknown) {
    super(`can't write to standard output: ${reason(cause)}`, { code: "output", cause });
  }
}

/** Writes through file descriptors, so that nothing is lost when the process ends. */
export function processOutput(options: OutputOptions): Output {
  const pace = process.stderr.isTTY ? TERMINAL_PACE : LOG_PACE;
  let progressShown = false;
  let progressDueAt = performance.now() + pace.first;
  let pager: Pager | undefined;
  const clear = (): void => {
    if (progressShown) writeAll(STDERR, "\r\x1b[K");
    progressShown = false;
  };
  const data = (content: string | Uint8Array): void => {
    clear();
    if (pager === undefined) writeAll(STDOUT, content);
    else pager.write(content);
  };
  return {
    json: options.json,
    quiet: options.quiet,
    line: (text) => data(`${text}\n`),
    bytes: data,
    note(text) {
      clear();
      if (!options.quiet) writeAll(STDERR, `${text}\n`);
    },
    error(message, details, next) {
      clear();
      const label = options.colorErrors ? painted("red", "error:") : "error:";
      const more = [...details, ...(next === undefined ? [] : [`next: ${next}`])];
      writeAll(STDERR, [`${label} ${message}`, ...more, ""].join("\n"));
    },
    isProgressDue: () => !options.quiet && performance.now() >= progressDueAt,
    progress(text) {
      progressDueAt = performance.now() + pace.interval;
      progressShown = process.stderr.isTTY;
      writeAll(STDERR, progressShown ? `\r\x1b[K${text}` : `${text}\n`);
    },
    flush: () => pager?.flush() ?? Promise.resolve(true),
    startPager() {
      pager ??= options.openPager?.();
    },
    async endPager() {
      await pager?.end();
      pager = undefined;
    },
    paint: (color, text) => (options.color ? painted(color, text) : text),
  };
}

/** Waits for the reader, and so does everything else in this process: not for the console of a VM that runs. */
function writeAll(file: number, content: string | Uint8Array): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(file, bytes, done);
    } catch (error) {
      // Nobody reads any more: the reader has seen enough.
      if (isCode(error, "EPIPE")) return;
      if (!isCode(error, "EAGAIN")) {
        if (file === STDERR) return;
        throw new OutputError(error);
      }
      Atomics.wait(sleepCell, 0, 0, RETRY_MS);
    }
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** JSON with 64-bit values as "0x…" and bytes as hex. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") return `0x${item.toString(16)}`;
    if (item instanceof Uint8Array) return Buffer.from(item).toString("hex");
    return item;
  });
}
