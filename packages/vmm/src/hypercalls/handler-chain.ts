/** Asks the handlers of a VM in turn, the board last; what they have done takes effect with the answer, or not at all. */
import {
  type CallAnswerer,
  decodeCanonicalMap,
  encodeCanonical,
  type ExitFrame,
  plainValue,
  type StateSection,
  StateSectionError,
  type VmmAttempt,
  type VmmPort,
} from "@hvjournal/core";
import { CallPort } from "./call-port.js";
import { AnswerError } from "./answer-error.js";
import { type HandlerState, NOT_HANDLED } from "./answer-forms.js";
import {
  type CallName,
  HandlerError,
  type HandlerErrorCode,
  HandlerTimeoutError,
  HandlerWithdrawnError,
  isBuiltinName,
  type NamedHandler,
} from "./hypercall-handler.js";

const SECTION = "vmm.handlers";
const SECTION_VERSION = 1;
const BOARD: CallAnswerer = { by: "board" };

/** What an answer does to the guest, once all that could be wrong with it has been looked at. */
export type AnswerEffect = (port: VmmPort) => void;

/** One call of an architecture, as the exit tells it. */
export interface AskedCall extends CallName {
  /** What is called: a function identifier, a call code, an MSR. */
  readonly number: number;
  /** Reads what a change of registers would take away. */
  settle(): void;
  /** All of it as data, which can be printed and spread. */
  toPlain(): unknown;
  /** Throws AnswerError for one that makes no sense. */
  effectOf(answer: unknown): AnswerEffect;
  /** Nobody takes it: what the VMM does then. Throws HandlerError where nobody may. */
  decline(): AnswerEffect;
}

/** The VM as a handler has it for one call. */
export interface AskedVm {
  /** What handlers keep, where one has looked at it. */
  readonly touchedState: HandlerState | undefined;
}

/** How an architecture's calls come and are answered. */
export interface CallInterface {
  call(exit: ExitFrame, port: VmmPort): AskedCall;
  vm(port: VmmPort, load: () => HandlerState): AskedVm;
}

/** One call, from the exit to its answer. */
interface OpenCall {
  readonly call: AskedCall;
  readonly vm: AskedVm;
  readonly vmmPort: VmmPort;
  /** What handlers act through. */
  readonly port: CallPort;
  readonly attempt: VmmAttempt;
}

/** What an answer comes to, before any of it has taken effect. */
interface CallOutcome {
  readonly effect: AnswerEffect;
  readonly answerer: CallAnswerer;
  /** What handlers keep with the VM. */
  readonly state: Uint8Array | undefined;
}

export class HandlerChain {
  readonly #handlers: readonly NamedHandler[];
  readonly #interface: CallInterface;
  /** Canonical bytes of `HandlerVm.state`; undefined: nothing has been kept. */
  #state: Uint8Array | undefined;
  /** Whose promise is not kept yet, and what was asked. */
  #waitsFor: string | undefined;

  constructor(handlers: readonly NamedHandler[], callInterface: CallInterface) {
    this.#handlers = handlers;
    this.#interface = callInterface;
  }

  get providesSdei(): boolean {
    return this.#handlers.some(({ providesSdei = false }) => providesSdei);
  }

  /** For people: "late.mjs, HVC 0xc6000001". */
  get waitsFor(): string | undefined {
    return this.#waitsFor;
  }

