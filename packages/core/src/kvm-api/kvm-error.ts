/** An ioctl that fails: KVM's errno, by name. */
import type { Errno, Refusal } from "../ports/control.js";

export class KvmError extends Error {
  override readonly name = "KvmError";
  /** "EINVAL", "EBUSY" ... */
  readonly errno: Errno;
  /** The ioctl or attribute: "KVM_SET_ONE_REG". */
  readonly call: string;
  constructor({ errno, call, reason }: Pick<Refusal, "errno" | "call" | "reason">) {
    super(`${call}: ${errno}: ${reason}`);
    this.errno = errno;
    this.call = call;
  }
}

/** E2BIG: there is room for fewer items than there are. `n` is the count that KVM writes back. */
export class RoomError extends KvmError {
  readonly n: number;
  constructor(call: string, { n, given, what }: { readonly n: number; readonly given: number; readonly what: string }) {
    super({ errno: "E2BIG", call, reason: `room for ${given} ${what}, there are ${n}` });
    this.n = n;
  }
}

/** Throws KvmError for a command that was refused. */
export function accepted(refused: Refusal | undefined): void {
  if (refused !== undefined) throw new KvmError(refused);
}
