/**
 * Where in a run something came from outside, in terms that another run has too: what the guest had written since the act
 * before, and how long ago that act was.
 *
 * The line that stood unfinished, a prompt as a rule; where none did, the last whole one; where nothing had been
 * written, guest time alone. A line that stood several times since the act before is counted.
 */
import { ConsoleLine, similarity, unfinishedLineKey, wholeLineKey } from "./console-line.js";

export interface LineAnchor {
  /** As it was recorded, one character a byte. */
  readonly text: string;
  readonly key: string;
  /** It had come to its end. */
  readonly isWhole: boolean;
  /** From 1: the how manieth such line since the act before. */
  readonly occurrence: number;
}

export interface Anchor {
  readonly port: number;
  /** undefined: nothing had been written since the act before. */
  readonly line: LineAnchor | undefined;
  /** Guest time since the act before; it is not repeated earlier than that. */
  readonly sinceNs: number;
}

/** Lines that are kept for who asks what came nearest. */
const LINES_KEPT_MAX = 256;

/** A text that has less in common with another is not near it. */
const NEAR_MIN = 0.5;

type Wanted = Pick<LineAnchor, "key" | "isWhole">;

/** Counts how often a line has stood. */
class LineCounter {
  readonly #wanted: Wanted;
  readonly #line: ConsoleLine;
  count = 0;

  constructor(wanted: Wanted, before: string) {
    this.#wanted = wanted;
    this.#line = new ConsoleLine(before);
  }

  push(byte: number): void {
    const whole = this.#line.push(byte);
    const { key, isWhole } = this.#wanted;
    if (isWhole) {
      if (whole !== undefined && wholeLineKey(whole) === key) this.count += 1;
    } else if (whole === undefined && unfinishedLineKey(this.#line.text) === key) this.count += 1;
  }
}

/** What one port wrote since the act before. */
class WrittenText {
  readonly before: string;
  readonly line: ConsoleLine;
  readonly pieces: Uint8Array[] = [];
  lastWhole: string | undefined;

  constructor(before: string) {
    this.before = before;
    this.line = new ConsoleLine(before);
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.pieces.push(bytes.slice());
    for (const byte of bytes) this.lastWhole = this.line.push(byte) ?? this.lastWhole;
  }

  anchor(): LineAnchor | undefined {
    if (this.pieces.length === 0) return undefined;
    const isWhole = this.line.text === "";
    const text = isWhole ? (this.lastWhole ?? "") : this.line.text;
    const key = isWhole ? wholeLineKey(text) : unfinishedLineKey(text);
    const counter = new LineCounter({ key, isWhole }, this.before);
    for (const piece of this.pieces) for (const byte of piece) counter.push(byte);
    return { text, key, isWhole, occurrence: counter.count };
  }
}

/** Makes the anchors of acts, one after the other, from what a recording says. */
export class AnchorRecorder {
  #texts = new Map<number, WrittenText>();

  #of(port: number): WrittenText {
    const text = this.#texts.get(port) ?? new WrittenText("");
    this.#texts.set(port, text);
    return text;
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    this.#of(port).push(bytes);
  }

  /** Of an act that happens now; the next one counts from here. */
  act(port: number, sinceNs: number): Anchor {
    const line = this.#of(port).anchor();
    this.#texts = new Map([...this.#texts].map(([each, text]) => [each, new WrittenText(text.line.text)]));
    return { port, line, sinceNs };
  }
}

/** Waits for one anchor after the other. */
export class AnchorWatch {
  #lines = new Map<number, ConsoleLine>();
  #anchor: Anchor | undefined;
  #counter: LineCounter | undefined;
  #baseNs = 0;
  #seen: string[] = [];

  /** From now on `anchor` is waited for, counted from guest time `nowNs`. */
  expect(anchor: Anchor | undefined, nowNs: number): void {
    this.#anchor = anchor;
    this.#baseNs = nowNs;
    this.#seen = [];
    const before = this.#lines.get(anchor?.port ?? 0)?.text ?? "";
    this.#counter = anchor?.line === undefined ? undefined : new LineCounter(anchor.line, before);
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    const line = this.#lines.get(port) ?? new ConsoleLine();
    this.#lines.set(port, line);
    const isWatched = port === this.#anchor?.port;
    for (const byte of bytes) {
      const whole = line.push(byte);
      if (!isWatched) continue;
      this.#counter?.push(byte);
      if (whole !== undefined) this.#keep(whole);
    }
  }

  #keep(whole: string): void {
    this.#seen.push(whole);
    if (this.#seen.length > LINES_KEPT_MAX) this.#seen.shift();
  }

  /** Guest time at which the act is due; undefined while its line has not come. */
  get dueNs(): number | undefined {
    const anchor = this.#anchor;
    if (anchor === undefined || (this.#counter?.count ?? 0) < (anchor.line?.occurrence ?? 0)) return undefined;
    return this.#baseNs + anchor.sinceNs;
  }

  /**
   * Of what was written instead, what looks most like the line that is waited for; where nothing does, what was written
   * last. undefined: nothing was.
   */
  get nearest(): string | undefined {
    const { line, port } = this.#anchor ?? {};
    if (line === undefined || port === undefined) return undefined;
    const unfinished = this.#lines.get(port)?.text ?? "";
    const texts = [...this.#seen, ...(unfinished === "" ? [] : [unfinished])];
    let [best, bestScore] = [texts.at(-1), NEAR_MIN];
    for (const text of texts) {
      const score = similarity(wholeLineKey(text), wholeLineKey(line.text));
      if (score >= bestScore) [best, bestScore] = [text, score];
    }
    return best;
  }
}