  /** The answer that is waited for is not wanted any more: as where the handler fails, the exit waits. */
  withdraw(): void {
    for (const { withdraw } of this.#handlers) withdraw?.();
  }

  /** Throws, or rejects with, HandlerError: then the VM is as it was, and the exit waits. */
  answer(exit: ExitFrame, vmmPort: VmmPort): void | Promise<void> {
    return this.answerCall(this.#interface.call(exit, vmmPort), vmmPort);
  }

  get hasHandlers(): boolean {
    return this.#handlers.length > 0;
  }

  /** The same of a call that is known already. */
  answerCall(call: AskedCall, vmmPort: VmmPort): void | Promise<void> {
    if (this.#handlers.length === 0) return call.decline()(vmmPort);
    const port = new CallPort(vmmPort, () => call.settle());
    const open: OpenCall = {
      call,
      vmmPort,
      port,
      vm: this.#interface.vm(port, () => this.#loadState()),
      attempt: vmmPort.begin(),
    };
    let outcome;
    try {
      outcome = this.#ask(0, open);
    } catch (error) {
      return giveUp(open, error);
    }
    // What goes wrong as it takes effect is no handler's fault, and can't be undone: a verification that differs says so.
    if (!isPromise(outcome)) return this.#apply(outcome, open);
    return outcome.then(
      (settled) => this.#apply(settled, open),
      (error: unknown) => giveUp(open, error),
    );
  }

  #ask(index: number, open: OpenCall): CallOutcome | Promise<CallOutcome> {
    const handler = this.#handlers[index];
    if (handler === undefined) return this.#outcomeOf(open.call.decline(), BOARD, open);
    const failed = (error: unknown): never => {
      throw failure(handler, open.call, error);
    };
    const { call, vm } = open;
    let answer;
    try {
      const given = handler.isBuiltin === true ? call : call.toPlain();
      answer = handler.handle(given as never, vm as never, call.number);
    } catch (error) {
      return failed(error);
    }
    if (!isPromise(answer)) return this.#take(index, handler, answer, open);
    this.#waitsFor = `${handler.name}, ${call.text}`;
    return Promise.resolve(answer)
      .finally(() => (this.#waitsFor = undefined))
      .then((kept) => this.#take(index, handler, kept, open), failed);
  }

  #take(index: number, handler: NamedHandler, answer: unknown, open: OpenCall): CallOutcome | Promise<CallOutcome> {
    if (answer === NOT_HANDLED) return this.#ask(index + 1, open);
    try {
      return this.#outcomeOf(open.call.effectOf(answer), answererOf(handler), open);
    } catch (error) {
      throw failure(handler, open.call, error);
    }
  }

  /** Everything that may fail by a handler's doing. */
  #outcomeOf(effect: AnswerEffect, answerer: CallAnswerer, { vm }: OpenCall): CallOutcome {
    return { effect, answerer, state: vm.touchedState === undefined ? this.#state : encodedState(vm.touchedState) };
  }

  #apply({ effect, answerer, state }: CallOutcome, { vmmPort, port, attempt }: OpenCall): void {
    port.close();
    attempt.keep(answerer);
    effect(vmmPort);
    this.#state = state;
  }

  #loadState(): HandlerState {
    return this.#state === undefined ? {} : { ...decodeCanonicalMap(this.#state) };
  }

  save(): StateSection[] {
    return this.#state === undefined ? [] : [{ name: SECTION, version: SECTION_VERSION, bytes: this.#state }];
  }

  /** `take` gives the section of a name, if the saved machine has it. Throws StateSectionError. */
  restore(take: (name: string) => StateSection | undefined): void {
    const section = take(SECTION);
    this.#state = undefined;
    if (section === undefined) return;
    if (section.version !== SECTION_VERSION)
      throw new StateSectionError(SECTION, `version ${section.version}, this build reads ${SECTION_VERSION}`);
    decodeCanonicalMap(section.bytes);
    this.#state = section.bytes;
  }
}

/** undefined where there is nothing to keep: a VM whose handlers keep nothing is saved as one without. */
function encodedState(state: HandlerState): Uint8Array | undefined {
  if (Object.keys(state).length === 0) return undefined;
  return encodeCanonical(plainValue(state, "vm.state"));
}

function answererOf({ name }: NamedHandler): CallAnswerer {
  return { by: isBuiltinName(name) ? "builtin" : "handler", name };
}

function isPromise<Value>(answer: unknown): answer is Promise<Value> {
  return typeof answer === "object" && answer !== null && "then" in answer && typeof answer.then === "function";
}

function failure(handler: NamedHandler, call: CallName, error: unknown): HandlerError {
  // One that has failed behind another one has been told already.
  if (error instanceof HandlerError) return error;
  const place = handler.placeOf?.(error);
  const reason =
    error instanceof Error && error.name !== "Error" ? `${error.name}: ${error.message}` : messageOf(error);
  const isOwn = [AnswerError, HandlerTimeoutError, HandlerWithdrawnError].some((kind) => error instanceof kind);
  const text = isOwn ? messageOf(error) : `it threw ${reason}`;
  return new HandlerError(codeOf(error), {
    handler: handler.name,
    call,
    reason: place === undefined ? text : `${text} (${place})`,
    cause: error,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): HandlerErrorCode {
  if (error instanceof AnswerError) return "handler-answer";
  if (error instanceof HandlerWithdrawnError) return "handler-withdrawn";
  return error instanceof HandlerTimeoutError ? "handler-timeout" : "handler-failed";
}

function giveUp({ port, attempt }: OpenCall, error: unknown): never {
  port.close();
  attempt.undo();
  throw error;
}
