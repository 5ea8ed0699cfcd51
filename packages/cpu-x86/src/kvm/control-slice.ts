/** The amd64 part of the control plane, composed of its subjects. The commands stand with each of them in `control/`. */
import { capabilityName, composeSlice, type ControlSlice, isEnabled } from "@hvjournal/core";
import { enableable, isCapability } from "./capabilities.js";
import { capabilityPart } from "./control/capability-part.js";
import { type Amd64ControlState, initialAmd64State } from "./control/control-state.js";
import { cpuidPart } from "./control/cpuid-part.js";
import { hostPart } from "./control/host-part.js";
import { hypervEventfdPart } from "./control/hyperv-eventfd-part.js";
import { hypervPart } from "./control/hyperv-part.js";
import { ioeventfdPart } from "./control/ioeventfd-part.js";
import { irqRoutingPart } from "./control/irq-routing-part.js";
import { msrFilterPart } from "./control/msr-filter-part.js";
import { passthroughPart } from "./control/passthrough-part.js";
import { policyPart } from "./control/policy-part.js";
import { xenPart } from "./control/xen-part.js";

export type { Amd64ControlState } from "./control/control-state.js";

/** 1 or 0 for a capability that a VM on amd64 has, undefined for any other. */
function queryCapability(state: Amd64ControlState, name: string | bigint): bigint | undefined {
  if (typeof name !== "string") return undefined;
  const capability = capabilityName(name);
  if (!isCapability(capability)) return undefined;
  return isEnabled(state, capability) ? 1n : 0n;
}

export const amd64ControlSlice: ControlSlice<Amd64ControlState> = composeSlice<Amd64ControlState>({
  architecture: "amd64",
  parts: [
    capabilityPart,
    policyPart,
    msrFilterPart,
    hypervPart,
    passthroughPart,
    cpuidPart,
    hostPart,
    ioeventfdPart,
    hypervEventfdPart,
    irqRoutingPart,
    xenPart,
  ],
  initialState: initialAmd64State,
  precedesVcpus: ({ name, capability }) =>
    name === "cap" && enableable(capabilityName(String(capability)))?.precedesVcpus === true,
  query: (state, what, name) => (what === "cap" ? queryCapability(state, name) : undefined),
});
