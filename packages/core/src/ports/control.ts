/**
 * The control plane: commands, KVM's rules, events, pure reducers.
 *
 * One path for `record` options, the machine file, `ctl` at run time and the VMM half:
 * `decide` checks a command against the folded state and gives events or a refusal;
 * `evolve` folds an event into the state. A refused command is no event.
 */
import type { HostReference } from "./host.js";
import type { EventKind, EventPayload } from "../event/event-kind.js";

/** A command by name with plain arguments: `{name: "smccc-filter", base: 0xc6000000, …}`. */
export type ControlCommand = { readonly name: string } & EventPayload;

/** What has happened, before it has a number. */
export interface ControlEvent {
  readonly kind: string;
  readonly version: number;
  /** -1 for the VM. */
  readonly vcpu: number;
  readonly payload: EventPayload;
}

/** By name: "EBUSY", "EINVAL", "EEXIST", "ENOENT" ... */
export type Errno = `E${string}`;

/** KVM's own answer to a command that breaks a rule. */
export interface Refusal {
  readonly errno: Errno;
  /** The ioctl or attribute that refuses: "KVM_ARM_VM_SMCCC_FILTER". */
  readonly call: string;
  /** Why, in lower case, with the values: "a vCPU has run". */
  readonly reason: string;
  /** A command to paste, if one would help. */
  readonly next?: string;
}

export type Decision = { readonly events: readonly ControlEvent[] } | { readonly refused: Refusal };

/** What rules may ask beside the slice's own state. */
export interface ControlContext {
  /** Whether any vCPU has run an instruction. */
  readonly hasRun: boolean;
  /** Whether KVM_CREATE_VCPU has been called. */
  readonly hasVcpus: boolean;
  readonly vcpuCount: number;
  /** Guest-physical RAM. */
  readonly memoryBase: number;
  readonly memoryBytes: number;
}

/** One slice of configuration with its rules; `State` is plain immutable data. */
export interface ControlSlice<State = unknown> {
  readonly kinds: readonly EventKind[];
  /** `host`: the simulated host that the VM is created on; absent: the default one. */
  initialState(host?: HostReference): State;
  decide(state: State, command: ControlCommand, context: ControlContext): Decision;
  /** Whether KVM takes a command before the first KVM_CREATE_VCPU alone; absent: it does so of none. */
  precedesVcpus?(command: ControlCommand): boolean;
  /** Pure. `seq` is the event's number, for rules that later name what decided. */
  evolve(state: State, event: ControlEvent, seq: number): State;
  /** `config.cap(NAME)`, `config.smccc(FUNCTION)`, `config.reg(NAME)` in expressions; undefined for what it has not. */
  query?(state: State, what: "cap" | "smccc" | "reg", name: string | bigint): bigint | undefined;
  /** One line for people: what `log` prints behind the kind. */
  describe(event: ControlEvent): string;
  /** Of a rule that `ExitWord.rule` may name: what `describe` says of event `seq`, from the state alone; undefined: there is none. */
  describeRule?(state: State, seq: number): string | undefined;
  /** Parses the text of an option or of `ctl`: ("smccc-filter", "0xc6000000+0x100=forward"). A string is the error. */
  parse(word: string, text: string): ControlCommand | string;
}
