/** The VMM half of a VM around which a program calls KVM_RUN: it answers with what the program has left in `struct kvm_run`. */
import type { ExitFrame } from "../event/exit-frame.js";
import type { StateSection } from "../ports/state-section.js";
import type { VmmHalf, VmmPort } from "../ports/vmm-half.js";

export class ProgramHalf implements VmmHalf {
  readonly deadlineNs = undefined;
  /** Of the exit that the program was told of: hands over what it has written into it. Absent: nothing is handed over. */
  answer: ((port: VmmPort) => void) | undefined;

  boot(): void {
    // The program sets up the vCPUs itself.
  }

  handleExit(_exit: ExitFrame, port: VmmPort): void {
    const answer = this.answer;
    this.answer = undefined;
    answer?.(port);
  }

  reachDeadline(): void {
    throw new RangeError("a program around KVM_RUN has no deadline");
  }

  takeInput(): boolean {
    return false;
  }

  readCount(): number {
    return 0;
  }

  deviceAt(): undefined {
    return undefined;
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // It keeps nothing.
  }
}
