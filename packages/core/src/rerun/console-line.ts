/** The console as an input's anchor sees it: the line that is being written, and lines that have come to their end. */

const LINE_FEED = 0x0a;
/** A guest that never ends its line: what stands in front is forgotten. */
const LINE_BYTES_MAX = 4096;

export class ConsoleLine {
  #text: string;

  constructor(text = "") {
    this.#text = text;
  }

  /** What has been written of the line so far, one character a byte. */
  get text(): string {
    return this.#text;
  }

  /** Gives the line that this byte ends, without its end. */
  push(byte: number): string | undefined {
    if (byte !== LINE_FEED) {
      this.#text = (this.#text + String.fromCharCode(byte)).slice(-LINE_BYTES_MAX);
      return undefined;
    }
    const whole = this.#text;
    this.#text = "";
    return whole;
  }
}

const DIGIT = /\d/;

/**
 * A line without what another build of the same guest may say in another way: time stamps, addresses, versions. Each word
 * with a digit counts as `#`, and how far apart words stand does not count.
 */
export function wholeLineKey(line: string): string {
  return line
    .trim()
    .split(/\s+/)
    .map((word) => (DIGIT.test(word) ? "#" : word))
    .join(" ");
}

/**
 * The same of a line that is being written. Its last word keeps its length, and blanks count: a line with this key is never
 * taken for one that is still to become it, so that for the same text the anchor is at the same byte.
 */
export function unfinishedLineKey(line: string): string {
  const words = line.split(" ");
  const last = words.pop() ?? "";
  return [...words.map((word) => (DIGIT.test(word) ? "#" : word)), last.replace(/\d/g, "0")].join(" ");
}

/** Dice's coefficient of two texts' pairs of characters: 1 the same, 0 nothing in common. */
export function similarity(a: string, b: string): number {
  const pairs = (text: string): string[] =>
    Array.from({ length: text.length + 1 }, (_, at) => ` ${text} `.slice(at, at + 2));
  const [left, right] = [pairs(a), pairs(b)];
  const counts = new Map<string, number>();
  for (const pair of left) counts.set(pair, (counts.get(pair) ?? 0) + 1);
  let common = 0;
  for (const pair of right) {
    const count = counts.get(pair) ?? 0;
    if (count === 0) continue;
    counts.set(pair, count - 1);
    common += 1;
  }
  return (2 * common) / (left.length + right.length);
}
