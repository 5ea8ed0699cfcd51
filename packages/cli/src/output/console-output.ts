/** Where a command writes: data on stdout, everything else on stderr. */
import { writeSync } from "node:fs";

export interface Output {
  /** One line of data. */
  line(text: string): void;
  /** Data bytes as they are. */
  bytes(bytes: Uint8Array): void;
  /** A note for people. */
  note(text: string): void;
  /** Replaces the progress line; only on a terminal. */
  progress(text: string): void;
  readonly json: boolean;
  readonly quiet: boolean;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

const STDOUT = 1;
const STDERR = 2;

/** Writes through file descriptors, so that nothing is lost when the process ends. */
export function processOutput(options: OutputOptions): Output {
  let progressShown = false;
  const clear = (): void => {
    if (progressShown) writeAll(STDERR, "\r\x1b[K");
    progressShown = false;
  };
  return {
    ...options,
    line(text) {
      clear();
      writeAll(STDOUT, `${text}\n`);
    },
    bytes(bytes) {
      writeAll(STDOUT, bytes);
    },
    note(text) {
      clear();
      if (!options.quiet) writeAll(STDERR, `${text}\n`);
    },
    progress(text) {
      if (options.quiet || !process.stderr.isTTY) return;
      writeAll(STDERR, `\r\x1b[K${text}`);
      progressShown = true;
    },
  };
}

function writeAll(file: number, content: string | Uint8Array): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(file, bytes, done);
    } catch (error) {
      // A pipe that is full: try again; one that nobody reads: the reader has seen enough.
      if (isCode(error, "EAGAIN")) continue;
      if (isCode(error, "EPIPE")) return;
      throw error;
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
