/**
 * The arm64 part of the control plane, composed of its subjects: SMCCC filter, registers, capabilities, vCPUs, policies.
 * The commands stand with each of them in `control/`.
 */
import { capabilityName, composeSlice, eventfdPartOf, type ControlSlice, isEnabled } from "@hvjournal/core";
import { capabilityPart } from "./control/capability-part.js";
import { isCapability } from "./capabilities.js";
import { type Arm64ControlState, initialArm64State } from "./control/control-state.js";
import { filterPart } from "./control/filter-part.js";
import { hostPart } from "./control/host-part.js";
import { policyTable } from "./control/policies.js";
import { policyPart } from "./control/policy-part.js";
import { registerPart } from "./control/register-part.js";
import { vcpuPart } from "./control/vcpu-part.js";
import { firmwareRegisterNamed, firmwareRegisterOf, readFirmwareRegister } from "./smccc/firmware-registers.js";
import { routeCall } from "./smccc/routing.js";
import { conduitsSuffix, FILTER_ACTIONS, rangeText } from "./smccc/smccc-filter.js";

export type { Arm64ControlState } from "./control/control-state.js";

/** 1 or 0 for a capability that a VM on arm64 has, undefined for any other. */
function queryCapability(state: Arm64ControlState, name: string | bigint): bigint | undefined {
  if (typeof name !== "string") return undefined;
  const capability = capabilityName(name);
  if (!isCapability(capability)) return undefined;
  return isEnabled(state, capability) ? 1n : 0n;
}

/** What becomes of a call, as the number of a filter's action, whatever decides: filter, default rule, firmware register. */
function queryCall(state: Arm64ControlState, id: string | bigint): bigint | undefined {
  if (typeof id !== "bigint" || id < 0n || id > 0xffff_ffffn) return undefined;
  return BigInt(FILTER_ACTIONS.indexOf(routeCall(state, Number(id), "hvc").action));
}

function queryRegister(state: Arm64ControlState, name: string | bigint): bigint | undefined {
  const register = typeof name === "bigint" ? firmwareRegisterOf(name) : firmwareRegisterNamed(name);
  return register === undefined ? undefined : readFirmwareRegister(state.firmware, register);
}

export const arm64ControlSlice: ControlSlice<Arm64ControlState> = composeSlice<Arm64ControlState>({
  architecture: "arm64",
  parts: [
    filterPart,
    registerPart,
    capabilityPart,
    vcpuPart,
    policyPart,
    hostPart,
    eventfdPartOf<Arm64ControlState>("arm64"),
  ],
  initialState: initialArm64State,

  query(state, what, name) {
    switch (what) {
      case "cap":
        return queryCapability(state, name);
      case "smccc":
        return queryCall(state, name);
      case "reg":
        return queryRegister(state, name);
      default:
        return what satisfies never;
    }
  },

  describeRule(state, seq) {
    const range = state.smcccFilter.find((each) => each.seq === seq);
    if (range !== undefined)
      return `${rangeText(range.base, range.count)} ${range.action}${conduitsSuffix(range.conduits)}`;
    const policy = policyTable.settingIn(state, "arm.smccc.default");
    return policy?.seq === seq ? `${policy.name} -> ${policy.value}` : undefined;
  },
});
