/** Filling the words of an exit. */
import { type ExitFrame, EXIT_WORD_COUNT, ExitWord, FinishedBy } from "@hvjournal/core";

/** Bit of `ExitWord.info` that says that an MMIO access is a write. */
export const MMIO_WRITE = 0x100;

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
