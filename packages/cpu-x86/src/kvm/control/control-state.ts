/** What the control plane's events have made of an amd64 VM. Plain data: it is saved with the control plane's state. */
import type { HostReference } from "@hvjournal/core";
import type { MsrFilter } from "../msr-filter.js";
import { policyNamed, type PolicyName } from "./policies.js";

export interface EnabledCapability {
  readonly name: string;
  readonly args: readonly bigint[];
}

/** A policy that was set, and the event that set it. */
export interface PolicySetting {
  readonly name: PolicyName;
  readonly value: string;
  readonly seq: number;
}

export interface Amd64ControlState {
  /** In the order in which they were enabled. */
  readonly capabilities: readonly EnabledCapability[];
  // What follows is absent as long as nothing has set it.
  readonly policies?: readonly PolicySetting[];
  readonly msrFilter?: MsrFilter;
  /** Hyper-V enlightenments that CPUID offers; absent: the interface is not there. */
  readonly hyperv?: { readonly features: readonly string[] };
  /** The host that the VM was created on, or has moved to; absent: the newest of the vendor that its exit model names. */
  readonly host?: HostReference;
}

export function initialAmd64State(host?: HostReference): Amd64ControlState {
  return { capabilities: [], ...(host === undefined ? {} : { host: { name: host.name, version: host.version } }) };
}

export function isEnabled(state: Amd64ControlState, capability: string): boolean {
  return state.capabilities.some((each) => each.name === capability);
}

/** The first argument of a capability; undefined: it is not enabled. */
export function capabilityArgument(state: Amd64ControlState, capability: string): bigint | undefined {
  const found = state.capabilities.find((each) => each.name === capability);
  return found === undefined ? undefined : (found.args[0] ?? 0n);
}

/** The value in force: what was set, or upstream's. */
export function policyValue({ policies = [] }: Amd64ControlState, name: PolicyName): string {
  return policies.find((each) => each.name === name)?.value ?? policyNamed(name)?.values[0] ?? "";
}
