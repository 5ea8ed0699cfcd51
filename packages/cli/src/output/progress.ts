/** How far a long act has come: rate and time left, on a terminal, past the first second. */
import type { Output } from "./console-output.js";

const FIRST_MS = 1000;
const INTERVAL_MS = 200;
/** The clock is asked once in so many calls. */
const CALLS_PER_LOOK = 64;

export class Progress {
  readonly #output: Output;
  readonly #act: string;
  readonly #total: number;
  readonly #startedAt = performance.now();
  #shownAt = 0;
  #calls = 0;
  #first: number | undefined;

  /** `total` in units of icount: where it will end; 0 where that is not known. */
  constructor(output: Output, act: string, total: number) {
    this.#output = output;
    this.#act = act;
    this.#total = total;
  }

  at(icount: number): void {
    this.#first ??= icount;
    this.#calls += 1;
    if (this.#calls % CALLS_PER_LOOK !== 0) return;
    const now = performance.now();
    const elapsed = now - this.#startedAt;
    if (elapsed < FIRST_MS || now - this.#shownAt < INTERVAL_MS) return;
    this.#shownAt = now;
    const rate = (icount - this.#first) / elapsed;
    const left =
      this.#total > icount && rate > 0 ? `, ${((this.#total - icount) / rate / 1000).toFixed(0)} s left` : "";
    this.#output.progress(`${this.#act} icount:${icount}, ${(rate / 1000).toFixed(0)} MIPS${left}`);
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }
}
