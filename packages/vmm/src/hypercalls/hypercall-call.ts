/** A call that the SMCCC filter forwards (KVM_EXIT_HYPERCALL), as a handler sees it. */
import { type ExitFrame, ExitWord, type VmmPort } from "@hvjournal/core";

/** SMCCC passes arguments and results in x0 to x17 (DEN0028, section 2.6). */
export const CALL_REGISTERS: readonly string[] = Array.from({ length: 18 }, (_, index) => `x${index}`);

/** `kvm_run.hypercall.flags`: KVM_HYPERCALL_EXIT_SMC, KVM_HYPERCALL_EXIT_16BIT. */
const EXIT_SMC = 1;
const EXIT_16BIT = 2;
const IMMEDIATE_MASK = 0xffff;

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

/** The call of an exit. Its arguments are read when they are first asked for; `settle` does so before anything can change them. */
export class ForwardedCall implements HypercallCall {
  readonly nr: number;
  readonly conduit: "hvc" | "smc";
  readonly is16Bit: boolean;
  readonly immediate: number;
  readonly vcpu: number;
  readonly #port: VmmPort;
  #args: readonly bigint[] | undefined;

  constructor(exit: ExitFrame, port: VmmPort) {
    const flags = exit[ExitWord.info] ?? 0;
    this.nr = exit[ExitWord.arg0Low] ?? 0;
    this.conduit = (flags & EXIT_SMC) === 0 ? "hvc" : "smc";
    this.is16Bit = (flags & EXIT_16BIT) !== 0;
    this.immediate = (exit[ExitWord.syndromeLow] ?? 0) & IMMEDIATE_MASK;
    this.vcpu = exit[ExitWord.vcpu] ?? 0;
    this.#port = port;
  }

  get args(): readonly bigint[] {
    this.#args ??= CALL_REGISTERS.map((name) => this.#port.readRegister(this.vcpu, name));
    return this.#args;
  }

  settle(): void {
    void this.args;
  }

  /** All of it as data, which can be printed and spread. */
  toPlain(): HypercallCall {
    const { nr, conduit, is16Bit, immediate, vcpu, args } = this;
    return { nr, conduit, is16Bit, immediate, vcpu, args };
  }
}
