/** What a handler may answer, and what it may keep. */
import type { PlainValue } from "@hvjournal/core";

/** A handler's answer that says: not mine, ask the next one. */
export const NOT_HANDLED: unique symbol = Symbol("not handled");

/** 64 bits; negative numbers stand for their two's complement. */
type RegisterValue = bigint | number;

/**
 * - undefined: registers stay as they are, so x0 keeps the function identifier, as KVM does with an exit that nobody answers;
 * - a number: x0;
 * - a list: x0, x1 and so on;
 * - an object: registers by name, x0 to x17;
 * - `NOT_HANDLED`: the next handler is asked, the board last.
 */
export type HandlerAnswer =
  | void
  | undefined
  | RegisterValue
  | readonly RegisterValue[]
  | { readonly [register: string]: RegisterValue }
  | typeof NOT_HANDLED;

/** Plain data that is saved with the VM: it moves, branches and is restored with it. */
export type HandlerState = { [key: string]: PlainValue };
