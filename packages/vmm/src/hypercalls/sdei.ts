/**
 * SDEI 1.0 in the VMM half (DEN0054): the one event that every implementation has, number 0, private and signalled by
 * software; no interrupt can be bound. Nothing is ever signalled here, and SDEI_EVENT_SIGNAL says so: NOT_SUPPORTED.
 */
import { isPlainMap, type PlainValue } from "@hvjournal/core";
import type { HypercallCall } from "./hypercall-call.js";
import { type HandlerAnswer, type HandlerState, NOT_HANDLED } from "./answer-forms.js";

export const SDEI_BASE = 0xc400_0020;

/** By function number from 0xc4000020. */
export const SdeiFunction = {
  version: 0x00,
  eventRegister: 0x01,
  eventEnable: 0x02,
  eventDisable: 0x03,
  eventContext: 0x04,
  eventComplete: 0x05,
  eventCompleteAndResume: 0x06,
  eventUnregister: 0x07,
  eventStatus: 0x08,
  eventGetInfo: 0x09,
  eventRoutingSet: 0x0a,
  peMask: 0x0b,
  peUnmask: 0x0c,
  interruptBind: 0x0d,
  interruptRelease: 0x0e,
  eventSignal: 0x0f,
  features: 0x10,
  privateReset: 0x11,
  sharedReset: 0x12,
} as const;
const FUNCTIONS_MAX = 0x1f;

const SdeiResult = {
  success: 0n,
  notSupported: -1n,
  invalidParameters: -2n,
  denied: -3n,
  outOfResource: -10n,
} as const;

const VERSION_1_0 = 1n << 48n;
const SOFTWARE_EVENT = 0n;
const STATUS_REGISTERED = 1n;
const STATUS_ENABLED = 2n;
/** SDEI_EVENT_REGISTER: bit 0 is the routing mode, all others are reserved. */
const REGISTER_FLAGS = 1n;
/** SDEI_EVENT_GET_INFO. */
const EventInfo = { type: 0n, signalled: 1n, priority: 2n } as const;
const TYPE_PRIVATE = 0n;
const SIGNALLED_BY_SOFTWARE = 1n;
const PRIORITY_NORMAL = 0n;
/** SDEI_FEATURES: how many events could be bound to interrupts. */
const FEATURE_BIND_SLOTS = 0n;
/** SDEI_PE_MASK: the call has masked the PE, which was not. */
const WAS_UNMASKED = 1n;

/** What a vCPU has registered for event 0, and whether it takes events. */
interface PeState {
  readonly isUnmasked: boolean;
  readonly handler: { readonly entry: bigint; readonly argument: bigint; readonly isEnabled: boolean } | undefined;
}

const RESET: PeState = { isUnmasked: false, handler: undefined };
const STATE_KEY = "sdei";

export function answerSdei(call: HypercallCall, vm: { readonly state: HandlerState }): HandlerAnswer {
  const number = call.nr - SDEI_BASE;
  if (number < 0 || number > FUNCTIONS_MAX) return NOT_HANDLED;
  const state = stateOf(vm.state, call.vcpu);
  const { result, next = state } = answer(number, call.args, state);
  if (next !== state) keepState(vm.state, call.vcpu, next);
  return result;
}

interface Outcome {
  readonly result: bigint;
  readonly next?: PeState;
}

const told = (result: bigint): Outcome => ({ result });

function answer(number: number, args: readonly bigint[], state: PeState): Outcome {
  const F = SdeiFunction;
  switch (number) {
    case F.version:
      return told(VERSION_1_0);
    case F.features:
      return told(args[1] === FEATURE_BIND_SLOTS ? 0n : SdeiResult.invalidParameters);
    case F.peMask:
      return { result: state.isUnmasked ? WAS_UNMASKED : 0n, next: { ...state, isUnmasked: false } };
    case F.peUnmask:
      return { result: SdeiResult.success, next: { ...state, isUnmasked: true } };
    case F.privateReset:
      return { result: SdeiResult.success, next: { ...state, handler: undefined } };
    case F.sharedReset:
      return told(SdeiResult.success);
    // No event runs, ever.
    case F.eventContext:
    case F.eventComplete:
    case F.eventCompleteAndResume:
      return told(SdeiResult.denied);
    case F.interruptBind:
      return told(SdeiResult.outOfResource);
    case F.interruptRelease:
      return told(SdeiResult.invalidParameters);
    default:
      return aboutEvent(number, args, state);
  }
}

/** The functions whose first argument is an event. */
function aboutEvent(number: number, args: readonly bigint[], state: PeState): Outcome {
  const F = SdeiFunction;
  const isKnown = number >= F.eventRegister && number <= F.eventRoutingSet;
  if (!isKnown) return told(SdeiResult.notSupported);
  if (args[1] !== SOFTWARE_EVENT) return told(SdeiResult.invalidParameters);
  const { handler } = state;
  switch (number) {
    case F.eventRegister:
      return register(args, state);
    case F.eventGetInfo:
      return told(infoOf(args[2] ?? 0n));
    case F.eventStatus:
      return told(
        (handler === undefined ? 0n : STATUS_REGISTERED) | (handler?.isEnabled === true ? STATUS_ENABLED : 0n),
      );
    case F.eventRoutingSet:
      // A private event has its own PE only.
      return told(SdeiResult.invalidParameters);
    default:
  }
  if (handler === undefined) return told(SdeiResult.denied);
  if (number === F.eventUnregister) return { result: SdeiResult.success, next: { ...state, handler: undefined } };
  const isEnabled = number === F.eventEnable;
  return { result: SdeiResult.success, next: { ...state, handler: { ...handler, isEnabled } } };
}

function register(args: readonly bigint[], state: PeState): Outcome {
  const [, , entry = 0n, argument = 0n, flags = 0n] = args;
  if ((flags & ~REGISTER_FLAGS) !== 0n) return told(SdeiResult.invalidParameters);
  if (state.handler !== undefined) return told(SdeiResult.denied);
  return { result: SdeiResult.success, next: { ...state, handler: { entry, argument, isEnabled: false } } };
}

function infoOf(what: bigint): bigint {
  switch (what) {
    case EventInfo.type:
      return TYPE_PRIVATE;
    case EventInfo.signalled:
      return SIGNALLED_BY_SOFTWARE;
    case EventInfo.priority:
      return PRIORITY_NORMAL;
    default:
      // Routing is a matter of shared events.
      return SdeiResult.invalidParameters;
  }
}

function peName(vcpu: number): string {
  return `vcpu${vcpu}`;
}

function mapOf(value: PlainValue | undefined): { readonly [key: string]: PlainValue } {
  return isPlainMap(value) ? value : {};
}

function stateOf(state: HandlerState, vcpu: number): PeState {
  const saved = mapOf(mapOf(state[STATE_KEY])[peName(vcpu)]);
  const { isUnmasked, handler } = saved;
  if (isUnmasked === undefined) return RESET;
  const { entry, argument, isEnabled } = mapOf(handler);
  return {
    isUnmasked: isUnmasked === true,
    handler:
      typeof entry === "bigint" && typeof argument === "bigint"
        ? { entry, argument, isEnabled: isEnabled === true }
        : undefined,
  };
}

function keepState(state: HandlerState, vcpu: number, { isUnmasked, handler }: PeState): void {
  const plain: PlainValue = { isUnmasked, handler: handler === undefined ? null : { ...handler } };
  state[STATE_KEY] = { ...mapOf(state[STATE_KEY]), [peName(vcpu)]: plain };
}
