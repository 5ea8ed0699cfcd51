/** What becomes of a hypercall: kvm_smccc_call_handler's decision in arch/arm64/kvm/hypercalls.c. */
import { type FilterAction, type FilterRange, filterRangeOf } from "./smccc-filter.js";
import {
  StandardHypervisorService,
  StandardService,
  type FirmwareRegisters,
  VendorHypervisorService,
} from "./firmware-registers.js";
import {
  functionNumberOf,
  isFastCall,
  LEGACY_PSCI_BASE,
  LEGACY_PSCI_COUNT,
  Owner,
  ownerOf,
  SmcccFunction,
} from "./function-id.js";

export interface Route {
  readonly action: FilterAction;
  /** Seq of the event whose range decided; 0: the default rule. */
  readonly rule: number;
}

/** PSCI's function numbers in the standard secure service. */
const PSCI_FUNCTION_MAX = 0x1f;

/** Served whatever the firmware registers say. */
function isAllowedByDefault(id: number): boolean {
  if (id === SmcccFunction.version || id === SmcccFunction.archFeatures) return true;
  if (id >= LEGACY_PSCI_BASE && id < LEGACY_PSCI_BASE + LEGACY_PSCI_COUNT) return true;
  return isFastCall(id) && ownerOf(id) === Owner.standardSecure && functionNumberOf(id) <= PSCI_FUNCTION_MAX;
}

function isAllowedByBitmap(firmware: FirmwareRegisters, id: number): boolean {
  switch (id) {
    case SmcccFunction.trngVersion:
    case SmcccFunction.trngFeatures:
    case SmcccFunction.trngUuid:
    case SmcccFunction.trngRandom32:
    case SmcccFunction.trngRandom64:
      return (firmware.standardServices & StandardService.trng) !== 0n;
    case SmcccFunction.pvTimeFeatures:
    case SmcccFunction.pvTimeStolen:
      return (firmware.standardHypervisorServices & StandardHypervisorService.pvTime) !== 0n;
    case SmcccFunction.vendorFeatures:
    case SmcccFunction.vendorUid:
      return (firmware.vendorHypervisorServices & VendorHypervisorService.features) !== 0n;
    case SmcccFunction.vendorPtp:
      return (firmware.vendorHypervisorServices & VendorHypervisorService.ptp) !== 0n;
    default:
      return false;
  }
}

/** A filter's "handle" promises nothing: what KVM does not implement, or a firmware register hides, is denied. */
export function routeCall(ranges: readonly FilterRange[], firmware: FirmwareRegisters, id: number): Route {
  const range = filterRangeOf(ranges, id);
  const rule = range?.seq ?? 0;
  if (range !== undefined && range.action !== "handle") return { action: range.action, rule };
  return { action: isAllowedByDefault(id) || isAllowedByBitmap(firmware, id) ? "handle" : "deny", rule };
}
