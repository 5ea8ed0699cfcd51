/**
 * Finds a regular expression in what a port writes, and the byte that completes each match. `^` and `$` are those of
 * console lines; `$` is also the end of what has been written so far, because a prompt's line has no other end.
 */
import { Utf8Decoder } from "./canonical/utf8.js";

/** A match spans at most this many characters. */
export const MATCH_CHARACTERS_MAX = 1024;

/** What `^` sees in front of the first character. */
export const CONSOLE_START = "\n";

export interface MatcherState {
  /** Its first character is the one in front of where a match may begin; empty: nothing has been written. */
  readonly window: string;
  /** Of an open UTF-8 sequence. */
  readonly sequence: readonly number[];
}

export class ConsoleMatcher {
  readonly #expression: RegExp;
  readonly #decoder = new Utf8Decoder();
  #window: string;

  /** Flags g, m and y have no meaning here. `before`: the character in front of what will be pushed. */
  constructor(expression: RegExp, before = CONSOLE_START) {
    this.#window = before;
    this.#expression = new RegExp(expression.source, `${expression.flags.replace(/[gmy]/g, "")}gm`);
  }

  /** What has been read of a match that may still come. */
  save(): MatcherState {
    return { window: this.#window, sequence: this.#decoder.state };
  }

  restore({ window, sequence }: MatcherState): void {
    this.#window = window === "" ? CONSOLE_START : window;
    this.#decoder.state = sequence;
  }

  /** Whether `byte` completes a match. Matches don't overlap: after one, the search starts anew. */
  push(byte: number): boolean {
    const text = this.#decoder.push(byte);
    if (text === "") return false;
    this.#window = (this.#window + text).slice(-MATCH_CHARACTERS_MAX - 1);
    this.#expression.lastIndex = 1;
    if (!this.#expression.test(this.#window)) return false;
    this.#window = this.#window.slice(-1);
    return true;
  }

  /** How many matches `bytes` completes. */
  pushAll(bytes: Uint8Array): number {
    let count = 0;
    for (const byte of bytes) if (this.push(byte)) count += 1;
    return count;
  }
}
