/**
 * Policies: what the participants of the discussion about forwarded hypercalls wanted and upstream KVM does not have.
 * Each defaults to what upstream does. Their capability numbers lie in a private space, from 0x10000 up.
 */
import { type Policy, PolicyTable } from "@hvjournal/core";

export const POLICIES = [
  {
    name: "arm.smccc.default",
    about: "what becomes of a forwardable call that nobody handles: refused by the kernel, or the VMM's",
    values: ["deny", "forward-unhandled"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_DEFAULT", number: 0x1_0000 },
    frozenByRun: true,
  },
  {
    name: "arm.smccc.migrate",
    about: "how a move carries the SMCCC filter: by its own commands, as one register, or with the state",
    values: ["replay", "register", "snapshot"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_MIGRATE", number: 0x1_0001 },
    frozenByRun: false,
  },
  {
    name: "arm.smccc.args",
    about: "how many argument registers KVM_EXIT_HYPERCALL has of a forwarded call",
    values: ["0", "4", "6", "18"],
    capability: { name: "HVJ_CAP_ARM_SMCCC_ARGS", number: 0x1_0002 },
    frozenByRun: false,
  },
] as const satisfies readonly Policy[];

export type PolicyName = (typeof POLICIES)[number]["name"];

export const policyTable: PolicyTable<PolicyName> = new PolicyTable<PolicyName>(POLICIES);
