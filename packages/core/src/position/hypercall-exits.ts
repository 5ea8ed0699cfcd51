/** Exits by which a guest calls its hypervisor, and the number that it calls. */
import type { Architecture } from "../ports/architecture.js";
import { type ExitFrame, ExitWord, frameU64, KvmExit } from "../event/exit-frame.js";
import { HYPERCALL_REASONS } from "../event/kvm-exit-names.js";

/** How an architecture reads the first argument of a call. */
export type CallReader = Pick<Architecture, "callNumber">;

export class HypercallExits {
  readonly #isCallReason: readonly boolean[];
  readonly #architecture: CallReader;

  /** `reasons`: of the recording's exit model. */
  constructor(reasons: readonly string[], architecture: CallReader) {
    this.#isCallReason = reasons.map((name) => HYPERCALL_REASONS.has(name));
    this.#architecture = architecture;
  }

  isCall(frame: ExitFrame): boolean {
    return this.#isCallReason[frame[ExitWord.reason] ?? 0] === true || frame[ExitWord.kvmExit] === KvmExit.hypercall;
  }

  /** Of a call by Hyper-V's ABI its code alone; of any other the function; of what is no call its first argument. */
  numberOf(frame: ExitFrame): bigint {
    const code = this.isCall(frame) ? this.#architecture.callNumber?.(frame) : undefined;
    return code === undefined ? frameU64(frame, ExitWord.arg0Low) : BigInt(code);
  }

  /** Whether it calls `number`: by the code, or by the whole value that the guest gave. */
  calls(frame: ExitFrame, number: bigint): boolean {
    return this.isCall(frame) && (this.numberOf(frame) === number || frameU64(frame, ExitWord.arg0Low) === number);
  }
}
