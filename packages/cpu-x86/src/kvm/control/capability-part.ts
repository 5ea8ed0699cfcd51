/** KVM_ENABLE_CAP on amd64; of a capability of vCPUs, without a vCPU, of all. */
import { type AskedCapability, type CapabilityRefusal, capabilityPartOf, type ControlContext } from "@hvjournal/core";
import { CAP_HYPERV_ENLIGHTENED_VMCS, enableable, ENABLEABLE } from "../capabilities.js";
import { hostUnder } from "../host-model.js";
import type { ControlPart } from "./control-part.js";
import { type Amd64ControlState, capabilityArgument } from "./control-state.js";

function reasonAgainst({ name, args, vcpu }: AskedCapability, context: ControlContext): string | undefined {
  const rules = enableable(name);
  if (rules === undefined) return `${name} can't be enabled on amd64; ${Object.keys(ENABLEABLE).join(", ")} can`;
  const { scope, mask, precedesVcpus = false } = rules;
  const { vcpuCount } = context;
  if (scope === "vm" && vcpu >= 0) return `${name} is of the VM, not of a vCPU`;
  if (vcpu >= vcpuCount) return `vcpu${vcpu} of ${vcpuCount}`;
  const unknown = mask === undefined ? 0n : (args[0] ?? 0n) & ~mask;
  if (unknown !== 0n) return `${name}: bits 0x${unknown.toString(16)} are not known`;
  return precedesVcpus && context.hasVcpus
    ? `${name}: there are vCPUs already; enable it with the VM, by --cap of \`record\``
    : undefined;
}

/** What a host does not have. */
function refusalOfHost(state: Amd64ControlState, name: string): CapabilityRefusal | undefined {
  const model = hostUnder(state);
  const reason = `${name}: host ${model.name} does not have it`;
  if (model.lackedCapabilities.includes(name)) return { errno: "EINVAL", reason };
  // KVM has no function to call there: kvm_vcpu_ioctl_enable_cap.
  return name === CAP_HYPERV_ENLIGHTENED_VMCS && !model.hasNestedVmx ? { errno: "ENOTTY", reason } : undefined;
}

export const capabilityPart: ControlPart = capabilityPartOf<Amd64ControlState>({
  kind: "x86.CapEnabled",
  refusal(state, asked, context): CapabilityRefusal | undefined {
    const reason = reasonAgainst(asked, context);
    return reason === undefined ? refusalOfHost(state, asked.name) : { errno: "EINVAL", reason };
  },
  argumentsInForce(state, { name, args }): readonly bigint[] {
    if (enableable(name)?.accumulates !== true) return args;
    return [(capabilityArgument(state, name) ?? 0n) | (args[0] ?? 0n)];
  },
});
