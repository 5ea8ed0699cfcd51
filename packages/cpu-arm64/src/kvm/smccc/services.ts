/** The hypercall services of KVM: SMCCC itself, TRNG, paravirtual time, the vendor hypervisor service; all else is PSCI's. */
import { hostModelOf, Workaround2Level, WorkaroundLevel } from "../host-model.js";
import { argument32, type Caller, type CallOutcome, type ResultValue, returning } from "./call.js";
import { StandardHypervisorService } from "./firmware-registers.js";
import { SmcccFunction, SmcccResult, WORKAROUND_UNAFFECTED } from "./function-id.js";
import { callPsci } from "./psci.js";

const SMCCC_VERSION_1_1 = 0x1_0001;
const TRNG_VERSION_1_0 = 0x1_0000;
/** 0d21e000-4384-11eb-8070-5244554e5a4c, as four little-endian words. */
const TRNG_UUID = [0x00e0_210d, 0xeb11_8443, 0x4452_7080, 0x4c5a_4e55] as const;
/** 28b46fb6-2ec5-11e9-a9ca-4b564d003a74, likewise. */
const VENDOR_UID = [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d] as const;
const TRNG_FUNCTIONS: ReadonlySet<number> = new Set([
  SmcccFunction.trngVersion,
  SmcccFunction.trngFeatures,
  SmcccFunction.trngUuid,
  SmcccFunction.trngRandom32,
  SmcccFunction.trngRandom64,
]);
/** Arguments of the PTP call. */
const PTP_VIRTUAL_COUNTER = 0;
const PTP_PHYSICAL_COUNTER = 1;
const U32_MASK = 0xffff_ffffn;

/** A call that the route says the kernel half handles. */
export function callService(caller: Caller, id: number): CallOutcome {
  switch (id) {
    case SmcccFunction.version:
      return returning(SMCCC_VERSION_1_1);
    case SmcccFunction.archFeatures:
      return returning(archFeatures(caller, Number(argument32(caller, 1))));
    case SmcccFunction.trngVersion:
      return returning(TRNG_VERSION_1_0);
    case SmcccFunction.trngFeatures:
      return returning(
        TRNG_FUNCTIONS.has(Number(argument32(caller, 1))) ? SmcccResult.success : SmcccResult.notSupported,
      );
    case SmcccFunction.trngUuid:
      return returning(...TRNG_UUID);
    case SmcccFunction.trngRandom32:
      return random(caller, argument32(caller, 1), 32n);
    case SmcccFunction.trngRandom64:
      return random(caller, argument32(caller, 1), 64n);
    case SmcccFunction.pvTimeFeatures:
      return returning(pvTimeFeatures(caller, Number(argument32(caller, 1))));
    case SmcccFunction.pvTimeStolen:
      return returning(pvTimeStructure(caller));
    case SmcccFunction.vendorUid:
      return returning(...VENDOR_UID);
    case SmcccFunction.vendorFeatures:
      return returning(caller.firmware.vendorHypervisorServices, 0, caller.firmware.vendorHypervisorServices2);
    case SmcccFunction.vendorPtp:
      return precisionTime(caller, Number(argument32(caller, 1)));
    default:
      return callPsci(caller, id);
  }
}

function archFeatures(caller: Caller, id: number): ResultValue {
  switch (id) {
    case SmcccFunction.archWorkaround1:
      return workaround(hostModelOf(caller.firmware.host).workarounds[0]);
    case SmcccFunction.archWorkaround2:
      return workaround2(hostModelOf(caller.firmware.host).workarounds[1]);
    case SmcccFunction.archWorkaround3:
      return workaround(hostModelOf(caller.firmware.host).workarounds[2]);
    case SmcccFunction.pvTimeFeatures:
      return (caller.firmware.standardHypervisorServices & StandardHypervisorService.pvTime) !== 0n
        ? SmcccResult.success
        : SmcccResult.notSupported;
    default:
      return SmcccResult.notSupported;
  }
}

/** Of WORKAROUND_1 and 3. */
function workaround(level: bigint): ResultValue {
  if (level === WorkaroundLevel.notRequired) return WORKAROUND_UNAFFECTED;
  return level === WorkaroundLevel.available ? SmcccResult.success : SmcccResult.notSupported;
}

function workaround2(level: bigint): ResultValue {
  if (level === Workaround2Level.notRequired) return SmcccResult.notRequired;
  return level === Workaround2Level.available ? SmcccResult.success : SmcccResult.notSupported;
}

/** As kvm_hypercall_pv_features. */
function pvTimeFeatures({ pvTimeIpa }: Caller, id: number): ResultValue {
  const isKnown = id === SmcccFunction.pvTimeFeatures || id === SmcccFunction.pvTimeStolen;
  return isKnown && pvTimeIpa !== undefined ? SmcccResult.success : SmcccResult.notSupported;
}

/** As kvm_init_stolen_time. */
function pvTimeStructure(caller: Caller): ResultValue {
  const { pvTimeIpa } = caller;
  if (pvTimeIpa === undefined) return SmcccResult.notSupported;
  caller.writePvTime(pvTimeIpa);
  return pvTimeIpa;
}

/** TRNG_RND: up to three registers of `width` bits, the highest in x1. */
function random(caller: Caller, bits: bigint, width: 32n | 64n): CallOutcome {
  if (bits === 0n || bits > 3n * width) return returning(SmcccResult.invalidParameter);
  let value = 0n;
  for (let have = 0n; have < bits; have += 64n) value |= caller.entropy() << have;
  value = BigInt.asUintN(Number(bits), value);
  const mask = (1n << width) - 1n;
  return returning(SmcccResult.success, (value >> (2n * width)) & mask, (value >> width) & mask, value & mask);
}

/** Host time and counter of one moment; the host's time is guest time here, so a replay sees the same. */
function precisionTime(caller: Caller, counter: number): CallOutcome {
  if (counter !== PTP_VIRTUAL_COUNTER && counter !== PTP_PHYSICAL_COUNTER) return returning(SmcccResult.notSupported);
  return returning(
    caller.wallClockNs >> 32n,
    caller.wallClockNs & U32_MASK,
    caller.counter >> 32n,
    caller.counter & U32_MASK,
  );
}
