/**
 * By which commands a fresh VM gets the configuration of another one. The order is KVM's: KVM_ARM_VCPU_INIT before
 * registers; capabilities, ID registers, firmware bitmaps and the filter before the first run. MP_STATE comes last of all,
 * with the rest of the vCPUs' state, and is no configuration.
 */
import type { SetUpStep } from "@hvjournal/core";
import type { Arm64ControlState } from "../control/control-state.js";
import { placeFilter } from "../control/filter-part.js";
import { policyTable } from "../control/policies.js";
import { filterExport } from "../smccc/filter-export.js";
import { FIRMWARE_REGISTERS, hasFirmwareRegister, readFirmwareRegister } from "../smccc/firmware-registers.js";
import { FILTER_ACTIONS, type FilterRange } from "../smccc/smccc-filter.js";
import { policyItem, pvTimeItem, rangeItem, vcpuInitItem } from "./item-names.js";

export function setUpSteps(state: Arm64ControlState): SetUpStep[] {
  const { capabilities, policies = [], idRegisters = [], pvTime = [] } = state;
  return [
    ...vcpuSteps(state),
    ...capabilities.map(({ name, args }): SetUpStep => ({
      items: [name],
      command: { name: "cap", capability: name, args: [...args] },
    })),
    ...policies.map(({ name, value, seq }): SetUpStep => ({
      ...{ items: [policyItem(name)], command: { name: "policy", policy: name, value }, seq },
    })),
    ...idRegisters.map(({ name, value }): SetUpStep => ({
      items: [name],
      command: { name: "one-reg", register: name, value },
    })),
    ...firmwareSteps(state),
    ...filterSteps(state),
    ...pvTime.map(({ vcpu, ipa }): SetUpStep => ({
      items: [pvTimeItem(vcpu)],
      command: { name: "pvtime-ipa", vcpu, ipa },
    })),
  ];
}

function vcpuSteps({ features, initializedVcpus = [] }: Arm64ControlState): SetUpStep[] {
  if (features === undefined) return [];
  return initializedVcpus.map((vcpu) => ({
    items: [vcpuInitItem(vcpu)],
    command: { name: "vcpu-init", vcpu, features },
  }));
}

/** Those that the source has. The levels of the workarounds are asked for; they are the host's. */
function firmwareSteps({ firmware }: Arm64ControlState): SetUpStep[] {
  return FIRMWARE_REGISTERS.filter((register) => hasFirmwareRegister(firmware, register)).map((register) => ({
    items: [register.name],
    command: { name: "one-reg", register: register.name, value: readFirmwareRegister(firmware, register) },
  }));
}

/** In one of three ways, which come to the same. */
function filterSteps(state: Arm64ControlState): SetUpStep[] {
  const { smcccFilter } = state;
  if (smcccFilter.length === 0) return [];
  // What is refused as a whole is told of each range.
  const items = smcccFilter.map(rangeItem);
  switch (policyTable.valueIn(state, "arm.smccc.migrate")) {
    case "register":
      return [{ items, command: { name: "smccc-filter-import", blob: filterExport(smcccFilter) } }];
    case "snapshot":
      return [{ items, place: (fresh, { hasRun }) => placeFilter(fresh as Arm64ControlState, smcccFilter, hasRun) }];
    default:
      return smcccFilter.map(rangeStep);
  }
}

function rangeStep(range: FilterRange): SetUpStep {
  const { base, count, action, conduits, seq } = range;
  const command = { name: "smccc-filter", base, count, action: FILTER_ACTIONS.indexOf(action) };
  return { items: [rangeItem(range)], command: conduits === undefined ? command : { ...command, conduits }, seq };
}
