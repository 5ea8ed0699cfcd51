/** Handlers of forwarded hypercalls, and how they fail. */
import type { HypercallCall } from "./hypercall-call.js";
import type { HandlerVm } from "./handler-vm.js";
import type { HandlerAnswer } from "./answer-forms.js";

/** The VM stands still as a whole until the answer is there. */
export type HypercallHandler = (call: HypercallCall, vm: HandlerVm) => HandlerAnswer | Promise<HandlerAnswer>;

export interface NamedHandler {
  /** As it was given: a file, "builtin:psci". */
  readonly name: string;
  readonly handle: HypercallHandler;
  /** Promises that have not been kept are rejected with HandlerWithdrawnError. */
  readonly withdraw?: () => void;
  /** Part of the VMM half: it reads no more of a call than it needs, and gets it as it comes. */
  readonly isBuiltin?: true;
  /** Answers the calls of SDEI: the device tree says that there is one. */
  readonly providesSdei?: boolean;
  /** Where in its source an error was thrown: "demo.ts:12". */
  readonly placeOf?: (error: unknown) => string | undefined;
}

/**
 * "handler-failed": it threw. "handler-answer": its answer makes no sense. "handler-timeout": none came in time.
 * "handler-withdrawn": nobody waits for it any more, and it is no fault of the handler's.
 */
export type HandlerErrorCode = "handler-failed" | "handler-answer" | "handler-timeout" | "handler-withdrawn";

/** What a handler's promise is rejected with that does not keep within its time. */
export class HandlerTimeoutError extends Error {
  override readonly name = "HandlerTimeoutError";
}

/** What a handler's promise is rejected with while something else is wanted of the VM. */
export class HandlerWithdrawnError extends Error {
  override readonly name = "HandlerWithdrawnError";
}

/** "HVC 0xc6000001" */
export function callText({ conduit, nr }: HypercallCall): string {
  return `${conduit.toUpperCase()} 0x${nr.toString(16).padStart(8, "0")}`;
}

/** The call is not answered, and the VM is as it was when the guest left. */
export class HandlerError extends Error {
  override readonly name = "HandlerError";
  readonly code: HandlerErrorCode;
  readonly handler: string;
  readonly call: HypercallCall;
  constructor(
    code: HandlerErrorCode,
    about: { handler: string; call: HypercallCall; reason: string; cause?: unknown },
  ) {
    const { handler, call, reason, cause } = about;
    super(`handler ${handler} has no answer to ${callText(call)} of vcpu${call.vcpu}: ${reason}`, { cause });
    this.code = code;
    this.handler = handler;
    this.call = call;
  }
}
