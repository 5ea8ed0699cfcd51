/** What a guest may learn of an arm64 VM's configuration and its host, item by item. */
import { type ContractItem, type EnabledCapability, hostText } from "@hvjournal/core";
import { systemRegisters } from "../../isa/system-registers.js";
import { CAP_ARM_SYSTEM_SUSPEND, checkExtension, ENABLEABLE, OFFERED_CAPABILITIES } from "../capabilities.js";
import type { Arm64ControlState } from "../control/control-state.js";
import { POLICIES, policyTable } from "../control/policies.js";
import { featureNames } from "../control/vcpu-features.js";
import { registerReadTraps } from "../exit-model.js";
import { hostModelOf } from "../host-model.js";
import {
  FIRMWARE_REGISTERS,
  type FirmwareRegister,
  offeredValues,
  readFirmwareRegister,
} from "../smccc/firmware-registers.js";
import { type Conduit, FILTER_CALL } from "../smccc/smccc-filter.js";
import {
  DEFAULT_RULE_ITEM,
  FEATURES_ITEM,
  HOST_ITEM,
  policyItem,
  pvTimeItem,
  rangeItem,
  SMCCC_VERSION_ITEM,
  vcpuInitItem,
} from "./item-names.js";

/** Of the levels of WORKAROUND_1 and 3, and of WORKAROUND_2. */
const LEVEL_NAMES = ["NOT_AVAIL", "AVAIL", "NOT_REQUIRED"] as const;
const LEVEL_NAMES_2 = ["NOT_AVAIL", "UNKNOWN", "AVAIL", "NOT_REQUIRED"] as const;

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

function hostItem({ firmware }: Arm64ControlState): ContractItem {
  const host = hostModelOf(firmware.host);
  return { name: HOST_ITEM, value: hostText(host), offered: host.summary, rule: "hidden", isObservable: false };
}

/** KVM_CHECK_EXTENSION is the VMM's to ask; what a guest gets of it stands in other items. */
function offeredCapabilities(): ContractItem[] {
  return OFFERED_CAPABILITIES.filter((name) => !ENABLEABLE.includes(name)).map((name) => ({
    ...{ name, value: `answers ${checkExtension(name)}`, rule: "hidden", isObservable: false },
  }));
}

function enabledText(enabled: EnabledCapability | undefined): string {
  if (enabled === undefined) return "disabled";
  return enabled.args.length === 0 ? "enabled" : `enabled with ${enabled.args.map(hex).join(", ")}`;
}

function enableableCapabilities({ capabilities, firmware }: Arm64ControlState): ContractItem[] {
  const { hasSystemSuspend } = hostModelOf(firmware.host);
  return ENABLEABLE.map((name) => ({
    name,
    value: enabledText(capabilities.find((each) => each.name === name)),
    offered: name === CAP_ARM_SYSTEM_SUSPEND && !hasSystemSuspend ? "not offered" : "offered",
    isObservable: name === CAP_ARM_SYSTEM_SUSPEND,
    advice: "a host whose kernel has the capability can take the VM",
  }));
}

function vcpuItems({ features, initializedVcpus = [], pvTime = [] }: Arm64ControlState): ContractItem[] {
  const names = features === undefined ? "PSCI_0_2, by default" : featureNames(features).join(", ") || "none";
  return [
    { name: FEATURES_ITEM, value: names, isObservable: false },
    ...initializedVcpus.map((vcpu) => ({ name: vcpuInitItem(vcpu), value: "done", isObservable: false })),
    ...pvTime.map(({ vcpu, ipa }) => ({ name: pvTimeItem(vcpu), value: hex(ipa), isObservable: true })),
  ];
}

function policyItems(state: Arm64ControlState): ContractItem[] {
  return POLICIES.map(({ name, frozenByRun }) => {
    const setting = policyTable.settingIn(state, name);
    const value = policyTable.valueIn(state, name);
    return {
      name: policyItem(name),
      // Number of the event: it stands in every exit that the policy decides.
      value: setting === undefined || !frozenByRun ? value : `${value} (event:${setting.seq})`,
      isObservable: frozenByRun,
      ...(frozenByRun ? {} : { rule: "hidden" as const }),
    };
  });
}

function firmwareItem(state: Arm64ControlState, register: FirmwareRegister): ContractItem {
  const { firmware } = state;
  const value = readFirmwareRegister(firmware, register);
  const common = { name: register.name, offered: offeredValues(firmware, register), isObservable: true } as const;
  switch (register.rule.kind) {
    case "workaround":
    case "workaround2": {
      const names = register.rule.kind === "workaround" ? LEVEL_NAMES : LEVEL_NAMES_2;
      return {
        ...common,
        value: `${value} ${names[Number(value)] ?? "?"}`,
        rule: "at least",
        level: Number(value),
        enough: "the destination is at least as good, which is all that KVM asks for",
        advice: "a host with at least this level can take the VM; KVM only checks the level, and keeps none",
      };
    }
    case "psciVersion":
      return { ...common, value: hex(value), advice: pscAdvice(value) };
    default:
      return { ...common, value: hex(value), advice: "a host whose kernel supports all of these bits can take the VM" };
  }
}

function pscAdvice(value: bigint): string {
  return `a host that has PSCI ${value >> 16n}.${value & 0xffffn} can take the VM; the version may be lowered at the source at any time: hvjournal ctl VM one-reg PSCI_VERSION=VALUE`;
}

const CONDUITS: readonly Conduit[] = ["hvc", "smc"];
const FUNCTION_MAX = 0xffff_ffff;

/** What becomes of a call in no range; a range's "handle" is the same without a policy, and never forwards with one. */
function restEffect(state: Arm64ControlState): string {
  return policyTable.settingIn(state, "arm.smccc.default")?.value ?? "handle";
}

function filterItems(state: Arm64ControlState): ContractItem[] {
  const { smcccFilter } = state;
  return [
    ...smcccFilter.map((range) => ({
      name: rangeItem(range),
      value: `${range.action} (event:${range.seq})`,
      isObservable: true,
      range: {
        ...{ group: FILTER_CALL, spaces: range.conduits === undefined ? CONDUITS : [range.conduits] },
        ...{ first: range.base, last: range.base + range.count - 1, effect: range.action },
      },
      advice:
        "a host whose kernel has the SMCCC filter can take the VM (Linux 6.4 and later); a filter can't be taken away",
    })),
    {
      name: DEFAULT_RULE_ITEM,
      value: "the default rule",
      isObservable: true,
      range: {
        ...{ group: FILTER_CALL, spaces: CONDUITS, first: 0, last: FUNCTION_MAX },
        ...{ effect: restEffect(state), isRest: true },
      },
    },
  ];
}

export function contractItems(state: Arm64ControlState): ContractItem[] {
  return [
    hostItem(state),
    ...offeredCapabilities(),
    ...enableableCapabilities(state),
    ...vcpuItems(state),
    ...policyItems(state),
    { name: SMCCC_VERSION_ITEM, value: "0x10001", isObservable: true },
    ...FIRMWARE_REGISTERS.map((register) => firmwareItem(state, register)),
    ...filterItems(state),
  ];
}

const TRAPPED: ReadonlyMap<string, boolean> = new Map(
  systemRegisters.map((register) => [register.name.toUpperCase(), registerReadTraps(register)]),
);

export function registerItem(name: string, value: bigint): ContractItem {
  const upper = name.toUpperCase();
  return {
    name: upper,
    value: hex(value),
    isObservable: TRAPPED.get(upper) ?? false,
    advice: "a host with the same CPU, or one that has every field of it, can take the VM",
  };
}
