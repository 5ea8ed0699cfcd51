/** The VM as a handler has it for one call: KVM's surface, the libraries, and what it wants to keep. */
import type { VmmPort } from "@hvjournal/core";
import { KvmVm } from "@hvjournal/cpu-arm64";
import { type HandlerAnswer, type HandlerState, NOT_HANDLED } from "./answer-forms.js";
import type { HypercallCall } from "./hypercall-call.js";
import { answerPsci } from "./psci.js";
import { answerSdei } from "./sdei.js";

export class HandlerVm extends KvmVm {
  /** An answer: the next handler is asked. */
  readonly notHandled: typeof NOT_HANDLED = NOT_HANDLED;
  readonly #load: () => HandlerState;
  #state: HandlerState | undefined;

  constructor(port: VmmPort, load: () => HandlerState) {
    super(port);
    this.#load = load;
  }

  /** What all handlers of the VM keep together. A variable of a handler's own is not part of the VM. */
  get state(): HandlerState {
    this.#state ??= this.#load();
    return this.#state;
  }

  /** undefined: nobody has looked at it. */
  get touchedState(): HandlerState | undefined {
    return this.#state;
  }

  /** Answers a call of PSCI by KVM's rules; any other is not handled. */
  psci(call: HypercallCall): HandlerAnswer {
    return answerPsci(call, this);
  }

  /** Answers a call of SDEI (DEN0054); any other is not handled. */
  sdei(call: HypercallCall): HandlerAnswer {
    return answerSdei(call, this);
  }
}
