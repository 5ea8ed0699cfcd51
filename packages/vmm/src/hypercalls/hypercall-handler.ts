/** Handlers of forwarded hypercalls, and how they fail. */
import type { HypercallCall } from "./hypercall-call.js";
import type { HandlerVm } from "./handler-vm.js";
import type { HandlerAnswer } from "./answer-forms.js";

/** Of arm64. The VM stands still as a whole until the answer is there. */
export type HypercallHandler = (call: HypercallCall, vm: HandlerVm) => HandlerAnswer | Promise<HandlerAnswer>;

/** What a chain asks for an answer: what it takes and gives is its architecture's (`HypercallHandler`, `X86Handler`). */
export type AnyHandler = (call: never, vm: never, number: number) => unknown;

/** Begins the name of a handler that is part of the VMM half. */
export const BUILTIN_PREFIX = "builtin:";

export function isBuiltinName(name: string): boolean {
  return name.startsWith(BUILTIN_PREFIX);
}

export interface NamedHandler {
  /** As it was given: a file, "builtin:psci". */
  readonly name: string;
  readonly handle: AnyHandler;
  /** The only one whose calls it answers; absent: its own affair. */
  readonly architecture?: string;
  /** Promises that have not been kept are rejected with HandlerWithdrawnError. */
  readonly withdraw?: () => void;
  /** Part of the VMM half of arm64: it reads no more of a call than it needs, and gets it as it comes. */
  readonly isBuiltin?: true;
  /** Answers the calls of SDEI: the device tree says that there is one. */
  readonly providesSdei?: boolean;
  /** Where in its source an error was thrown: "demo.ts:12". */
  readonly placeOf?: (error: unknown) => string | undefined;
}

/**
 * "handler-failed": it threw. "handler-answer": its answer makes no sense. "handler-timeout": none came in time.
 * "handler-withdrawn": nobody waits for it any more, and it is no fault of the handler's. "unknown-exit": an exit that neither
 * a handler nor the board knows, so that nobody may answer it.
 */
export type HandlerErrorCode =
  "handler-failed" | "handler-answer" | "handler-timeout" | "handler-withdrawn" | "unknown-exit";

/** What a handler's promise is rejected with that does not keep within its time. */
export class HandlerTimeoutError extends Error {
  override readonly name = "HandlerTimeoutError";
}

/** What a handler's promise is rejected with while something else is wanted of the VM. */
export class HandlerWithdrawnError extends Error {
  override readonly name = "HandlerWithdrawnError";
}

/** The call that was asked about. */
export interface CallName {
  readonly vcpu: number;
  /** "HVC 0xc6000001", "KVM_EXIT_HYPERV HvExtCallQueryCapabilities" */
  readonly text: string;
}

/** The call is not answered, and the VM is as it was when the guest left. */
export class HandlerError extends Error {
  override readonly name = "HandlerError";
  readonly code: HandlerErrorCode;
  readonly handler: string;
  constructor(code: HandlerErrorCode, about: { handler: string; call: CallName; reason: string; cause?: unknown }) {
    const { handler, call, reason, cause } = about;
    const who = code === "unknown-exit" ? handler : `handler ${handler}`;
    super(`${who} has no answer to ${call.text} of vcpu${call.vcpu}: ${reason}`, { cause });
    this.code = code;
    this.handler = handler;
  }
}
