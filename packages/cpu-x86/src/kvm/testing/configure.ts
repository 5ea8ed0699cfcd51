/** Commands of the control plane on a kernel half, as core gives them. */
import type { ControlCommand, KernelHalf } from "@hvjournal/core";
import { type Amd64ControlState, amd64ControlSlice } from "../control-slice.js";
import { RAM_BYTES } from "./guest.js";

export class Configured {
  state: Amd64ControlState = amd64ControlSlice.initialState();
  readonly #kernel: KernelHalf;
  #seq = 0;

  constructor(kernel: KernelHalf) {
    this.#kernel = kernel;
  }

  /** By a word of the command line. Gives the errno that refuses it, or "0". */
  set(word: string, text: string): string {
    const command = amd64ControlSlice.parse(word, text);
    return typeof command === "string" ? command : this.give(command);
  }

  give(command: ControlCommand): string {
    const { hasRun } = this.#kernel;
    // Up to its first run it may still be told what goes before KVM_CREATE_VCPU.
    const context = { hasRun, hasVcpus: hasRun, vcpuCount: 1, memoryBase: 0, memoryBytes: RAM_BYTES };
    const decision = amd64ControlSlice.decide(this.state, command, context);
    if ("refused" in decision) return decision.refused.errno;
    for (const event of decision.events) this.state = amd64ControlSlice.evolve(this.state, event, ++this.#seq);
    this.#kernel.configure(this.state);
    return "0";
  }
}
