/** POSITION, RANGE and FILE@POSITION of the command line. */
import { parseGuestTime } from "../guest-time.js";

/** A moment as the user wrote it; `occurrence` K picks the K-th match from 1, -1 the last. */
export type Position =
  | { readonly at: "start" }
  | { readonly at: "end" }
  | { readonly at: "exit"; readonly number: number; readonly unitsAfter?: number }
  | { readonly at: "reason"; readonly reason: string; readonly occurrence: number }
  | { readonly at: "event"; readonly seq: number }
  | { readonly at: "icount"; readonly icount: number }
  | { readonly at: "time"; readonly timeNs: number }
  | { readonly at: "console"; readonly expression: RegExp; readonly occurrence: number }
  | { readonly at: "hypercall"; readonly function: bigint; readonly occurrence: number }
  | { readonly at: "snapshot"; readonly number: number };

export interface PositionRange {
  readonly from: Position | undefined;
  readonly to: Position | undefined;
}

/** A text that is no position. */
export class PositionError extends Error {
  override readonly name = "PositionError";
  readonly text: string;
  constructor(text: string, reason: string) {
    super(`can't read the position '${text}': ${reason}`);
    this.text = text;
  }
}

/** A range whose end lies before its beginning: nothing could be in it. */
export class ReversedRangeError extends PositionError {
  constructor(from: string, to: string) {
    const text = `${from}..${to}`;
    super(text, "");
    this.message = `the range ${text} is reversed: ${to} lies before ${from}; did you mean ${to}..${from}?`;
  }
}

const FORMS =
  "start, end, exit:N, exit:N+K, exit:REASON, event:N, icount:N, time:1.5s, console:/RE/, hypercall:N, snapshot:N";
const KEYWORDS = /^(exit|event|icount|time|console|hypercall|snapshot)(?::|\s+)/;
const CONSOLE = /^console:\/((?:[^/\\]|\\.)+)\/([imsu]*)/;

function wholeNumber(text: string, whole: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw new PositionError(whole, `'${text}' is no whole number`);
  return value;
}

function splitOccurrence(
  text: string,
  whole: string,
): { readonly body: string; readonly occurrence: number | undefined } {
  const match = /^(.*)#(-?\d+)$/s.exec(text);
  if (match === null) return { body: text, occurrence: undefined };
  const occurrence = Number(match[2]);
  if (occurrence === 0) throw new PositionError(whole, "matches are counted from #1, or from the end with #-1");
  return { body: match[1] ?? "", occurrence };
}

function parseConsole(text: string): Position {
  const match = CONSOLE.exec(text);
  if (match === null)
    throw new PositionError(text, "a regular expression between slashes is expected: console:/login:/");
  const { body, occurrence } = splitOccurrence(text.slice(match[0].length), text);
  if (body !== "") throw new PositionError(text, `'${body}' behind the expression`);
  try {
    return { at: "console", expression: new RegExp(match[1] ?? "", match[2]), occurrence: occurrence ?? 1 };
  } catch (error) {
    throw new PositionError(text, error instanceof Error ? error.message : String(error));
  }
}

function parseExit(body: string, occurrence: number | undefined, whole: string): Position {
  const match = /^(\d+)(?:\+(\d+))?$/.exec(body);
  if (match === null) {
    if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(body))
      throw new PositionError(whole, "exit:N, exit:N+K or exit:REASON is expected");
    return { at: "reason", reason: body, occurrence: occurrence ?? 1 };
  }
  if (occurrence !== undefined) throw new PositionError(whole, "an exit's number has no second match");
  const number = wholeNumber(match[1] ?? "", whole);
  if (number === 0) throw new PositionError(whole, "exits are numbered from 1");
  return match[2] === undefined
    ? { at: "exit", number }
    : { at: "exit", number, unitsAfter: wholeNumber(match[2], whole) };
}

function parseHypercall(body: string, occurrence: number | undefined, whole: string): Position {
  if (!/^(0x[0-9a-fA-F]{1,16}|\d{1,20})$/.test(body)) throw new PositionError(whole, `'${body}' is no function number`);
  return { at: "hypercall", function: BigInt(body), occurrence: occurrence ?? 1 };
}

/** Two words do as well as a colon: "exit 4821". Throws PositionError. */
export function parsePosition(given: string): Position {
  const text = given.trim().replace(KEYWORDS, "$1:");
  if (text === "start" || text === "end") return { at: text };
  if (text.startsWith("console:")) return parseConsole(text);
  const colon = text.indexOf(":");
  const keyword = text.slice(0, Math.max(0, colon));
  const { body, occurrence } = splitOccurrence(text.slice(colon + 1), text);
  if (occurrence !== undefined && keyword !== "exit" && keyword !== "hypercall")
    throw new PositionError(text, "#K goes with console:, hypercall: and exit:REASON");
  switch (keyword) {
    case "exit":
      return parseExit(body, occurrence, text);
    case "hypercall":
      return parseHypercall(body, occurrence, text);
    case "event":
      return { at: "event", seq: wholeNumber(body, text) };
    case "icount":
      return { at: "icount", icount: wholeNumber(body, text) };
    case "snapshot":
      return { at: "snapshot", number: wholeNumber(body, text) };
    case "time": {
      const timeNs = parseGuestTime(body);
      if (timeNs === undefined) throw new PositionError(text, `'${body}' is no time: 1.5s, 20ms, 7us, 12ns`);
      return { at: "time", timeNs };
    }
    default:
      throw new PositionError(text, `a position is one of ${FORMS}`);
  }
}

/** "A..B"; either end may be missing. A single position is the range of that moment alone. Throws PositionError. */
export function parseRange(given: string): PositionRange {
  const text = given.trim();
  const expression = CONSOLE.exec(text);
  const split = text.indexOf("..", expression === null ? 0 : expression[0].length);
  if (split < 0) {
    const only = parsePosition(text);
    return { from: only, to: only };
  }
  const from = text.slice(0, split);
  const to = text.slice(split + 2);
  return {
    from: from === "" ? undefined : parsePosition(from),
    to: to === "" ? undefined : parsePosition(to),
  };
}

/** "FILE@POSITION" or "FILE". The first @ behind which a position stands parts them. */
export function parseFileAtPosition(text: string): { readonly file: string; readonly position: Position | undefined } {
  for (let at = text.indexOf("@"); at >= 0; at = text.indexOf("@", at + 1)) {
    try {
      return { file: text.slice(0, at), position: parsePosition(text.slice(at + 1)) };
    } catch (error) {
      if (!(error instanceof PositionError)) throw error;
    }
  }
  return { file: text, position: undefined };
}
