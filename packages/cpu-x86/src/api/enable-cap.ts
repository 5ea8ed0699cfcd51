/** KVM_ENABLE_CAP and KVM_CHECK_EXTENSION on x86. */
import { accepted, capabilityName, KvmError, type Policy, policyArgument, type VmmPort } from "@hvjournal/core";
import { CAPABILITY_NAMES, checkExtension } from "../kvm/capabilities.js";
import type { Amd64ControlState } from "../kvm/control-slice.js";
import { policyValue } from "../kvm/control/control-state.js";
import { policyTable } from "../kvm/control/policies.js";
import { isNotifyWay } from "../kvm/notify-policy.js";

const ENABLE_CAP = "KVM_ENABLE_CAP";

export interface EnableCap {
  /** KVM_CAP_*: its number, or its name. */
  readonly cap: number | string;
  readonly flags?: number;
  readonly args?: readonly bigint[];
}

/** KVM's name of a capability by number or name; of a number that there is not, a text that says so. */
export function capabilityNamed(cap: number | string): string {
  return typeof cap === "number" ? (CAPABILITY_NAMES.get(cap) ?? `capability ${cap}`) : capabilityName(cap);
}

/** 0 for what there is not, never an error. */
export function checkCapability(cap: number | string, state: Amd64ControlState = { capabilities: [] }): number {
  const policy = policyTable.ofCapability(cap);
  if (policy !== undefined) return checkPolicy(policy, state);
  const name = typeof cap === "number" ? CAPABILITY_NAMES.get(cap) : capabilityName(cap);
  return name === undefined || isLeftOut(name, state) ? 0 : checkExtension(name);
}

/** By which policy a kernel does not have it. */
function isLeftOut(name: string, state: Amd64ControlState): boolean {
  switch (name) {
    case "KVM_CAP_SYS_HYPERV_CPUID":
      return policyValue(state, "hv.cpuid.scope") === "vcpu";
    case "KVM_CAP_HYPERV_CPUID":
      return policyValue(state, "hv.cpuid.scope") === "system";
    case "KVM_CAP_IOEVENTFD":
    case "KVM_CAP_IOEVENTFD_NO_LENGTH":
    case "KVM_CAP_IOEVENTFD_ANY_LENGTH":
      return !isNotifyWay(state, "ioeventfd");
    default:
      return false;
  }
}

/** Which calls the kernel can answer is told where `hv.ext.discover` asks for that. */
function checkPolicy({ name, mask }: Policy, state: Amd64ControlState): number {
  if (name !== "hv.ext.kernelMask") return 1;
  return policyValue(state, "hv.ext.discover") === "cap-mask" ? Number(mask ?? 0n) : 0;
}

/** Of the VM, or of one vCPU. Throws KvmError: EINVAL, EBUSY. */
export function enableCapability(port: VmmPort, { cap, flags = 0, args = [] }: EnableCap, vcpu?: number): void {
  if (flags !== 0) throw new KvmError({ errno: "EINVAL", call: ENABLE_CAP, reason: `flags ${flags}: must be 0` });
  const policy = policyTable.ofCapability(cap);
  if (policy !== undefined) {
    const value = policyArgument(policy, args[0] ?? 0n);
    return accepted(port.control({ name: "policy", policy: policy.name, value }));
  }
  const capability = capabilityNamed(cap);
  accepted(port.control({ name: "cap", capability, args: [...args], ...(vcpu === undefined ? {} : { vcpu }) }));
}
