/**
 * Ends a process whose handler keeps it from turning: no timer of its own can, so another thread looks. What was committed
 * stays; the open batch is lost, as by any kill.
 */
import { Worker } from "node:worker_threads";

/** Words that both threads see. */
const Word = {
  /** Number of the call that is under way; 0: none. */
  call: 0,
  /** Counts while the event loop turns. */
  beat: 1,
  handler: 2,
  nr: 3,
} as const;
const WORDS = 4;
/** Looks within one limit. */
const LOOKS = 4;

export interface WatchdogOptions {
  readonly limitMs: number;
  /** Names of the handlers, by index. */
  readonly handlers: readonly string[];
  /** What holds afterwards: "what was committed stays". */
  readonly left: string;
  /** What to do afterwards. */
  readonly next: string;
  readonly json: boolean;
}

export class HandlerWatchdog {
  readonly #options: WatchdogOptions;
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  #calls = 0;
  #underWay = 0;
  #isWatching = false;
  #turning: NodeJS.Timeout | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  /** A handler begins. */
  enter(handler: number, nr: number): void {
    if (!this.#isWatching) this.#watch();
    this.#underWay += 1;
    this.#calls = (this.#calls % 0x7fff_ffff) + 1;
    this.#words[Word.handler] = handler;
    this.#words[Word.nr] = nr;
    Atomics.store(this.#words, Word.call, this.#calls);
  }

  /** It has come back with a promise: the process may turn meanwhile, and has to. */
  awaits(): void {
    const beat = (): void => void Atomics.add(this.#words, Word.beat, 1);
    beat();
    this.#turning ??= setInterval(beat, this.#options.limitMs / LOOKS).unref();
  }

  leave(): void {
    this.#underWay -= 1;
    if (this.#underWay > 0) return;
    clearInterval(this.#turning);
    this.#turning = undefined;
    Atomics.store(this.#words, Word.call, 0);
  }

  #watch(): void {
    this.#isWatching = true;
    const source = `const { workerData } = require("node:worker_threads");
const { writeSync } = require("node:fs");
(${watch.toString()})(workerData, writeSync);`;
    const workerData = { ...this.#options, words: this.#words, processId: process.pid, word: Word, looks: LOOKS };
    new Worker(source, { eval: true, workerData }).unref();
  }
}

interface WatchData extends WatchdogOptions {
  readonly words: Int32Array;
  readonly processId: number;
  readonly word: typeof Word;
  readonly looks: number;
}

/** Runs in the other thread, from its text alone: it uses nothing but what it is given. */
function watch(data: WatchData, write: (descriptor: number, text: string) => void): void {
  const { words, word, limitMs, looks, handlers, left, next, json, processId } = data;
  const pauseMs = limitMs / looks;
  let seen = "";
  let unchangedLooks = 0;
  for (;;) {
    // Nobody wakes it: it waits for the time to pass.
    Atomics.wait(words, word.beat, Atomics.load(words, word.beat), pauseMs);
    const call = Atomics.load(words, word.call);
    const now = `${call} ${Atomics.load(words, word.beat)}`;
    unchangedLooks = call !== 0 && now === seen ? unchangedLooks + 1 : 0;
    seen = now;
    // The first look that finds it may come right after it began.
    if (unchangedLooks <= looks) continue;
    const nr = (words[word.nr] ?? 0) >>> 0;
    const message = `handler-timeout: handler ${handlers[words[word.handler] ?? 0] ?? ""} blocks the process in call 0x${nr
      .toString(16)
      .padStart(8, "0")}, for longer than ${limitMs} ms; it is killed, and ${left}`;
    if (json) write(1, `${JSON.stringify({ error: "handler-timeout", message, next })}\n`);
    else write(2, `error: ${message}\nnext: ${next}\n`);
    process.kill(processId, "SIGKILL");
  }
}
