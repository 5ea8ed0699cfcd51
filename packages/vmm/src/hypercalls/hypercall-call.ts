/** A call that the SMCCC filter forwards (KVM_EXIT_HYPERCALL), as a handler sees it. */
import { type ExitFrame, ExitWord, frameU64, type VmmPort } from "@hvjournal/core";

/** SMCCC passes arguments and results in x0 to x17 (DEN0028, section 2.6). */
export const CALL_REGISTERS: readonly string[] = Array.from({ length: 18 }, (_, index) => `x${index}`);

/** `kvm_run.hypercall.flags`: KVM_HYPERCALL_EXIT_SMC, KVM_HYPERCALL_EXIT_16BIT. */
const EXIT_SMC = 1;
const EXIT_16BIT = 2;
const IMMEDIATE_MASK = 0xffffn;

export interface HypercallCall {
  /** The function identifier: W0. */
  readonly nr: number;
  readonly conduit: "hvc" | "smc";
  /** The instruction was one of Thumb's, 16 bits wide; pc is behind it in any case. */
  readonly is16Bit: boolean;
  /** Not upstream: the immediate of the instruction. */
  readonly immediate: number;
  /** Who calls. */
  readonly vcpu: number;
  /** x0 to x17 as they were when the guest left. */
  readonly args: readonly bigint[];
}

export function hypercallOf(exit: ExitFrame, port: VmmPort): HypercallCall {
  const vcpu = exit[ExitWord.vcpu] ?? 0;
  const flags = exit[ExitWord.info] ?? 0;
  return {
    nr: exit[ExitWord.arg0Low] ?? 0,
    conduit: (flags & EXIT_SMC) === 0 ? "hvc" : "smc",
    is16Bit: (flags & EXIT_16BIT) !== 0,
    immediate: Number(frameU64(exit, ExitWord.syndromeLow) & IMMEDIATE_MASK),
    vcpu,
    args: CALL_REGISTERS.map((name) => port.readRegister(vcpu, name)),
  };
}
