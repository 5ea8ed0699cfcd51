/**
 * Policies: what the participants of the discussion about forwarded hypercalls wanted and upstream KVM does not have.
 * Each defaults to what upstream does. Their capability numbers lie in a private space, from 0x10000 up.
 */
export interface Policy {
  readonly name: string;
  /** Upstream's behaviour first. The index is the argument of the capability. */
  readonly values: readonly string[];
  readonly capability: { readonly name: string; readonly number: number };
  /** Refused with EBUSY once a vCPU has run, as the filter is. */
  readonly frozenByRun: boolean;
}

export const POLICIES = [
  {
    name: "arm.smccc.default",
    values: ["deny", "forward-unhandled"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_DEFAULT", number: 0x1_0000 },
    frozenByRun: true,
  },
  {
    name: "arm.smccc.migrate",
    values: ["replay", "register", "snapshot"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_MIGRATE", number: 0x1_0001 },
    frozenByRun: false,
  },
  {
    name: "arm.smccc.args",
    values: ["0", "4", "6", "18"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_ARGS", number: 0x1_0002 },
    frozenByRun: false,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export function policyNamed(name: string): (Policy & { readonly name: PolicyName }) | undefined {
  return POLICIES.find((policy) => policy.name === name);
}

/** By the name or number of its capability. */
export function policyOfCapability(capability: string | number): (Policy & { readonly name: PolicyName }) | undefined {
  return POLICIES.find(({ capability: { name, number } }) => name === capability || number === capability);
}
