/** How an MSR is read and written. */
import type { Vm } from "./vm.js";

/** A register of the current vCPU. */
export interface MsrAccess {
  /** undefined: #GP. */
  read(vm: Vm): bigint | undefined;
  /** Whether a value may be written, without writing it. Absent: `write` alone tells. */
  readonly accepts?: (vm: Vm, value: bigint) => boolean;
  /** False: #GP. Absent: it can't be written. */
  readonly write?: (vm: Vm, value: bigint) => boolean;
  /** What the VMM reads, or does by a write, where that differs. False: refused, and nothing has changed. */
  readonly hostRead?: (vm: Vm) => bigint;
  readonly hostWrite?: (vm: Vm, value: bigint) => boolean;
}
