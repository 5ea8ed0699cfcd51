/** The SMCCC filter in the words of a VMM. */
import {
  encodeSmcccFilter,
  HVJ_SMCCC_CTRL,
  HVJ_SMCCC_FILTER_CONDUIT,
  HVJ_SMCCC_FILTER_RANGES,
  ORIGIN_USER,
  SMCCC_CTRL,
  SMCCC_FILTER,
  type ToldFilter,
} from "@hvjournal/cpu-arm64";
import { errno, type Program } from "./program.js";

/** KVM_SMCCC_FILTER_*. */
export const HANDLE = 0;
export const DENY = 1;
export const FORWARD = 2;

export const PSCI_VERSION = 0x8400_0000;
export const CPU_ON32 = 0x8400_0003;
export const CPU_ON = 0xc400_0003;
export const TRNG_VERSION = 0x8400_0050;
/** Ids of a service that KVM does not have, and that a VMM may take. */
export const VENDOR = 0xc600_0001;

/** KVM_SET_DEVICE_ATTR of one range: its errno. */
export function setFilter(
  { vm }: Program,
  base: number,
  nrFunctions: number,
  action: number,
  pad: readonly number[] = [],
): string {
  const bytes = encodeSmcccFilter({ base, nrFunctions, action, pad: Uint8Array.from(pad) });
  return errno(() => vm.setDeviceAttr({ group: SMCCC_CTRL, attr: SMCCC_FILTER }, bytes));
}

/** The same for one conduit, which upstream does not have. */
export function setConduitFilter(
  { vm }: Program,
  range: { readonly base: number; readonly nrFunctions: number; readonly action: number },
  conduit: number,
): string {
  const bytes = encodeSmcccFilter({ ...range, pad: Uint8Array.of(conduit) });
  return errno(() => vm.setDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: HVJ_SMCCC_FILTER_CONDUIT }, bytes));
}

export function toldRanges({ vm }: Program): ToldFilter {
  return vm.getDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: HVJ_SMCCC_FILTER_RANGES }) as ToldFilter;
}

/** What the VMM has set, as the list that it sets again in a destination. */
export function setList(program: Program): ToldFilter {
  return toldRanges(program).filter(({ origin }) => origin === ORIGIN_USER);
}

/** Sets a list of ranges again: the errno of each. */
export function replayList(destination: Program, list: ToldFilter): string[] {
  return list.map(({ base, nrFunctions, action }) => setFilter(destination, base, nrFunctions, action));
}
