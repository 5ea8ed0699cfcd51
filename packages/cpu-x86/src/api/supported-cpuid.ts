/** What KVM tells a VMM that guests can be told by CPUID: KVM_GET_SUPPORTED_CPUID and KVM_GET_SUPPORTED_HV_CPUID. */
import { KvmError, RoomError } from "@hvjournal/core";
import { type Amd64ControlState, policyValue } from "../kvm/control/control-state.js";
import { type CpuidEntry } from "../kvm/cpuid-entry.js";
import { supportedCpuid } from "../kvm/cpuid.js";
import { type HypervSupport, SUPPORTED_LEAVES, supportedHypervLeaves } from "../kvm/hyperv/supported-leaves.js";

/** Something that an answer hangs on, as it is now. */
export interface Dependency {
  /** "KVM_CAP_HYPERV_ENLIGHTENED_VMCS of vcpu0". */
  readonly on: string;
  readonly is: boolean;
}

export interface SupportedHypervCpuid {
  readonly entries: readonly CpuidEntry[];
  /** What KVM writes back into `nent`. */
  readonly nent: number;
  readonly scope: "system" | "vcpu";
  /** Another answer may come once one of these has changed. Of the system form: nothing that a VMM can change. */
  readonly dependsOn: readonly Dependency[];
  /** Equal keys, equal answers on one host: what a VMM that keeps answers has to keep them under. */
  readonly cacheKey: string;
}

/** Into room for `n`. Throws RoomError: E2BIG. */
export function answerSupportedCpuid(n: number): readonly CpuidEntry[] {
  const entries = supportedCpuid(1);
  if (n < entries.length)
    throw new RoomError("KVM_GET_SUPPORTED_CPUID", { n: entries.length, given: n, what: "entries" });
  return entries;
}

/** Throws KvmError: ENOTTY, where the policy hv.cpuid.scope has the other form alone. */
export function checkHypervCpuidScope(state: Amd64ControlState, scope: SupportedHypervCpuid["scope"]): void {
  const offered = policyValue(state, "hv.cpuid.scope");
  if (offered === "both" || offered === scope) return;
  const reason = `policy hv.cpuid.scope=${offered}: this kernel has no such ioctl of ${scope === "vcpu" ? "a vCPU" : "/dev/kvm"}`;
  throw new KvmError({ errno: "ENOTTY", call: "KVM_GET_SUPPORTED_HV_CPUID", reason });
}

/**
 * Into room for `n`: at least ten, and no more are written. Throws KvmError: E2BIG, with `nent` as it was, other than
 * KVM_GET_SUPPORTED_CPUID.
 */
export function answerSupportedHypervCpuid(
  n: number,
  scope: SupportedHypervCpuid["scope"],
  { support, dependsOn }: { readonly support: HypervSupport; readonly dependsOn: readonly Dependency[] },
): SupportedHypervCpuid {
  if (n < SUPPORTED_LEAVES) {
    const reason = `room for ${n} entries, there are ${SUPPORTED_LEAVES}`;
    throw new KvmError({ errno: "E2BIG", call: "KVM_GET_SUPPORTED_HV_CPUID", reason });
  }
  const entries = supportedHypervLeaves(support);
  const cacheKey = [scope, ...dependsOn.map(({ on, is }) => `${on}=${is ? "yes" : "no"}`)].join("; ");
  return { entries, nent: entries.length, scope, dependsOn, cacheKey };
}
