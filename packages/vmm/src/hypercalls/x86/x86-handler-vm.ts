/** The VM as a handler has it for one call: memory, registers, lines, and what it wants to keep. */
import type { GuestStop, VmmPort } from "@hvjournal/core";
import { givenBytes, type WholeNumber, wholeNumber, wideNumber } from "@hvjournal/cpu-arm64";
import { type HandlerState, NOT_HANDLED } from "../answer-forms.js";

class X86Vcpu {
  readonly index: number;
  readonly #port: VmmPort;

  constructor(port: VmmPort, index: number) {
    this.#port = port;
    this.index = index;
  }

  getReg(name: string): bigint {
    return this.#port.readRegister(this.index, name);
  }

  setReg(name: string, value: WholeNumber): void {
    this.#port.setRegister(this.index, name, wideNumber("setReg: value", value));
  }
}
