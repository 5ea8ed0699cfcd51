/** What the process of `command-server.ts` is asked, a line of JSON each; it answers with a line that has the status. */
export interface CommandRequest {
  readonly words: readonly string[];
  readonly directory: string;
}

export interface CommandResult {
  /** null: it was killed by a signal. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Its file descriptors. */
export const REQUESTS = 3;
export const ANSWERS = 4;
