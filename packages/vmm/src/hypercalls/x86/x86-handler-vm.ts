/** The VM as a handler of an amd64 guest has it for one call: KVM's surface, and what it wants to keep. */
import type { VmmPort } from "@hvjournal/core";
import { KvmVm } from "@hvjournal/cpu-x86";
import { type HandlerState, NOT_HANDLED } from "../answer-forms.js";
import type { HvAnswer, X86Answer } from "./exit-answer.js";
import type { X86Call } from "./exit-call.js";
import { answerHvExt, EXT_CAPABILITIES } from "./hv-ext.js";

export class X86HandlerVm extends KvmVm {
  /** An answer: the next handler is asked. */
  readonly notHandled: typeof NOT_HANDLED = NOT_HANDLED;
  /** Guest-physical; RAM begins at 0. */
  readonly memoryBytes: number;
  readonly #load: () => HandlerState;
  #state: HandlerState | undefined;

  constructor(port: VmmPort, load: () => HandlerState) {
    super(port);
    this.#load = load;
    this.memoryBytes = port.context.memoryBytes;
  }

  /** What all handlers of the VM keep together. A variable of a handler's own is not part of the VM. */
  get state(): HandlerState {
    this.#state ??= this.#load();
    return this.#state;
  }

  /**
   * Answers Hyper-V's extended calls: `capabilities` is the mask that 0x8001 gives, and what it does not offer is not
   * handled, as any other call.
   */
  hvExt(call: X86Call, capabilities: bigint = EXT_CAPABILITIES): HvAnswer | typeof NOT_HANDLED {
    return answerHvExt(call, this, capabilities);
  }

  /** undefined: nobody has looked at it. */
  get touchedState(): HandlerState | undefined {
    return this.#state;
  }
}

/** The VM stands still as a whole until the answer is there. */
export type X86Handler = (
  call: X86Call,
  vm: X86HandlerVm,
) => X86Answer | typeof NOT_HANDLED | Promise<X86Answer | typeof NOT_HANDLED>;
