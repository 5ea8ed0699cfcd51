/** One subject of the amd64 control plane: its commands with KVM's rules, its events, their fold, and its words. */
import type {
  ControlCommand,
  ControlContext,
  ControlEvent,
  Decision,
  EventKind,
  PayloadFields,
  Refusal,
} from "@hvjournal/core";
import type { Amd64ControlState } from "./control-state.js";

export interface EventPart {
  readonly kind: EventKind;
  /** Pure. */
  evolve(state: Amd64ControlState, fields: PayloadFields, event: ControlEvent, seq: number): Amd64ControlState;
  describe(fields: PayloadFields, event: ControlEvent): string;
}

export interface ControlPart {
  /** By the name of the command. */
  readonly decide: Readonly<
    Record<
      string,
      (state: Amd64ControlState, fields: PayloadFields, context: ControlContext, command: ControlCommand) => Decision
    >
  >;
  readonly events: readonly EventPart[];
  /** By the word of an option or of `ctl`; a string is what is wrong with the text. */
  readonly parse: Readonly<Record<string, (text: string) => ControlCommand | string>>;
}

/** A number as people write it: decimal, or hexadecimal behind 0x. */
export const NUMBER = "(0x[0-9a-fA-F]+|[0-9]+)";

export function refuse(errno: string, call: string, reason: string, next?: string): { readonly refused: Refusal } {
  return { refused: { errno, call, reason, ...(next === undefined ? {} : { next }) } };
}

/** One event of the VM, or of one vCPU. */
export function decided(kind: EventKind, payload: ControlEvent["payload"], vcpu = -1): Decision {
  return { events: [{ kind: kind.name, version: kind.version, vcpu, payload }] };
}
