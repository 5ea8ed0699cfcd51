/**
 * Typed input whose positions the guest decides, so that every recording of it is equal:
 *
 *     at console /login: $/ send "root\n"
 *     at time 1.5s send "\x03"
 *
 * Lines happen in order: one waits until the one before has been sent. Console text before that does not count.
 */
import { encodeUtf8 } from "../canonical/utf8.js";
import { ConsoleMatcher } from "../console-matcher.js";
import { parseGuestTime } from "../guest-time.js";
import type { OutsideInput } from "../ports/vmm-half.js";

export const CONSOLE_PORT = 0;

export interface ScriptEntry {
  readonly at: { readonly console: RegExp } | { readonly timeNs: number };
  readonly bytes: Uint8Array;
}

export class InputScriptError extends Error {
  override readonly name = "InputScriptError";
  /** From 1. */
  readonly line: number;
  constructor(line: number, reason: string) {
    super(`can't read the input script: line ${line}: ${reason}`);
    this.line = line;
  }
}

const LINE = /^at\s+(?:console\s+\/((?:[^/\\]|\\.)+)\/([imsu]*)|time\s+(\S+))\s+send\s+"((?:[^"\\]|\\.)*)"$/;
const ESCAPES: { readonly [letter: string]: string } = {
  n: "\n",
  r: "\r",
  t: "\t",
  e: "\x1b",
  "0": "\0",
  "\\": "\\",
  '"': '"',
};

function unescape(text: string, line: number): string {
  return text.replace(/\\(x[0-9a-fA-F]{2}|.)/g, (_, escape: string) => {
    if (escape.length === 3) return String.fromCharCode(parseInt(escape.slice(1), 16));
    const character = ESCAPES[escape];
    if (character === undefined) throw new InputScriptError(line, `unknown escape \\${escape}`);
    return character;
  });
}

function parseLine(text: string, line: number): ScriptEntry {
  const match = LINE.exec(text);
  if (match === null)
    throw new InputScriptError(
      line,
      `expected 'at console /RE/ send "text"' or 'at time 1.5s send "text"', found '${text}'`,
    );
  const [, source, flags, time, sent] = match;
  const bytes = encodeUtf8(unescape(sent ?? "", line));
  if (time !== undefined) {
    const timeNs = parseGuestTime(time);
    if (timeNs === undefined) throw new InputScriptError(line, `'${time}' is no time: 1.5s, 20ms, 7us, 12ns`);
    return { at: { timeNs }, bytes };
  }
  try {
    return { at: { console: new RegExp(source ?? "", flags) }, bytes };
  } catch (error) {
    throw new InputScriptError(line, error instanceof Error ? error.message : String(error));
  }
}

/** Empty lines and lines that start with # are skipped. Throws InputScriptError. */
export function parseInputScript(text: string): ScriptEntry[] {
  const entries: ScriptEntry[] = [];
  text.split("\n").forEach((raw, index) => {
    const line = raw.trim();
    if (line !== "" && !line.startsWith("#")) entries.push(parseLine(line, index + 1));
  });
  return entries;
}

/** Follows the guest through a script and says what is due. */
export class InputScript {
  readonly #entries: readonly ScriptEntry[];
  #next = 0;
  #matcher: ConsoleMatcher | undefined;
  #matched = false;

  constructor(entries: readonly ScriptEntry[]) {
    this.#entries = entries;
    this.#prepare();
  }

  #prepare(): void {
    const at = this.#entries[this.#next]?.at;
    this.#matched = false;
    this.#matcher = at !== undefined && "console" in at ? new ConsoleMatcher(at.console) : undefined;
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    if (port !== CONSOLE_PORT || this.#matcher === undefined || this.#matched) return;
    this.#matched = this.#matcher.pushAll(bytes) > 0;
  }

  /** Guest time of the next entry, if that waits for a time. */
  get nextTimeNs(): number | undefined {
    const at = this.#entries[this.#next]?.at;
    return at !== undefined && "timeNs" in at ? at.timeNs : undefined;
  }

  /** What is due now, in order; each is given once. */
  takeDue(guestTimeNs: number): OutsideInput[] {
    const due: OutsideInput[] = [];
    for (;;) {
      const entry = this.#entries[this.#next];
      if (entry === undefined) return due;
      if ("timeNs" in entry.at ? guestTimeNs < entry.at.timeNs : !this.#matched) return due;
      due.push({ port: CONSOLE_PORT, bytes: entry.bytes });
      this.#next += 1;
      this.#prepare();
    }
  }

  /** Entries that have not come up: what the guest never reached. */
  get left(): readonly ScriptEntry[] {
    return this.#entries.slice(this.#next);
  }
}
