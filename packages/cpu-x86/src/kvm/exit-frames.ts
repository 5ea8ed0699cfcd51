/** Filling the words of an exit. */
import { type ExitFrame, EXIT_WORD_COUNT, ExitWord, FinishedBy, setFrameU64 } from "@hvjournal/core";

/** Bit of `ExitWord.info` that says that an MMIO access is a write. */
export const MMIO_WRITE = 0x100;
/** `kvm_run.hypercall.flags`: KVM_HYPERCALL_EXIT_SMC. */
export const HYPERCALL_SMC = 1;

export interface ExitDescription {
  readonly reason: number;
  readonly vcpu: number;
  readonly pc: bigint;
  readonly syndrome: number;
  /** KVM_EXIT_*; absent: the kernel half finishes it. */
  readonly kvmExit?: number;
  readonly info?: number;
  readonly rule?: number;
  /** arg0 to arg3. */
  readonly args?: readonly bigint[];
}

const ARGUMENT_WORDS = [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low] as const;

export function newExitFrame(): ExitFrame {
  return new Uint32Array(EXIT_WORD_COUNT);
}

/**
 * Begins an exit that occurs by the thousand, word by word: the kernel half's to finish, until `leaveToVmm` says otherwise.
 * `info`, `rule` and the arguments are the caller's to fill in.
 */
export function beginExitFrame(frame: ExitFrame, reason: number, vcpu: number, syndrome: number): void {
  // `fill` costs more than so few words.
  for (let word = 0; word < EXIT_WORD_COUNT; word++) frame[word] = 0;
  frame[ExitWord.reason] = reason;
  frame[ExitWord.vcpu] = vcpu;
  frame[ExitWord.finishedBy] = FinishedBy.kernelHalf;
  frame[ExitWord.syndromeLow] = syndrome;
}

/** `kvmExit`: KVM_EXIT_*. */
export function leaveToVmm(frame: ExitFrame, kvmExit: number): void {
  frame[ExitWord.finishedBy] = FinishedBy.vmmHalf;
  frame[ExitWord.kvmExit] = kvmExit;
}

export function fillExitFrame(frame: ExitFrame, exit: ExitDescription): void {
  frame.fill(0);
  frame[ExitWord.reason] = exit.reason;
  frame[ExitWord.vcpu] = exit.vcpu;
  frame[ExitWord.finishedBy] = exit.kvmExit === undefined ? FinishedBy.kernelHalf : FinishedBy.vmmHalf;
  frame[ExitWord.kvmExit] = exit.kvmExit ?? 0;
  frame[ExitWord.info] = exit.info ?? 0;
  frame[ExitWord.rule] = exit.rule ?? 0;
  setFrameU64(frame, ExitWord.pcLow, exit.pc);
  frame[ExitWord.syndromeLow] = exit.syndrome;
  exit.args?.forEach((value, index) => {
    const word = ARGUMENT_WORDS[index];
    if (word !== undefined) setFrameU64(frame, word, value);
  });
}
