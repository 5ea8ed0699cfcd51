/** KVM_ENABLE_CAP. Command: {name: "cap", capability, args, vcpu?}; without vcpu: of the VM, or of all its vCPUs. */
import type { EventKind } from "../event/event-kind.js";
import type { ControlCommand, ControlContext, ControlEvent, Errno } from "../ports/control.js";
import { type ControlPart, decided, NUMBER, refuse } from "./control-part.js";

const ENABLE_CAP = "KVM_ENABLE_CAP";
const CAP_PREFIX = "KVM_CAP_";

export interface EnabledCapability {
  readonly name: string;
  readonly args: readonly bigint[];
  /** Of one vCPU alone. */
  readonly vcpu?: number;
}

interface CapabilityState {
  /** In the order in which they were enabled. */
  readonly capabilities: readonly EnabledCapability[];
}

/** Absent `vcpu`: whether the VM, or any vCPU, has it enabled. */
export function isEnabled({ capabilities }: CapabilityState, capability: string, vcpu?: number): boolean {
  return capabilities.some(
    (each) => each.name === capability && (vcpu === undefined || each.vcpu === undefined || each.vcpu === vcpu),
  );
}

/** What was enabled last of a capability; a vCPU's own comes before that of all. undefined: it is not enabled. */
export function enabledCapability(
  { capabilities }: CapabilityState,
  capability: string,
  vcpu?: number,
): EnabledCapability | undefined {
  let ofAll: EnabledCapability | undefined;
  for (const each of capabilities) {
    if (each.name !== capability) continue;
    if (each.vcpu === undefined) ofAll ??= each;
    else if (each.vcpu === vcpu) return each;
  }
  return ofAll;
}

/** The first argument of a capability; undefined: it is not enabled. */
export function capabilityArgument(state: CapabilityState, capability: string, vcpu?: number): bigint | undefined {
  const found = enabledCapability(state, capability, vcpu);
  return found === undefined ? undefined : (found.args[0] ?? 0n);
}

/** KVM's name of a capability that is given with or without the prefix. */
export function capabilityName(given: string): string {
  const name = given.toUpperCase();
  return name.startsWith(CAP_PREFIX) ? name : `${CAP_PREFIX}${name}`;
}

function argumentsOf(args: readonly unknown[]): bigint[] {
  return args.map((arg) => BigInt(typeof arg === "bigint" || typeof arg === "number" ? arg : 0));
}

function parseCapability(text: string): ControlCommand | string {
  const match = new RegExp(`^(\\w+)(?:=(${NUMBER}(?:,${NUMBER})*))?$`).exec(text);
  if (match === null) return "expected NAME or NAME=NUMBER,...";
  const args = match[2] === undefined ? [] : match[2].split(",").map(BigInt);
  return { name: "cap", capability: capabilityName(match[1] ?? ""), args };
}

/** What is asked to be enabled. */
export interface AskedCapability {
  readonly name: string;
  readonly args: readonly bigint[];
  /** -1: of the VM, or of all vCPUs. */
  readonly vcpu: number;
}

/** An errno and a reason. */
export interface CapabilityRefusal {
  readonly errno: Errno;
  readonly reason: string;
}

export interface CapabilityRules<State> {
  /** The event's name, such as "arm64.CapEnabled". */
  readonly kind: string;
  /** undefined: it may be enabled. */
  refusal(state: State, asked: AskedCapability, context: ControlContext): CapabilityRefusal | undefined;
  /** The arguments that are in force then; absent: those that are asked for. */
  argumentsInForce?(state: State, asked: AskedCapability): readonly bigint[];
}

function describe({ payload, vcpu }: ControlEvent): string {
  const args = Array.isArray(payload["args"]) ? payload["args"].map(String) : [];
  const name = String(payload["name"]);
  const whose = vcpu < 0 ? "" : `  vcpu${vcpu}`;
  return `${args.length === 0 ? name : `${name}=${args.join(",")}`}${whose}`;
}

export function capabilityPartOf<State extends CapabilityState>({
  kind,
  refusal,
  argumentsInForce = (_state, { args }) => args,
}: CapabilityRules<State>): ControlPart<State> {
  const capEnabled: EventKind = { name: kind, version: 1, role: "vmm output", fields: ["name", "args", "old", "new"] };
  return {
    decide: {
      cap(state, fields, context) {
        const name = fields.string("capability");
        const vcpu = fields.has("vcpu") ? fields.number("vcpu") : -1;
        const asked = { name, args: argumentsOf(fields.array("args")), vcpu };
        const refused = refusal(state, asked, context);
        if (refused !== undefined) return refuse(refused.errno, ENABLE_CAP, refused.reason);
        const old = isEnabled(state, name, vcpu < 0 ? undefined : vcpu);
        const args = [...argumentsInForce(state, asked)];
        return decided(capEnabled, { name, args, old, new: true }, vcpu);
      },
    },
    events: [
      {
        kind: capEnabled,
        evolve: (state, fields, event) => {
          const name = fields.string("name");
          const args = argumentsOf(fields.array("args"));
          const others = state.capabilities.filter(
            (each) => each.name !== name || (event.vcpu >= 0 && each.vcpu !== event.vcpu),
          );
          const vcpu = event.vcpu < 0 ? {} : { vcpu: event.vcpu };
          return { ...state, capabilities: [...others, { name, args, ...vcpu }] };
        },
        describe: (_fields, event) => describe(event),
      },
    ],
    parse: { cap: parseCapability },
  };
}
