/** PSCI 0.1 to 1.3 (DEN0022), as arch/arm64/kvm/psci.c answers it. */
import { vcpuAffinity, vcpuOfAffinity } from "../affinity.js";
import { argument32, type CallOutcome, type PsciCaller, type ResultValue, returning, SystemEvent } from "./call.js";
import { PsciVersion } from "./firmware-registers.js";
import { LEGACY_PSCI_BASE, PsciFunction, PsciResult, SmcccFunction } from "./function-id.js";

/** Affinity fields of an MPIDR: Aff3, Aff2 to Aff0. */
const AFFINITY_BITS = 0xff_00ff_ffffn;
const AFFINITY_LEVEL_MAX = 3n;
const AFFINITY_LEVEL_SHIFTS = [0n, 8n, 16n, 32n] as const;
const AFFINITY_ON = 0;
const AFFINITY_OFF = 1;
/** MIGRATE_INFO_TYPE: a trusted OS that needs no migration, or none. */
const TRUSTED_OS_NOT_REQUIRED = 2;
const RESET_TYPE_VENDOR = 0x8000_0000n;
/** PSCI_FEATURES(SYSTEM_OFF2): HIBERNATE_OFF. */
const HIBERNATE_OFF_SUPPORTED = 1;
const HIBERNATE_OFF = 1n;
/** Flags of KVM_EXIT_SYSTEM_EVENT. */
const FLAG_PSCI_RESET2 = 1;
const FLAG_PSCI_OFF2 = 1;

const F = PsciFunction;
const IN_VERSION_0_2: ReadonlySet<number> = new Set([
  F.version,
  F.cpuSuspend32,
  F.cpuSuspend64,
  F.cpuOff,
  F.cpuOn32,
  F.cpuOn64,
  F.affinityInfo32,
  F.affinityInfo64,
  F.migrateInfoType,
  F.systemOff,
  F.systemReset,
]);

export function callPsci(caller: PsciCaller, id: number): CallOutcome {
  return caller.firmware.psciVersion === PsciVersion.v0_1 ? callPsci0_1(caller, id) : callPsci0_2(caller, id);
}

/** Before there was a standard: four functions, of which KVM has two (kvm_psci_0_1_call). */
function callPsci0_1(caller: PsciCaller, id: number): CallOutcome {
  switch (id) {
    case LEGACY_PSCI_BASE + 1:
      caller.powerOff(caller.vcpu);
      return returning(PsciResult.success);
    case LEGACY_PSCI_BASE + 2: {
      const result = cpuOn(caller, caller.argument(1), caller.argument(2), caller.argument(3));
      // There was no code for a CPU that is on.
      return returning(result === PsciResult.alreadyOn ? PsciResult.invalidParameters : result);
    }
    default:
      return returning(PsciResult.notSupported);
  }
}

function callPsci0_2(caller: PsciCaller, id: number): CallOutcome {
  switch (id) {
    case F.version:
      return returning(caller.firmware.psciVersion);
    case F.cpuSuspend32:
    case F.cpuSuspend64:
      return { kind: "wait", registers: [PsciResult.success, 0, 0, 0] };
    case F.cpuOff:
      caller.powerOff(caller.vcpu);
      return returning(PsciResult.success);
    case F.cpuOn32:
      return returning(cpuOn(caller, argument32(caller, 1), argument32(caller, 2), argument32(caller, 3)));
    case F.cpuOn64:
      return returning(cpuOn(caller, caller.argument(1), caller.argument(2), caller.argument(3)));
    case F.affinityInfo32:
      return returning(affinityInfo(caller, argument32(caller, 1), argument32(caller, 2)));
    case F.affinityInfo64:
      return returning(affinityInfo(caller, caller.argument(1), caller.argument(2)));
    case F.migrateInfoType:
      return returning(TRUSTED_OS_NOT_REQUIRED);
    case F.systemOff:
      return { kind: "systemEvent", type: SystemEvent.shutdown, flags: 0 };
    case F.systemReset:
      return { kind: "systemEvent", type: SystemEvent.reset, flags: 0 };
    default:
      return callPsci1(caller, id);
  }
}

