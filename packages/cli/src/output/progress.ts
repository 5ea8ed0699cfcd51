/** How far a long act has come: rate and time left; on a terminal one line that changes, else a line now and then. */
import type { Output } from "./console-output.js";

export class Progress {
  readonly #output: Output;
  readonly #act: string;
  readonly #total: number;
  readonly #startedAt = performance.now();
  #first: number | undefined;

  /** `act`: "replaying vm.hvj". `total` in units of icount: where it will end; 0 where that is not known. */
  constructor(output: Output, act: string, total: number) {
    this.#output = output;
    this.#act = act;
    this.#total = total;
  }

  /** undefined: at no moment of the run. */
  at(icount: number | undefined): void {
    if (icount !== undefined) this.#first ??= icount;
    if (!this.#output.isProgressDue()) return;
    if (icount === undefined || this.#first === undefined) {
      this.#output.progress(`${this.#act}: ${(this.elapsedMs / 1000).toFixed(0)} s`);
      return;
    }
    const rate = (icount - this.#first) / this.elapsedMs;
    const left =
      this.#total > icount && rate > 0 ? `, ${((this.#total - icount) / rate / 1000).toFixed(0)} s left` : "";
    this.#output.progress(`${this.#act}: icount:${icount}, ${(rate / 1000).toFixed(0)} MIPS${left}`);
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }
}
