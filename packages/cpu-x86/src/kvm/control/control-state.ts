/** What the control plane's events have made of an amd64 VM. Plain data: it is saved with the control plane's state. */
export { capabilityArgument, isEnabled } from "@hvjournal/core";
import {
  capabilityArgument,
  type EnabledCapability,
  enabledCapability,
  type EventfdState,
  type HostReference,
  type PolicySetting,
} from "@hvjournal/core";
import { CAP_DISABLE_EXITS, DISABLE_EXITS_HLT } from "../capabilities.js";
import type { CpuidEntry, SetCpuidWord } from "../cpuid-entry.js";
import type { GsiRoute, Irqfd } from "../gsi-routes.js";
import type { MsrFilter } from "../msr-filter.js";
import type { XenHvmConfig } from "../xen/xen-config.js";
import { type PolicyName, policyTable } from "./policies.js";

/** All that the guest of a vCPU is told by CPUID. */
export interface VcpuCpuid {
  readonly vcpu: number;
  readonly entries: readonly CpuidEntry[];
}

export interface HypervEventfd {
  readonly connectionId: number;
  readonly fd: number;
}

export interface Amd64ControlState extends EventfdState {
  /** In the order in which they were enabled. */
  readonly capabilities: readonly EnabledCapability[];
  // What follows is absent as long as nothing has set it.
  readonly policies?: readonly PolicySetting<PolicyName>[];
  readonly msrFilter?: MsrFilter;
  /** KVM_XEN_HVM_CONFIG. */
  readonly xenHvm?: XenHvmConfig;
  /** Hyper-V enlightenments that CPUID offers; absent: the interface is not there. */
  readonly hyperv?: { readonly features: readonly string[] };
  /** KVM_HYPERV_EVENTFD, in the order in which they were assigned. */
  readonly hypervEventfds?: readonly HypervEventfd[];
  /** KVM_SET_GSI_ROUTING. */
  readonly gsiRoutes?: readonly GsiRoute[];
  /** KVM_IRQFD, in the order in which they were assigned. */
  readonly irqfds?: readonly Irqfd[];
  /** What vCPUs are told of Hyper-V is the host's own answer. */
  readonly hypervPassthrough?: boolean;
  /** KVM_SET_CPUID2, by vCPU. */
  readonly cpuidEntries?: readonly VcpuCpuid[];
  /** Single words of what vCPUs without it are told. */
  readonly cpuidWords?: readonly SetCpuidWord[];
  /** The host that the VM was created on, or has moved to; absent: the newest of the vendor that its exit model names. */
  readonly host?: HostReference;
}

export function initialAmd64State(host?: HostReference): Amd64ControlState {
  return { capabilities: [], ...(host === undefined ? {} : { host: { name: host.name, version: host.version } }) };
}

/** Whether any vCPU might be told of Hyper-V. */
export function mayHaveHyperv({ hyperv, cpuidEntries, cpuidWords }: Amd64ControlState): boolean {
  return hyperv !== undefined || cpuidEntries !== undefined || cpuidWords !== undefined;
}

/** Of a capability whose argument switches it on or off: 0 is off. What a command line enables without argument is on. */
export function isSwitchedOn(state: Amd64ControlState, capability: string, vcpu: number): boolean {
  const found = enabledCapability(state, capability, vcpu);
  return found !== undefined && found.args[0] !== 0n;
}

/** KVM_CAP_X86_DISABLE_EXITS: HLT does not leave guest mode. */
export function isHaltInGuest(state: Amd64ControlState): boolean {
  return ((capabilityArgument(state, CAP_DISABLE_EXITS) ?? 0n) & DISABLE_EXITS_HLT) !== 0n;
}

/** The value in force: what was set, or upstream's. */
export function policyValue(state: Amd64ControlState, name: PolicyName): string {
  return policyTable.valueIn(state, name);
}
