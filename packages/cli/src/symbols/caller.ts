/** One link of a chain of callers. */

export interface Caller {
  /** A return address; of user mode, the instruction at which it was left. */
  readonly address: bigint;
  /** The kernel was entered from there: it ends the chain. */
  readonly isUserMode: boolean;
}
