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

/**
 * The signals of a command, from its first moment on. One that comes while nobody else listens leaves the command, at what it
 * waits for; while nothing waits, it is heard by whoever listens first. The next one ends the process, as without this.
 */
export class CommandSignals {
  #name: NodeJS.Signals | undefined;
  #leave: () => void = () => undefined;
  readonly #note = (name: NodeJS.Signals): void => {
    this.close();
    if (process.listenerCount(name) > 0) return;
    this.#name = name;
    this.#leave();
  };

  constructor() {
    for (const each of STOPPING_SIGNALS) process.on(each, this.#note);
  }

  /** As `act`, unless it is left: then rejects with what `leave` makes of the signal. Nothing of `act` is waited for any more. */
  unlessLeft<Result>(act: Promise<Result>, leave: (name: NodeJS.Signals) => Error): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#leave = () => {
        if (this.#name !== undefined) reject(leave(this.#name));
      };
      act.then(resolve, reject);
      this.#leave();
    });
  }

  close(): void {
    for (const each of STOPPING_SIGNALS) process.off(each, this.#note);
  }
}
