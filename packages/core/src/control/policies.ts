/**
 * Policies: what upstream KVM does not let a VMM choose. Each defaults to what upstream does; `policy NAME=VALUE` sets it.
 * Command: {name: "policy", policy, value}. Their capability numbers lie in a private space, from 0x10000 up.
 */
import type { EventKind } from "../event/event-kind.js";
import { meantHint } from "../nearest-word.js";
import type { ControlCommand, Errno } from "../ports/control.js";
import { type ControlPart, decided, NUMBER, refuse } from "./control-part.js";

const CALL = "KVM_ENABLE_CAP";

export interface Policy<Name extends string = string> {
  readonly name: Name;
  /** What it decides, for the help; no more than a line. */
  readonly about: string;
  /** Upstream's behaviour first. The index is the argument of the capability. */
  readonly values: readonly string[];
  /** It takes numbers with these bits, written as "0x5", and `values` has upstream's alone. The number is the argument. */
  readonly mask?: bigint;
  /** It takes some of these, written as "pio+mmio", and `values` has upstream's alone. Their bits, first the lowest, are the argument. */
  readonly flags?: readonly string[];
  /** Other words for values: what older recordings say. */
  readonly aliases?: Readonly<Record<string, string>>;
  readonly capability: { readonly name: string; readonly number: number };
  /** Refused once a vCPU has run. */
  readonly frozenByRun: boolean;
  /** By which it is refused then; default EBUSY. */
  readonly frozenErrno?: Errno;
}

/** A value as it is kept; undefined: the policy does not take it. */
function policyValueOf({ values, mask, flags, aliases }: Policy, text: string): string | undefined {
  if (flags !== undefined) return flagsIn(flags, text);
  if (mask === undefined) return [text, aliases?.[text] ?? text].find((each) => values.includes(each));
  if (!new RegExp(`^${NUMBER}$`).test(text)) return undefined;
  const bits = BigInt(text);
  return (bits & ~mask) === 0n ? `0x${bits.toString(16)}` : undefined;
}

/** In the order of the policy; undefined: one is none of them, or there is none. */
function flagsIn(flags: readonly string[], text: string): string | undefined {
  const given = text.split("+");
  return given.every((each) => flags.includes(each))
    ? flags.filter((each) => given.includes(each)).join("+")
    : undefined;
}

/** The value that an argument of KVM_ENABLE_CAP stands for; one that the policy does not take stays as it is. */
export function policyArgument({ values, mask, flags }: Policy, argument: bigint): string {
  if (flags !== undefined && argument > 0n && argument >> BigInt(flags.length) === 0n)
    return flags.filter((_, bit) => ((argument >> BigInt(bit)) & 1n) === 1n).join("+");
  return mask === undefined ? (values[Number(argument)] ?? `argument ${argument}`) : `0x${argument.toString(16)}`;
}

/** Its values, upstream's first: "deny, forward-unhandled". */
export function policyValuesText(policy: Policy): string {
  const [upstream = ""] = policy.values;
  const isList = policy.mask === undefined && policy.flags === undefined;
  return isList ? takenValues(policy) : `${upstream}; ${takenValues(policy)}`;
}

function takenValues({ values, mask, flags }: Policy): string {
  if (flags !== undefined) return `some of ${flags.join(", ")}, with + between them`;
  return mask === undefined ? values.join(", ") : `numbers with the bits 0x${mask.toString(16)}`;
}

/** A policy that was set, and the event that set it. */
export interface PolicySetting<Name extends string = string> {
  readonly name: Name;
  readonly value: string;
  readonly seq: number;
}

interface PolicyState<Name extends string> {
  /** Absent as long as none was set. */
  readonly policies?: readonly PolicySetting<Name>[];
}

/** The policies of an architecture. */
export class PolicyTable<Name extends string> {
  readonly policies: readonly Policy<Name>[];
  /** Values, by name. */
  readonly #upstream: ReadonlyMap<Name, string>;

  constructor(policies: readonly Policy<Name>[]) {
    this.policies = policies;
    this.#upstream = new Map(policies.map(({ name, values: [upstream = ""] }) => [name, upstream]));
  }

  named(name: string): Policy<Name> | undefined {
    return this.policies.find((policy) => policy.name === name);
  }

  /** By the name or number of its capability. */
  ofCapability(capability: string | number): Policy<Name> | undefined {
    return this.policies.find(({ capability: { name, number } }) => name === capability || number === capability);
  }

  /** The value in force: what was set, or upstream's. */
  valueIn({ policies }: PolicyState<Name>, name: Name): string {
    return policies?.find((each) => each.name === name)?.value ?? this.#upstream.get(name) ?? "";
  }

  /** The setting in force where it is not upstream's. */
  settingIn({ policies = [] }: PolicyState<Name>, name: Name): PolicySetting<Name> | undefined {
    return policies.find((each) => each.name === name && each.value !== this.named(name)?.values[0]);
  }

  parse(text: string): ControlCommand | string {
    const [, name = "", value = ""] = /^([\w.]+)=(.*)$/.exec(text) ?? [];
    if (name === "") return "expected NAME=VALUE";
    const policy = this.named(name);
    const names = this.policies.map((each) => each.name);
    if (policy === undefined) return `${name} is none of ${names.join(", ")}${meantHint(name, names)}`;
    const meant = policyValueOf(policy, value);
    if (meant === undefined)
      return policy.mask === undefined && policy.flags === undefined
        ? `'${value}' is none of ${policy.values.join(", ")}${meantHint(value, policy.values)}`
        : `'${value}': ${name} takes ${takenValues(policy)}`;
    return { name: "policy", policy: name, value: meant };
  }
}

/** `kind`: the event's name, such as "arm64.PolicySet". */
export function policyPartOf<Name extends string, State extends PolicyState<Name>>(
  kind: string,
  table: PolicyTable<Name>,
): ControlPart<State> {
  const policySet: EventKind = { name: kind, version: 1, role: "vmm output", fields: ["name", "old", "new"] };
  return {
    decide: {
      policy(state, fields, { hasRun }) {
        const [name, value] = [fields.string("policy"), fields.string("value")];
        const policy = table.named(name);
        if (policy === undefined) return refuse("EINVAL", CALL, `there is no policy ${name}`);
        const { capability, frozenByRun, frozenErrno = "EBUSY" } = policy;
        const meant = policyValueOf(policy, value);
        if (meant === undefined)
          return refuse("EINVAL", CALL, `${capability.name}: ${name}=${value}: it takes ${takenValues(policy)}`);
        if (frozenByRun && hasRun)
          return refuse(
            frozenErrno,
            CALL,
            `${capability.name}: a vCPU has run; set it before the start`,
            `hvjournal record --policy ${name}=${value}`,
          );
        return decided(policySet, { name, old: table.valueIn(state, policy.name), new: meant });
      },
    },
    events: [
      {
        kind: policySet,
        evolve: (state, fields, _event, seq) => {
          const policy = table.named(fields.string("name"));
          if (policy === undefined) throw new RangeError(`there is no policy ${fields.string("name")}`);
          const { name } = policy;
          const value = policyValueOf(policy, fields.string("new")) ?? fields.string("new");
          const others = (state.policies ?? []).filter((each) => each.name !== name);
          return { ...state, policies: [...others, { name, value, seq }] };
        },
        describe: (fields) => {
          const [name, old, now] = [fields.string("name"), fields.string("old"), fields.string("new")];
          return old === now ? `${name}  ${now}` : `${name}  ${old} -> ${now}`;
        },
      },
    ],
    parse: { policy: (text) => table.parse(text) },
  };
}
