/**
 * What a VMM does to a vCPU. Commands:
 *
 *     {name: "vcpu-init", vcpu, features}      KVM_ARM_VCPU_INIT; a mask
 *     {name: "mp-state", vcpu, state}          KVM_SET_MP_STATE
 *     {name: "pvtime-ipa", vcpu, ipa}          KVM_ARM_VCPU_PVTIME_CTRL, KVM_ARM_VCPU_PVTIME_IPA
 */
import type { ControlCommand, ControlContext, Decision, EventKind, PayloadFields } from "@hvjournal/core";
import { FIRMWARE_RESET, PsciVersion } from "../smccc/firmware-registers.js";
import { decided, type ControlPart, hex, NUMBER, refuse } from "./control-part.js";
import { type Arm64ControlState, isInitialized, pvTimeIpaOf } from "./control-state.js";
import { featureNames, POWER_OFF, PSCI_0_2, SUPPORTED_FEATURES, VCPU_FEATURES } from "./vcpu-features.js";

const VCPU_INIT = "KVM_ARM_VCPU_INIT";
const SET_MP_STATE = "KVM_SET_MP_STATE";
const PVTIME_IPA = "KVM_ARM_VCPU_PVTIME_IPA";
const PVTIME_ALIGNMENT = 64n;

/** KVM_MP_STATE_* that arm64 has. */
export const MpState = { runnable: 0, stopped: 5, suspended: 10 } as const;
const MP_STATE_NAMES: ReadonlyMap<number, string> = new Map([
  [MpState.runnable, "RUNNABLE"],
  [MpState.stopped, "STOPPED"],
  [MpState.suspended, "SUSPENDED"],
]);

export const VcpuKind = {
  initialized: { name: "arm64.VcpuInitialized", version: 1, role: "vmm output", fields: ["features"] },
  mpStateSet: { name: "arm64.MpStateSet", version: 1, role: "vmm output", fields: ["state"] },
  pvTimeIpaSet: { name: "arm64.PvTimeIpaSet", version: 1, role: "vmm output", fields: ["old", "new"] },
} as const satisfies Record<string, EventKind>;

function vcpuOf(fields: PayloadFields, { vcpuCount }: ControlContext): number | undefined {
  const vcpu = fields.number("vcpu");
  return Number.isInteger(vcpu) && vcpu >= 0 && vcpu < vcpuCount ? vcpu : undefined;
}

function noVcpu(call: string, fields: PayloadFields, { vcpuCount }: ControlContext): Decision {
  return refuse("EBADF", call, `there is no vcpu${fields.number("vcpu")}: the VM has ${vcpuCount}`);
}

function decideInit(state: Arm64ControlState, fields: PayloadFields, context: ControlContext): Decision {
  const vcpu = vcpuOf(fields, context);
  if (vcpu === undefined) return noVcpu(VCPU_INIT, fields, context);
  const features = fields.number("features");
  const unknown = Math.floor(features / 2 ** VCPU_FEATURES.length);
  if (unknown !== 0 || features < 0)
    return refuse("ENOENT", VCPU_INIT, `${hex(features)}: features have the bits 0 to ${VCPU_FEATURES.length - 1}`);
  const missing = features & ~SUPPORTED_FEATURES;
  if (missing !== 0) return refuse("EINVAL", VCPU_INIT, `this CPU does not have ${featureNames(missing).join(", ")}`);
  const established = features & ~POWER_OFF;
  if (state.features !== undefined && state.features !== established)
    return refuse(
      "EINVAL",
      VCPU_INIT,
      `vcpu${vcpu} with ${featuresText(established)}: the VM's vCPUs have ${featuresText(state.features)}`,
    );
  return decided(VcpuKind.initialized, { features }, vcpu);
}

function featuresText(mask: number): string {
  return featureNames(mask).join(", ") || "no feature";
}

