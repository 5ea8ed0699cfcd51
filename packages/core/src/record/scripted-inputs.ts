/** Bytes from outside at moments that the guest decides. */
import type { OutsideInput } from "../ports/vmm-half.js";

export interface ScriptedInputs {
  /** Nothing comes any more, whatever the guest writes. */
  readonly isOver: boolean;
  /** What the guest has just written. */
  noteOutput(port: number, bytes: Uint8Array): void;
  /** Guest time at which the next input is due, where a time says that. */
  readonly nextTimeNs: number | undefined;
  /** What is due now, in order; each is given once. */
  takeDue(guestTimeNs: number): readonly OutsideInput[];
}
