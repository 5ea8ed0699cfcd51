/** Finds a regular expression in what a port writes, and the byte that completes each match. */
import { Utf8Decoder } from "./canonical/utf8.js";

/** A match spans at most this many characters. */
export const MATCH_CHARACTERS_MAX = 1024;

export interface MatcherState {
  readonly window: string;
  /** Of an open UTF-8 sequence. */
  readonly sequence: readonly number[];
}

export class ConsoleMatcher {
  readonly #expression: RegExp;
  readonly #decoder = new Utf8Decoder();
  #window = "";

  /** Flags g and y have no meaning here and are dropped. */
  constructor(expression: RegExp) {
    this.#expression = new RegExp(expression.source, expression.flags.replace(/[gy]/g, ""));
  }

  /** What has been read of a match that may still come. */
  save(): MatcherState {
    return { window: this.#window, sequence: this.#decoder.state };
  }

  restore({ window, sequence }: MatcherState): void {
    this.#window = window;
    this.#decoder.state = sequence;
  }

  /** Whether `byte` completes a match. Matches don't overlap: after one, the search starts anew. */
  push(byte: number): boolean {
    const text = this.#decoder.push(byte);
    if (text === "") return false;
    this.#window = (this.#window + text).slice(-MATCH_CHARACTERS_MAX);
    if (!this.#expression.test(this.#window)) return false;
    this.#window = "";
    return true;
  }

  /** How many matches `bytes` completes. */
  pushAll(bytes: Uint8Array): number {
    let count = 0;
    for (const byte of bytes) if (this.push(byte)) count += 1;
    return count;
  }
}
