/**
 * Typed input whose positions the guest decides, so that every recording of it is equal:
 *
 *     at console /login: $/ send "root\n"
 *     at time 1.5s send "\x03"
 *
 * Lines happen in order: one waits until the one before has been sent. Console text before that does not count.
 */
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { PayloadError, PayloadFields } from "../canonical/payload-fields.js";
import { encodeUtf8 } from "../canonical/utf8.js";
import { CONSOLE_START, ConsoleMatcher, type MatcherState } from "../console-matcher.js";
import type { EventPayload } from "../event/event-kind.js";
import { parseGuestTime } from "../guest-time.js";
import type { OutsideInput } from "../ports/vmm-half.js";

export const CONSOLE_PORT = 0;
const REPLACEMENT = "\ufffd";

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

/** How far a guest has come through a script. */
export interface ScriptState {
  /** Those that have not come up. */
  readonly entries: readonly ScriptEntry[];
  /** The first of them has matched and is due. */
  readonly matched: boolean;
  readonly matcher: MatcherState;
}

export function scriptPayload({ entries, matched, matcher }: ScriptState): EventPayload {
  return {
    entries: entries.map(({ at, bytes }) =>
      "timeNs" in at ? { timeNs: at.timeNs, bytes } : { console: at.console.source, flags: at.console.flags, bytes },
    ),
    matched,
    window: matcher.window,
    sequence: matcher.sequence,
  };
}

/** Throws PayloadError, or SyntaxError for an expression that this host does not take. */
export function parseScriptState(payload: EventPayload): ScriptState {
  const fields = new PayloadFields("input script", payload);
  const entries = fields.array("entries").map((item): ScriptEntry => {
    if (!isPlainMap(item)) throw new PayloadError("input script", "entries", "map", item);
    const entry = new PayloadFields("input script: entry", item);
    const bytes = entry.bytes("bytes");
    if (entry.has("timeNs")) return { at: { timeNs: entry.number("timeNs") }, bytes };
    return { at: { console: new RegExp(entry.string("console"), entry.string("flags")) }, bytes };
  });
  return {
    entries,
    matched: fields.boolean("matched"),
    matcher: { window: fields.string("window"), sequence: fields.array("sequence").map(Number) },
  };
}

const ASCII: readonly string[] = Array.from({ length: 0x80 }, (_, code) => String.fromCharCode(code));

/** Only whether it ends a line matters of what is no ASCII. */
function characterOf(byte: number): string {
  return ASCII[byte] ?? REPLACEMENT;
}

const NOTHING_DUE: readonly OutsideInput[] = [];

/** Follows the guest through a script and says what is due. */
export class InputScript {
  readonly #entries: readonly ScriptEntry[];
  #next = 0;
  #matcher: ConsoleMatcher | undefined;
  #matched = false;
  /** What the guest wrote last: whether a line begins behind it. */
  #before = CONSOLE_START;

  constructor(entries: readonly ScriptEntry[]) {
    this.#entries = entries;
    this.#prepare();
  }

  /** One that goes on where another stood. */
  static restore({ entries, matched, matcher }: ScriptState): InputScript {
    const script = new InputScript(entries);
    script.#matched = matched;
    script.#matcher?.restore(matcher);
    if (matcher.window !== "") script.#before = matcher.window.slice(-1);
    return script;
  }

  save(): ScriptState {
    return {
      entries: this.left,
      matched: this.#matched,
      matcher: this.#matcher?.save() ?? { window: this.#before, sequence: [] },
    };
  }

  #prepare(): void {
    const at = this.#entries[this.#next]?.at;
    this.#matched = false;
    this.#matcher = at !== undefined && "console" in at ? new ConsoleMatcher(at.console, this.#before) : undefined;
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    if (port !== CONSOLE_PORT) return;
    const last = bytes[bytes.length - 1];
    if (last !== undefined) this.#before = characterOf(last);
    if (this.#matcher === undefined || this.#matched) return;
    this.#matched = this.#matcher.pushAll(bytes) > 0;
  }

  get isOver(): boolean {
    return this.#next >= this.#entries.length;
  }

  /** Guest time of the next entry, if that waits for a time. */
  get nextTimeNs(): number | undefined {
    const at = this.#entries[this.#next]?.at;
    return at !== undefined && "timeNs" in at ? at.timeNs : undefined;
  }

  /** What is due now, in order; each is given once. */
  takeDue(guestTimeNs: number): readonly OutsideInput[] {
    if (this.isOver) return NOTHING_DUE;
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
