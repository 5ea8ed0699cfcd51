/** An ioctl that fails: KVM's errno, by name. */
import type { Refusal } from "@hvjournal/core";

export class KvmError extends Error {
  override readonly name = "KvmError";
  /** "EINVAL", "EBUSY" ... */
  readonly errno: string;
  /** The ioctl or attribute: "KVM_SET_ONE_REG". */
  readonly call: string;
  constructor({ errno, call, reason }: Pick<Refusal, "errno" | "call" | "reason">) {
    super(`${call}: ${errno}: ${reason}`);
    this.errno = errno;
    this.call = call;
  }
}

/** Throws KvmError for a command that was refused. */
export function accepted(refused: Refusal | undefined): void {
  if (refused !== undefined) throw new KvmError(refused);
}
