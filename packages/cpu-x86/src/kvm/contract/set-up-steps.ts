/**
 * By which commands a fresh VM gets the configuration of another one, in an order that KVM accepts: KVM_SET_CPUID2 before what
 * follows from it; capabilities, policies, the filter. MSRs, and of these GUEST_OS_ID before HYPERCALL, come with the vCPUs'
 * state, and are no configuration.
 */
import type { ControlCommand, SetUpStep } from "@hvjournal/core";
import type { Amd64ControlState } from "../control/control-state.js";
import type { MsrFilter } from "../msr-filter.js";
import type { XenHvmConfig } from "../xen/xen-config.js";
import { leafKey } from "./cpuid-names.js";
import { cpuid2Item, MSR_FILTER_REST_ITEM, policyItem, XEN_ITEM } from "./item-names.js";

const DEFAULT_DENY = 1;
const NONE = new Uint8Array(0);

export function setUpSteps(state: Amd64ControlState): SetUpStep[] {
  const { capabilities, policies = [], msrFilter, hyperv, cpuidWords = [], cpuidEntries = [], ...rest } = state;
  const { host: _host, xenHvm, ...others } = rest;
  return [
    ...capabilities.map(({ name, ...enabled }): SetUpStep => ({
      items: [name],
      command: { name: "cap", capability: name, ...enabled, args: [...enabled.args] },
    })),
    ...(hyperv === undefined
      ? []
      : [{ items: ["CPUID 0x40000003"], command: { name: "hv", features: [...hyperv.features] } }]),
    ...cpuidWords.map((set): SetUpStep => ({
      ...{ items: [`CPUID ${leafKey(set.leaf)}`], command: { name: "cpuid", ...set } },
    })),
    ...cpuidEntries.map(({ vcpu, entries }): SetUpStep => ({
      items: [cpuid2Item(vcpu)],
      command: { name: "cpuid2", vcpu, entries: entries.map((entry) => ({ ...entry })) },
    })),
    ...policies.map(({ name, value, seq }): SetUpStep => ({
      ...{ items: [policyItem(name)], command: { name: "policy", policy: name, value }, seq },
    })),
    ...(msrFilter === undefined ? [] : [{ items: [MSR_FILTER_REST_ITEM], command: filterCommand(msrFilter) }]),
    ...(xenHvm === undefined ? [] : [{ items: [XEN_ITEM], command: xenCommand(xenHvm) }]),
    ...otherSteps(others),
  ];
}

function filterCommand({ deniesOthers, ranges }: MsrFilter): {
  readonly name: string;
  readonly flags: number;
  readonly ranges: { base: number; count: number; bitmap: Uint8Array; flags: number }[];
} {
  return {
    name: "msr-filter",
    flags: deniesOthers ? DEFAULT_DENY : 0,
    ranges: ranges.map(({ reads, writes, base, count, bitmap }) => ({
      ...{ base, count, bitmap, flags: (reads ? 1 : 0) | (writes ? 2 : 0) },
    })),
  };
}

function xenCommand({ flags, msr, blob32 = NONE, blob64 = NONE }: XenHvmConfig): ControlCommand {
  return { name: "xen", flags, msr, blob32, blob64 };
}

/** What has no command of its own here is put in place as it is. */
function otherSteps(others: object): SetUpStep[] {
  return Object.entries(others)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ({
      items: [name],
      place: (fresh) => ({ state: { ...(fresh as Amd64ControlState), [name]: value as unknown } }),
    }));
}
