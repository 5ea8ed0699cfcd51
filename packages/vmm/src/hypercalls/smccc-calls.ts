/** Calls by SMCCC that the filter of an arm64 VM forwards, as its handlers are asked for them. */
import type { ExitFrame, VmmPort } from "@hvjournal/core";
import { registersOf } from "./handler-answer.js";
import type { AnswerEffect, AskedCall, CallInterface } from "./handler-chain.js";
import { HandlerVm } from "./handler-vm.js";
import { ForwardedCall } from "./hypercall-call.js";

/** SMCCC NOT_SUPPORTED, -1 in 64 bits: what a guest gets whose call nobody handles. */
const NOT_SUPPORTED = 0xffff_ffff_ffff_ffffn;

class SmcccCall extends ForwardedCall implements AskedCall {
  get number(): number {
    return this.nr;
  }

  /** "HVC 0xc6000001" */
  get text(): string {
    return `${this.conduit.toUpperCase()} 0x${this.nr.toString(16).padStart(8, "0")}`;
  }

  effectOf(answer: unknown): AnswerEffect {
    const registers = registersOf(answer);
    return (port) => {
      for (const [name, value] of registers) port.setRegister(this.vcpu, name, value);
    };
  }

  decline(): AnswerEffect {
    return (port) => port.setRegister(this.vcpu, "x0", NOT_SUPPORTED);
  }
}

export const smcccCalls: CallInterface = {
  call: (exit: ExitFrame, port: VmmPort) => new SmcccCall(exit, port),
  vm: (port, load) => new HandlerVm(port, load),
};
