/** The console of a VM that runs: written as its reader takes it, while the host's event loop goes on. */
import { write } from "node:fs";
import { promisify } from "node:util";

const STDOUT = 1;
/** So much may wait for the reader before the VM is held back: a pipe's worth. */
const QUEUED_BYTES_MAX = 64 * 1024;
/** Between two tries where the descriptor does not block: node gives such ones to its children. */
const RETRY_MS = 2;

const writeSome = promisify(write);

export interface LiveConsole {
  write(bytes: Uint8Array): void;
  /** undefined: the reader keeps up. Otherwise kept once it has caught up, or is gone. */
  behind(): Promise<void> | undefined;
  /** Kept once the reader has taken everything, or is gone. */
  drained(): Promise<void>;
}

/** `onLost` is told once why nothing can be written any more, unless the reader has just left. */
export function stdoutConsole(onLost: (reason: string) => void): LiveConsole {
  return new DescriptorConsole(STDOUT, onLost);
}

class DescriptorConsole implements LiveConsole {
  readonly #file: number;
  readonly #onLost: (reason: string) => void;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isLost = false;
  #writing: Promise<void> | undefined;
  #caughtUp: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(file: number, onLost: (reason: string) => void) {
    this.#file = file;
    this.#onLost = onLost;
  }

  write(bytes: Uint8Array): void {
    if (this.#isLost || bytes.length === 0) return;
    this.#queue.push(bytes.slice());
    this.#queuedBytes += bytes.length;
    this.#writing ??= this.#writeQueue();
  }

  behind(): Promise<void> | undefined {
    if (this.#queuedBytes <= QUEUED_BYTES_MAX) return undefined;
    if (this.#caughtUp === undefined) {
      let resolve = (): void => undefined;
      const promise = new Promise<void>((kept) => (resolve = kept));
      this.#caughtUp = { promise, resolve };
    }
    return this.#caughtUp.promise;
  }

  async drained(): Promise<void> {
    await this.#writing;
  }

  async #writeQueue(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const bytes = Buffer.concat(this.#queue.splice(0));
        await this.#writeAll(bytes);
      }
    } catch (error) {
      this.#lose(error);
    } finally {
      this.#writing = undefined;
    }
  }

  /** In a thread of node's own where the descriptor blocks. */
  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      try {
        const { bytesWritten } = await writeSome(this.#file, bytes, done, bytes.length - done, null);
        done += bytesWritten;
        this.#noteTaken(bytesWritten);
      } catch (error) {
        if (codeOf(error) !== "EAGAIN") throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #noteTaken(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (this.#queuedBytes > QUEUED_BYTES_MAX) return;
    this.#caughtUp?.resolve();
    this.#caughtUp = undefined;
  }

  #lose(error: unknown): void {
    this.#isLost = true;
    this.#queue = [];
    this.#noteTaken(this.#queuedBytes);
    if (codeOf(error) !== "EPIPE") this.#onLost(error instanceof Error ? error.message : String(error));
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
