/** What makes two exits that reach the VMM half the same. */
import { ExitWord, type ExitFrame } from "../event/exit-frame.js";

/**
 * vCPU, reason by name, the KVM_EXIT_* number, and what the guest asked for. Without a reason it is what the VMM sees: exits of
 * two exit models are compared by that, since hosts of two vendors leave guest mode for reasons of their own.
 */
export function forwardedExitKey(reason: string | undefined, frame: ExitFrame): string {
  const [vcpu, kvmExit, info] = [frame[ExitWord.vcpu], frame[ExitWord.kvmExit], frame[ExitWord.info]];
  return `${vcpu} ${reason ?? "-"} ${kvmExit} ${info} ${frame.subarray(ExitWord.arg0Low).join(",")}`;
}