function decideMpState(state: Arm64ControlState, fields: PayloadFields, context: ControlContext): Decision {
  const vcpu = vcpuOf(fields, context);
  if (vcpu === undefined) return noVcpu(SET_MP_STATE, fields, context);
  if (!isInitialized(state, vcpu)) return refuse("ENOEXEC", SET_MP_STATE, `vcpu${vcpu} has had no ${VCPU_INIT}`);
  const wanted = fields.number("state");
  if (!MP_STATE_NAMES.has(wanted))
    return refuse("EINVAL", SET_MP_STATE, `${wanted}: arm64 has 0 RUNNABLE, 5 STOPPED, 10 SUSPENDED`);
  return decided(VcpuKind.mpStateSet, { state: wanted }, vcpu);
}

function decidePvTime(state: Arm64ControlState, fields: PayloadFields, context: ControlContext): Decision {
  const vcpu = vcpuOf(fields, context);
  if (vcpu === undefined) return noVcpu(PVTIME_IPA, fields, context);
  const ipa = fields.bigint("ipa");
  if (ipa % PVTIME_ALIGNMENT !== 0n)
    return refuse("EINVAL", PVTIME_IPA, `${hex(ipa)} is no multiple of ${PVTIME_ALIGNMENT}`);
  const before = pvTimeIpaOf(state, vcpu);
  if (before !== undefined) return refuse("EEXIST", PVTIME_IPA, `vcpu${vcpu} has its structure at ${hex(before)}`);
  const { memoryBase, memoryBytes } = context;
  if (ipa < BigInt(memoryBase) || ipa + PVTIME_ALIGNMENT > BigInt(memoryBase + memoryBytes))
    return refuse("EINVAL", PVTIME_IPA, `${hex(ipa)} is not in RAM`);
  return decided(VcpuKind.pvTimeIpaSet, { old: null, new: ipa }, vcpu);
}

function parsePvTime(text: string): ControlCommand | string {
  const match = new RegExp(`^([0-9]+)=${NUMBER}$`).exec(text);
  if (match === null) return "expected VCPU=ADDRESS";
  return { name: "pvtime-ipa", vcpu: Number(match[1]), ipa: BigInt(match[2] ?? 0) };
}

/** The first KVM_ARM_VCPU_INIT establishes the VM's features, and with them what PSCI version it starts with. */
function evolveInit(state: Arm64ControlState, fields: PayloadFields, vcpu: number): Arm64ControlState {
  const features = fields.number("features") & ~POWER_OFF;
  const { initializedVcpus = [], firmware } = state;
  const psciVersion = (features & PSCI_0_2) === 0 ? PsciVersion.v0_1 : FIRMWARE_RESET.psciVersion;
  return {
    ...state,
    features,
    firmware: state.features === undefined ? { ...firmware, psciVersion } : firmware,
    initializedVcpus: initializedVcpus.includes(vcpu) ? initializedVcpus : [...initializedVcpus, vcpu],
  };
}

export const vcpuPart: ControlPart = {
  decide: { "vcpu-init": decideInit, "mp-state": decideMpState, "pvtime-ipa": decidePvTime },
  events: [
    {
      kind: VcpuKind.initialized,
      evolve: (state, fields, { vcpu }) => evolveInit(state, fields, vcpu),
      describe: (fields, { vcpu }) => `vcpu${vcpu} ${featuresText(fields.number("features"))}`,
    },
    {
      kind: VcpuKind.mpStateSet,
      // Whether a vCPU runs is state of the kernel half, which the guest changes too.
      evolve: (state) => state,
      describe: (fields, { vcpu }) => `vcpu${vcpu} ${MP_STATE_NAMES.get(fields.number("state")) ?? "?"}`,
    },
    {
      kind: VcpuKind.pvTimeIpaSet,
      evolve: (state, fields, { vcpu }) => ({
        ...state,
        pvTime: [...(state.pvTime ?? []), { vcpu, ipa: fields.bigint("new") }],
      }),
      describe: (fields, { vcpu }) => `vcpu${vcpu} ${hex(fields.bigint("new"))}`,
    },
  ],
  parse: { "pvtime-ipa": parsePvTime },
};
