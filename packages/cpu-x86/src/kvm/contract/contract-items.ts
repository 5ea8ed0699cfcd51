/** What a guest may learn of an amd64 VM's configuration and its host, item by item. */
import { type ContractItem, type ContractMachine, flatItems, hostText, type PlainValue, toHex } from "@hvjournal/core";
import { checkExtension, ENABLEABLE, OFFERED_CAPABILITIES } from "../capabilities.js";
import { type Amd64ControlState, policyValue } from "../control/control-state.js";
import { POLICIES } from "../control/policies.js";
import { xenText } from "../control/xen-part.js";
import { type HostVendor, vendorOf } from "../exit-model.js";
import { type HostModel, hostModelOf, hostOfVendor } from "../host-model.js";
import { TSC_HZ } from "../time-stamp-counter.js";
import { cpuidItems, leafItem } from "./cpuid-items.js";
import {
  CALL_INSTRUCTION_ITEM,
  cpuid2Item,
  EXITS_ITEM,
  HOST_ITEM,
  kvmCallItem,
  msrItem,
  PASSTHROUGH_ITEM,
  policyItem,
  TSC_ITEM,
  XEN_ITEM,
} from "./item-names.js";
import { filterItems } from "./msr-filter-items.js";

const CAP_EXIT_HYPERCALL = "KVM_CAP_EXIT_HYPERCALL";
const MAP_GPA_RANGE = 12;
const PASSTHROUGH_ADVICE =
  "a host that answers KVM_GET_SUPPORTED_HV_CPUID alike can take the VM; with a list of features in the place of passthrough it could move";
const HZ_PER_KHZ = 1000;
const HYPERV_TSC_FREQUENCY = 0x4000_0022;

export const CALL_OF: Readonly<Record<HostVendor, string>> = { intel: "VMCALL", amd: "VMMCALL" };
const EXITS_OF: Readonly<Record<HostVendor, string>> = { intel: "VMX", amd: "SVM" };

/** The host that a VM is on. */
export function hostOfVm({ host }: Amd64ControlState, { exitModel }: ContractMachine): HostModel {
  return host === undefined ? hostOfVendor(vendorOf(exitModel)) : hostModelOf(host);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function hostItems(host: HostModel): ContractItem[] {
  const { vendor, summary } = host;
  return [
    { name: HOST_ITEM, value: hostText(host), offered: summary, rule: "hidden", isObservable: false },
    { name: EXITS_ITEM, value: EXITS_OF[vendor], rule: "hidden", isObservable: false },
    {
      ...{ name: CALL_INSTRUCTION_ITEM, value: CALL_OF[vendor], isObservable: true },
      askedAs: [{ name: CALL_INSTRUCTION_ITEM, did: "called" }],
    },
  ];
}

/** KVM_CHECK_EXTENSION is the VMM's to ask; what a guest gets of it stands in other items. */
function offeredCapabilities({ lackedCapabilities }: HostModel): ContractItem[] {
  return OFFERED_CAPABILITIES.filter((name) => !Object.hasOwn(ENABLEABLE, name)).map((name) => ({
    name,
    value: `answers ${lackedCapabilities.includes(name) ? 0 : checkExtension(name)}`,
    ...{ rule: "hidden", isObservable: false },
  }));
}

function enableableCapabilities(
  { capabilities }: Amd64ControlState,
  { lackedCapabilities }: HostModel,
): ContractItem[] {
  return Object.keys(ENABLEABLE).map((name) => {
    const texts = capabilities
      .filter((each) => each.name === name)
      .map(({ args }) => (args.length === 0 ? "enabled" : `enabled with ${args.map(hex).join(", ")}`));
    const isCall = name === CAP_EXIT_HYPERCALL;
    return {
      ...{ name, value: [...new Set(texts)].join("; ") || "disabled", isObservable: isCall },
      offered: lackedCapabilities.includes(name) ? "not offered" : "offered",
      ...(isCall ? { askedAs: [{ name: kvmCallItem(MAP_GPA_RANGE), did: "called KVM_HC_MAP_GPA_RANGE" }] } : {}),
      advice: "a host whose kernel has the capability can take the VM",
    };
  });
}

function policyItems(state: Amd64ControlState): ContractItem[] {
  return POLICIES.map(({ name, frozenByRun }) => ({
    ...{ name: policyItem(name), value: policyValue(state, name), isObservable: false },
    ...(frozenByRun ? {} : { rule: "hidden" as const }),
  }));
}

function clockItem(): ContractItem {
  const leaves = [0x15, 0x4000_0010, 0x4000_0110].map((leaf) => ({ name: leafItem(leaf, 0) }));
  return {
    ...{ name: TSC_ITEM, value: `${TSC_HZ / HZ_PER_KHZ} kHz`, isObservable: true },
    askedAs: [{ name: msrItem(HYPERV_TSC_FREQUENCY) }, ...leaves],
  };
}

function cpuidCommands({ cpuidEntries = [], hypervPassthrough }: Amd64ControlState): ContractItem[] {
  const own = cpuidEntries.map(({ vcpu, entries }) => ({
    ...{ name: cpuid2Item(vcpu), value: `${entries.length} entries`, isObservable: false },
  }));
  if (hypervPassthrough !== true) return own;
  return [
    { name: PASSTHROUGH_ITEM, value: "as its host answered", isObservable: false, advice: PASSTHROUGH_ADVICE },
    ...own,
  ];
}

function xenItems({ xenHvm }: Amd64ControlState): ContractItem[] {
  if (xenHvm === undefined) return [];
  const blobs = [xenHvm.blob32, xenHvm.blob64].map((blob) => (blob === undefined ? "" : `, ${toHex(blob)}`));
  const askedAs = [{ name: XEN_ITEM, did: "called" }];
  return [{ name: XEN_ITEM, value: `${xenText(xenHvm)}${blobs.join("")}`, isObservable: true, askedAs }];
}

/** What no other item is about: it stands there as it is. */
function otherItems({
  capabilities: _capabilities,
  policies: _policies,
  msrFilter: _filter,
  hyperv: _hyperv,
  hypervPassthrough: _passthrough,
  cpuidEntries: _entries,
  cpuidWords: _words,
  host: _host,
  xenHvm: _xen,
  ...others
}: Amd64ControlState): ContractItem[] {
  return Object.entries(others as Record<string, PlainValue | undefined>).flatMap(([name, value]) =>
    value === undefined ? [] : flatItems(name, value),
  );
}

export function contractItems(state: Amd64ControlState, machine: ContractMachine): ContractItem[] {
  const host = hostOfVm(state, machine);
  return [
    ...hostItems(host),
    ...offeredCapabilities(host),
    ...enableableCapabilities(state, host),
    ...policyItems(state),
    clockItem(),
    ...cpuidCommands(state),
    ...cpuidItems({ vcpuCount: machine.vcpuCount, control: state }),
    ...filterItems(state.msrFilter),
    ...xenItems(state),
    ...otherItems(state),
  ];
}
