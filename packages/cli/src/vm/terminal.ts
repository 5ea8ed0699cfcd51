/** The console of a session: a terminal with C-a as its escape, or pipes. */
import { STOPPING_SIGNALS } from "../host/stopping-signals.js";
import type { Output } from "../output/console-output.js";
import { stdoutConsole } from "../output/live-console.js";
import type { LiveSession } from "./live-session.js";

const CONSOLE_PORT = 0;
const ESCAPE = 1;

const HELP = [
  "C-a x  stop and close the recording",
  "C-a s  take a snapshot",
  "C-a p  pause or go on",
  "C-a h  this help",
  "C-a a  send C-a",
];

export interface TerminalOptions {
  readonly headless: boolean;
  readonly output: Output;
  /** A script types: a pipe on standard input is left alone. */
  readonly scripted: boolean;
}

export interface AttachedTerminal {
  detach(): void;
  /** Kept once all that the guest has written has been read, or its reader is gone. */
  drained(): Promise<void>;
}

/** Connects console output, and where there is a reader, input; signals stop cleanly. */
export function attachTerminal(session: LiveSession, options: TerminalOptions): AttachedTerminal {
  const { output, headless } = options;
  const drained = output.quiet || output.json ? () => Promise.resolve() : showConsole(session, output);
  const interrupt = (signal: NodeJS.Signals): void => session.stop({ why: "interrupted", by: signal });
  for (const signal of STOPPING_SIGNALS) process.once(signal, interrupt);
  const reads = !headless && (process.stdin.isTTY || !options.scripted);
  const keys = new Keys(session, output);
  const onData = (bytes: Buffer): void => (process.stdin.isTTY ? keys.type(bytes) : session.type(bytes));
  if (reads) {
    if (process.stdin.isTTY) process.stdin.setRawMode(true);
    process.stdin.on("data", onData);
  }
  return {
    drained,
    detach() {
      for (const signal of STOPPING_SIGNALS) process.off(signal, interrupt);
      if (!reads) return;
      process.stdin.off("data", onData);
      if (process.stdin.isTTY) process.stdin.setRawMode(false);
      process.stdin.pause();
    },
  };
}

/** A slow reader holds the guest back, and nothing else. */
function showConsole(session: LiveSession, output: Output): () => Promise<void> {
  const console = stdoutConsole((reason) =>
    output.note(`note: the console goes nowhere any more, only into the recording: ${reason}`),
  );
  session.recorder.onOutput((port, bytes) => {
    if (port === CONSOLE_PORT) console.write(bytes);
  });
  session.holdBackBy(() => console.behind());
  return () => console.drained();
}

class Keys {
  readonly #session: LiveSession;
  readonly #output: Output;
  #escaped = false;

  constructor(session: LiveSession, output: Output) {
    this.#session = session;
    this.#output = output;
  }

  type(bytes: Uint8Array): void {
    const typed: number[] = [];
    for (const byte of bytes) {
      if (this.#escaped) {
        this.#escaped = false;
        if (byte === 0x61) typed.push(ESCAPE);
        else this.#command(String.fromCharCode(byte));
      } else if (byte === ESCAPE) this.#escaped = true;
      else typed.push(byte);
    }
    if (typed.length > 0) this.#session.type(Uint8Array.from(typed));
  }

  #command(letter: string): void {
    switch (letter) {
      case "x":
        return this.#session.stop({ why: "interrupted", by: "C-a x" });
      case "s":
        return void this.#session
          .requestBeside(() => {
            const { number, exitNumber } = this.#session.recorder.snapshotHere();
            this.#output.note(`\r\nsnapshot:${number} at exit:${exitNumber}\r`);
          })
          .catch(() => undefined);
      case "p":
        return this.#session.paused ? this.#session.resume() : this.#session.pause();
      default:
        for (const line of HELP) this.#output.note(`${line}\r`);
    }
  }
}
