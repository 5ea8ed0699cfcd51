/** One subject of an architecture's control plane: its commands with KVM's rules, its events, their fold, and its words. */
import type { EventKind } from "../event/event-kind.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import type { HostReference } from "../ports/host.js";
import type {
  ControlCommand,
  ControlContext,
  ControlEvent,
  ControlSlice,
  Decision,
  Errno,
  Refusal,
} from "../ports/control.js";

export interface EventPart<State> {
  readonly kind: EventKind;
  /** Pure. */
  evolve(state: State, fields: PayloadFields, event: ControlEvent, seq: number): State;
  describe(fields: PayloadFields, event: ControlEvent): string;
}

export interface ControlPart<State> {
  /** By the name of the command. */
  readonly decide: Readonly<
    Record<string, (state: State, fields: PayloadFields, context: ControlContext, command: ControlCommand) => Decision>
  >;
  readonly events: readonly EventPart<State>[];
  /** By the word of an option or of `ctl`; a string is what is wrong with the text. */
  readonly parse: Readonly<Record<string, (text: string) => ControlCommand | string>>;
}

/** A number as people write it: decimal, or hexadecimal behind 0x. */
export const NUMBER = "(0x[0-9a-fA-F]+|[0-9]+)";

export function refuse(errno: Errno, call: string, reason: string, next?: string): { readonly refused: Refusal } {
  return { refused: { errno, call, reason, ...(next === undefined ? {} : { next }) } };
}

/** One event of the VM, or of one vCPU. */
export function decided(kind: EventKind, payload: ControlEvent["payload"], vcpu = -1): Decision {
  return { events: [{ kind: kind.name, version: kind.version, vcpu, payload }] };
}

interface SliceOptions<State> extends Pick<ControlSlice<State>, "query" | "describeRule" | "precedesVcpus"> {
  /** As errors name it. */
  readonly architecture: string;
  readonly parts: readonly ControlPart<State>[];
  initialState(host?: HostReference): State;
}

/** A slice that is composed of its subjects. */
export function composeSlice<State>(options: SliceOptions<State>): ControlSlice<State> {
  const { architecture, parts, initialState, ...queries } = options;
  const decisions = new Map(parts.flatMap(({ decide }) => Object.entries(decide)));
  const words = new Map(parts.flatMap(({ parse }) => Object.entries(parse)));
  const events = new Map(parts.flatMap((part) => part.events.map((each) => [each.kind.name, each] as const)));
  const eventPart = ({ kind }: ControlEvent): EventPart<State> => {
    const found = events.get(kind);
    if (found === undefined) throw new RangeError(`${kind} is no control event of ${architecture}`);
    return found;
  };
  return {
    ...queries,
    kinds: [...events.values()].map(({ kind }) => kind),
    initialState,
    decide(state, command, context) {
      const decide = decisions.get(command.name);
      if (decide !== undefined) return decide(state, new PayloadFields(command.name, command), context, command);
      const reason = `${architecture} has no command ${command.name}: ${[...decisions.keys()].join(", ")}`;
      return { refused: { errno: "ENOTTY", call: command.name, reason } };
    },
    evolve: (state, event, seq) =>
      eventPart(event).evolve(state, new PayloadFields(event.kind, event.payload), event, seq),
    describe: (event) => eventPart(event).describe(new PayloadFields(event.kind, event.payload), event),
    parse(word, text) {
      const parse = words.get(word);
      return parse === undefined ? `${architecture} has no ${word}: ${[...words.keys()].join(", ")}` : parse(text);
    },
  };
}
