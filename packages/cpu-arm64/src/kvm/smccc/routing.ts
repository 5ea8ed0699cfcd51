/** What becomes of a hypercall: kvm_smccc_call_handler's decision in arch/arm64/kvm/hypercalls.c. */
import type { Arm64ControlState } from "../control/control-state.js";
import { policyTable } from "../control/policies.js";
import { type Conduit, type FilterAction, filterRangeOf, isReserved } from "./smccc-filter.js";
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
  PsciFunction,
  SmcccFunction,
} from "./function-id.js";

export interface Route {
  readonly action: FilterAction;
  /** Seq of the event whose range or policy decided; 0: the default rule. */
  readonly rule: number;
}

/** PSCI's function numbers in the standard secure service. */
const PSCI_FUNCTION_MAX = 0x1f;

/** Whether a call is one of PSCI's, from 0.1 on, known or not. */
export function isPsciFunction(id: number): boolean {
  if (id >= LEGACY_PSCI_BASE && id < LEGACY_PSCI_BASE + LEGACY_PSCI_COUNT) return true;
  return isFastCall(id) && ownerOf(id) === Owner.standardSecure && functionNumberOf(id) <= PSCI_FUNCTION_MAX;
}

/** Served whatever the firmware registers say. */
function isAllowedByDefault(id: number): boolean {
  return id === SmcccFunction.version || id === SmcccFunction.archFeatures || isPsciFunction(id);
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

/** Functions that the kernel half answers now, unless a range takes them away. */
export function handledFunctions(state: Arm64ControlState): readonly number[] {
  const candidates = [...Object.values(SmcccFunction), ...Object.values(PsciFunction), ...legacyPsci()];
  return [...new Set(candidates)].filter((id) => routeCall(state, id, "hvc").action === "handle").sort((a, b) => a - b);
}

function legacyPsci(): number[] {
  return Array.from({ length: LEGACY_PSCI_COUNT }, (_, index) => LEGACY_PSCI_BASE + index);
}

/** A filter's "handle" promises nothing: what KVM does not implement, or a firmware register hides, is denied. */
export function routeCall(state: Arm64ControlState, id: number, conduit: Conduit): Route {
  const range = filterRangeOf(state.smcccFilter, id, conduit);
  const rule = range?.seq ?? 0;
  if (range !== undefined && range.action !== "handle") return { action: range.action, rule };
  if (isAllowedByDefault(id) || isAllowedByBitmap(state.firmware, id)) return { action: "handle", rule };
  const forwarding = range === undefined ? policyTable.settingIn(state, "arm.smccc.default") : undefined;
  // The Arm Architecture Calls are never anybody else's.
  if (forwarding === undefined || isReserved(id)) return { action: "deny", rule };
  return { action: "forward", rule: forwarding.seq };
}
