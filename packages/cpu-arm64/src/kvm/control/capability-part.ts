/** KVM_ENABLE_CAP of a VM on arm64. */
import { type CapabilityRefusal, capabilityPartOf } from "@hvjournal/core";
import { CAP_ARM_SYSTEM_SUSPEND, ENABLEABLE, refusedCapability } from "../capabilities.js";
import { hostModelOf } from "../host-model.js";
import type { ControlPart } from "./control-part.js";
import type { Arm64ControlState } from "./control-state.js";

function reasonAgainst({ firmware }: Arm64ControlState, name: string): string | undefined {
  const reason = refusedCapability(name);
  if (reason !== undefined) return `${name}: ${reason}`;
  if (!ENABLEABLE.includes(name)) return `${name} can't be enabled for a VM on arm64; ${ENABLEABLE.join(" and ")} can`;
  const host = hostModelOf(firmware.host);
  if (name === CAP_ARM_SYSTEM_SUSPEND && !host.hasSystemSuspend) return `${name}: host ${host.name} does not have it`;
  return undefined;
}

export const capabilityPart: ControlPart = capabilityPartOf<Arm64ControlState>({
  kind: "arm64.CapEnabled",
  refusal(state, { name }): CapabilityRefusal | undefined {
    const reason = reasonAgainst(state, name);
    return reason === undefined ? undefined : { errno: "EINVAL", reason };
  },
});