/** The functions that came with PSCI 1.0 to 1.3. */
function callPsci1(caller: PsciCaller, id: number): CallOutcome {
  const version = caller.firmware.psciVersion;
  switch (id) {
    case F.features:
      return returning(
        version >= PsciVersion.v1_0 ? features(caller, Number(argument32(caller, 1))) : PsciResult.notSupported,
      );
    case F.systemSuspend32:
    case F.systemSuspend64:
      if (version < PsciVersion.v1_0 || !caller.systemSuspendEnabled) return returning(PsciResult.notSupported);
      return { kind: "systemEvent", type: SystemEvent.suspend, flags: 0 };
    case F.systemReset2In32:
    case F.systemReset2In64:
      return version >= PsciVersion.v1_1
        ? systemReset2(id === F.systemReset2In32 ? argument32(caller, 1) : caller.argument(1))
        : returning(PsciResult.notSupported);
    case F.systemOff2In32:
    case F.systemOff2In64:
      if (version < PsciVersion.v1_3) return returning(PsciResult.notSupported);
      return id === F.systemOff2In32
        ? systemOff2(argument32(caller, 1), argument32(caller, 2))
        : systemOff2(caller.argument(1), caller.argument(2));
    default:
      return returning(PsciResult.notSupported);
  }
}

function features(caller: PsciCaller, id: number): ResultValue {
  const version = caller.firmware.psciVersion;
  if (IN_VERSION_0_2.has(id) || id === F.features || id === SmcccFunction.version) return PsciResult.success;
  if (id === F.systemSuspend32 || id === F.systemSuspend64)
    return caller.systemSuspendEnabled ? PsciResult.success : PsciResult.notSupported;
  if (id === F.systemReset2In32 || id === F.systemReset2In64)
    return version >= PsciVersion.v1_1 ? PsciResult.success : PsciResult.notSupported;
  if (id === F.systemOff2In32 || id === F.systemOff2In64)
    return version >= PsciVersion.v1_3 ? HIBERNATE_OFF_SUPPORTED : PsciResult.notSupported;
  return PsciResult.notSupported;
}

function cpuOn(caller: PsciCaller, target: bigint, entry: bigint, context: bigint): ResultValue {
  if ((target & ~AFFINITY_BITS) !== 0n) return PsciResult.invalidParameters;
  // Our vCPUs have no Aff3.
  const vcpu = target > 0xff_ffffn ? undefined : vcpuOfAffinity(Number(target), caller.vcpuCount);
  if (vcpu === undefined) return PsciResult.invalidParameters;
  if (caller.isOn(vcpu)) return PsciResult.alreadyOn;
  caller.powerOn(vcpu, entry, context);
  return PsciResult.success;
}

function affinityInfo(caller: PsciCaller, target: bigint, lowestLevel: bigint): ResultValue {
  if ((target & ~AFFINITY_BITS) !== 0n || lowestLevel > AFFINITY_LEVEL_MAX) return PsciResult.invalidParameters;
  const shift = AFFINITY_LEVEL_SHIFTS[Number(lowestLevel)] ?? 0n;
  const mask = AFFINITY_BITS & ~((1n << shift) - 1n);
  let found = false;
  for (let vcpu = 0; vcpu < caller.vcpuCount; vcpu++) {
    if ((BigInt(vcpuAffinity(vcpu)) & mask) !== (target & mask)) continue;
    if (caller.isOn(vcpu)) return AFFINITY_ON;
    found = true;
  }
  return found ? AFFINITY_OFF : PsciResult.invalidParameters;
}

function systemReset2(type: bigint): CallOutcome {
  if (type !== 0n && type < RESET_TYPE_VENDOR) return returning(PsciResult.invalidParameters);
  return { kind: "systemEvent", type: SystemEvent.reset, flags: FLAG_PSCI_RESET2 };
}

/** Type 0 is taken for HIBERNATE_OFF, as in KVM. */
function systemOff2(type: bigint, cookie: bigint): CallOutcome {
  if ((type !== 0n && type !== HIBERNATE_OFF) || cookie !== 0n) return returning(PsciResult.invalidParameters);
  return { kind: "systemEvent", type: SystemEvent.shutdown, flags: FLAG_PSCI_OFF2 };
}
