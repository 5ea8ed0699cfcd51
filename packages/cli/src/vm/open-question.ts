/** A step that waits for a handler's promise: the VM stands still, and nobody may be held up by that. */
import type { Recorder } from "@hvjournal/core";

/** An answer that takes longer leaves the call in the file: `log` and `show` say what is pending. */
const COMMIT_MS = 1000;
/** So long an answer may still come when something else is wanted of the VM: a handler that is quick is asked once. */
const PATIENCE_MS = 100;

export class OpenQuestion {
  readonly #recorder: Recorder;
  readonly #committing: NodeJS.Timeout;
  #withdrawing: NodeJS.Timeout | undefined;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
    this.#committing = setInterval(() => this.#commit(), COMMIT_MS);
  }

  /** Something else is wanted: the step ends with a HandlerError unless the answer comes soon. */
  interrupt(): void {
    this.#withdrawing ??= setTimeout(() => this.#recorder.live.vmm.withdraw?.(), PATIENCE_MS);
  }

  close(): void {
    clearInterval(this.#committing);
    clearTimeout(this.#withdrawing);
  }

  #commit(): void {
    try {
      this.#recorder.flush();
    } catch {
      // The run's own next commit fails as well, and says why.
      clearInterval(this.#committing);
    }
  }
}
