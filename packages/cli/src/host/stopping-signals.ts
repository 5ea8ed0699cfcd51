/** The signals by which a user, a job or a terminal ends a command. */

/** SIGHUP: the terminal, or the connection to it, has gone. */
export const STOPPING_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The first of them, from here to `close`. The next one ends the process, as without this. */
export class StoppingSignals {
  readonly #left = new AbortController();
  #name: NodeJS.Signals | undefined;
  readonly #note = (name: NodeJS.Signals): void => {
    this.close();
    this.#name = name;
    this.#left.abort(`interrupted (${name})`);
  };

  constructor() {
    for (const each of STOPPING_SIGNALS) process.on(each, this.#note);
  }

  /** undefined: none has come. */
  get name(): NodeJS.Signals | undefined {
    return this.#name;
  }

  /** Aborts with "interrupted (SIGINT)". */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  close(): void {
    for (const each of STOPPING_SIGNALS) process.off(each, this.#note);
  }
}
