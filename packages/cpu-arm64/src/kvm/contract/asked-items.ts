/** What a guest asks about by an exit: a call of a discovery function, or a trapped read of a register. */
import { type ExitFrame, ExitWord, type NumberAsked } from "@hvjournal/core";
import { CAP_ARM_SYSTEM_SUSPEND } from "../capabilities.js";
import type { Arm64ControlState } from "../control/control-state.js";
import { functionIdOf } from "../describe-exit.js";
import { HYPERCALL_SMC } from "../exit-frames.js";
import { Reason } from "../exit-model.js";
import { unruledCall } from "../hypercalls.js";
import { systemRegisterName } from "../../isa/system-registers.js";
import { functionNumberOf, isFastCall, Owner, ownerOf, PsciFunction, SmcccFunction } from "../smccc/function-id.js";
import { type Conduit, FILTER_CALL, filterRangeOf } from "../smccc/smccc-filter.js";
import {
  DEFAULT_RULE_ITEM,
  FirmwareItem,
  policyItem,
  pvTimeItem,
  rangeItem,
  SMCCC_VERSION_ITEM,
} from "./item-names.js";

const NOTHING: readonly string[] = [];
const PSCI_FUNCTION_MAX = 0x1f;

const ASKED: ReadonlyMap<number, readonly string[]> = new Map([
  [SmcccFunction.version, [SMCCC_VERSION_ITEM]],
  [SmcccFunction.archWorkaround1, [FirmwareItem.workaround1]],
  [SmcccFunction.archWorkaround2, [FirmwareItem.workaround2]],
  [SmcccFunction.archWorkaround3, [FirmwareItem.workaround3]],
  [SmcccFunction.trngVersion, [FirmwareItem.standard]],
  [SmcccFunction.trngFeatures, [FirmwareItem.standard]],
  [SmcccFunction.trngUuid, [FirmwareItem.standard]],
  [SmcccFunction.trngRandom32, [FirmwareItem.standard]],
  [SmcccFunction.trngRandom64, [FirmwareItem.standard]],
  [SmcccFunction.pvTimeFeatures, [FirmwareItem.standardHypervisor]],
  [SmcccFunction.pvTimeStolen, [FirmwareItem.standardHypervisor]],
  [SmcccFunction.vendorUid, [FirmwareItem.vendorHypervisor]],
  [SmcccFunction.vendorFeatures, [FirmwareItem.vendorHypervisor, FirmwareItem.vendorHypervisor2]],
  [SmcccFunction.vendorPtp, [FirmwareItem.vendorHypervisor]],
]);

/** Functions whose very presence is another item's: a call of one shows it as much as a question about it. */
const SHOWN_BY_PSCI: ReadonlyMap<number, string> = new Map([
  [PsciFunction.systemSuspend32, CAP_ARM_SYSTEM_SUSPEND],
  [PsciFunction.systemSuspend64, CAP_ARM_SYSTEM_SUSPEND],
]);
/** Those that some version of PSCI does not have, and the function that says which version it is. */
const VERSIONED_PSCI: ReadonlySet<number> = new Set([
  PsciFunction.version,
  PsciFunction.features,
  PsciFunction.systemReset2In32,
  PsciFunction.systemReset2In64,
  PsciFunction.systemOff2In32,
  PsciFunction.systemOff2In64,
  PsciFunction.systemSuspend32,
  PsciFunction.systemSuspend64,
]);

export function askedItems(frame: ExitFrame, state: Arm64ControlState): readonly string[] {
  switch (frame[ExitWord.reason]) {
    case Reason.sys64:
      return frame[ExitWord.info] === 0 ? [registerItemName(frame[ExitWord.arg0Low] ?? 0)] : NOTHING;
    case Reason.hvc64:
    case Reason.smc64:
      return unruledCall(frame) === undefined ? askedByCall(frame, state) : NOTHING;
    default:
      return NOTHING;
  }
}

function registerItemName(selector: number): string {
  return systemRegisterName(selector).toUpperCase();
}

function askedByCall(frame: ExitFrame, state: Arm64ControlState): string[] {
  const id = functionIdOf(frame);
  const items = [ruleItem(frame, state)];
  // A question about another function is one about that function's item.
  const about = id === SmcccFunction.archFeatures || id === PsciFunction.features ? (frame[ExitWord.arg1Low] ?? 0) : id;
  items.push(...(ASKED.get(about) ?? NOTHING));
  if (id === SmcccFunction.pvTimeStolen) items.push(pvTimeItem(frame[ExitWord.vcpu] ?? 0));
  const isPsci = isFastCall(id) && ownerOf(id) === Owner.standardSecure && functionNumberOf(id) <= PSCI_FUNCTION_MAX;
  if (!isPsci) return items;
  const shown = SHOWN_BY_PSCI.get(about);
  if (shown !== undefined) items.push(shown);
  if (VERSIONED_PSCI.has(id)) items.push(FirmwareItem.psciVersion);
  return items;
}

/** The rule that decided: a range, a policy, or none of them. */
function ruleItem(frame: ExitFrame, { smcccFilter, policies = [] }: Arm64ControlState): string {
  const rule = frame[ExitWord.rule] ?? 0;
  if (rule === 0) return rangeMeant(frame, smcccFilter);
  const range = smcccFilter.find(({ seq }) => seq === rule);
  if (range !== undefined) return rangeItem(range);
  const policy = policies.find(({ seq }) => seq === rule);
  return policy === undefined ? DEFAULT_RULE_ITEM : policyItem(policy.name);
}

function conduitOf(frame: ExitFrame): Conduit {
  const isSmc = (frame[ExitWord.info] ?? 0) === HYPERCALL_SMC && frame[ExitWord.reason] === Reason.smc64;
  return isSmc ? "smc" : "hvc";
}

/** The function of a call that the filter was asked about, or would have been. */
export function askedFunction(frame: ExitFrame): NumberAsked | undefined {
  const reason = frame[ExitWord.reason];
  const isCall = (reason === Reason.hvc64 || reason === Reason.smc64) && unruledCall(frame) === undefined;
  return isCall ? { group: FILTER_CALL, space: conduitOf(frame), number: functionIdOf(frame) } : undefined;
}

/** A range whose "handle" leaves the call to the default rule is its rule all the same. */
function rangeMeant(frame: ExitFrame, ranges: Arm64ControlState["smcccFilter"]): string {
  const id = functionIdOf(frame);
  const range = filterRangeOf(ranges, id, conduitOf(frame));
  return range === undefined ? DEFAULT_RULE_ITEM : rangeItem(range);
}
