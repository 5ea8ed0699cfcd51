/** KVM_ARM_VM_SMCCC_FILTER: which hypercalls the kernel half handles, denies or forwards to the VMM. */
import type { Errno, Refusal } from "@hvjournal/core";

/** Actions by their number in `struct kvm_smccc_filter`. */
export const FILTER_ACTIONS = ["handle", "deny", "forward"] as const;
export type FilterAction = (typeof FILTER_ACTIONS)[number];

const U32_MAX = 0xffff_ffff;
export const FILTER_CALL = "KVM_ARM_VM_SMCCC_FILTER";

/** By what a call was made. */
export type Conduit = "hvc" | "smc";

export function isConduit(text: string | undefined): text is Conduit {
  return text === "hvc" || text === "smc";
}

/** A closed range of function ids. */
export interface FilterRange {
  readonly base: number;
  readonly count: number;
  readonly action: FilterAction;
  /** Seq of the event that set it. */
  readonly seq: number;
  /** The one conduit that it holds for; absent: both, as upstream has it. */
  readonly conduits?: Conduit;
}

/** The Arm Architecture Calls stay with KVM, so that nobody can misreport the state of mitigations. */
export const RESERVED_RANGES: readonly { readonly base: number; readonly last: number }[] = [
  { base: 0x8000_0000, last: 0x8000_ffff },
  { base: 0xc000_0000, last: 0xc000_ffff },
];

export interface FilterRequest {
  readonly base: number;
  readonly count: number;
  /** The number of an action: 0 handle, 1 deny, 2 forward. */
  readonly action: number;
  /** "hvc" or "smc" for one conduit alone. Upstream has one namespace for both. */
  readonly conduits?: string | undefined;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** "0xc6000000+0x100" */
export function rangeText(base: number, count: number): string {
  return `${hex(base)}+${hex(count)}`;
}

/** "/hvc" behind a range that holds for one conduit alone. */
export function conduitsSuffix(conduits: string | undefined): string {
  return conduits === undefined ? "" : `/${conduits}`;
}

function meet(one: string | undefined, other: string | undefined): boolean {
  return one === undefined || other === undefined || one === other;
}

export function isReserved(id: number): boolean {
  return RESERVED_RANGES.some(({ base, last }) => id >= base && id <= last);
}

function refusal(errno: Errno, reason: string, next?: string): Refusal {
  return { errno, call: FILTER_CALL, reason, ...(next === undefined ? {} : { next }) };
}

/** KVM's checks in KVM's order; undefined: the range may be set. The padding of the structure has no counterpart here. */
export function checkFilterRequest(
  ranges: readonly FilterRange[],
  request: FilterRequest,
  hasRun: boolean,
): Refusal | undefined {
  const { base, count, action, conduits } = request;
  const range = rangeText(base, count);
  const isU32 = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= U32_MAX;
  if (!isU32(base) || !isU32(count)) return refusal("EINVAL", `${range}: base and count are 32-bit numbers`);
  if (count === 0) return refusal("EINVAL", `${range}: an empty range`);
  const last = base + count - 1;
  if (last > U32_MAX) return refusal("EINVAL", `${range} wraps around at 32 bits`);
  if (FILTER_ACTIONS[action] === undefined)
    return refusal("EINVAL", `${range}: ${action} is no action: 0 handle, 1 deny, 2 forward`);
  if (conduits !== undefined && !isConduit(conduits))
    return refusal("EINVAL", `${range}: '${conduits}' is no conduit: hvc, smc`);
  if (hasRun)
    return refusal(
      "EBUSY",
      "a vCPU has run; set it before the start",
      `hvjournal record --smccc-filter ${range}=${FILTER_ACTIONS[action]}${conduitsSuffix(conduits)}`,
    );
  const reserved = RESERVED_RANGES.find((each) => base <= each.last && each.base <= last);
  if (reserved !== undefined)
    return refusal(
      "EEXIST",
      `${range} overlaps ${hex(reserved.base)}..${hex(reserved.last)}, which is reserved for the architecture`,
    );
  const other = ranges.find(
    (each) => base <= each.base + each.count - 1 && each.base <= last && meet(each.conduits, conduits),
  );
  if (other !== undefined)
    return refusal(
      "EEXIST",
      `${range} overlaps ${rangeText(other.base, other.count)} ${other.action}${conduitsSuffix(other.conduits)} (event:${other.seq})`,
    );
  return undefined;
}

/** The range that a function id lies in. Reserved ids are in none: the default rule handles them. */
export function filterRangeOf(ranges: readonly FilterRange[], id: number, conduit: Conduit): FilterRange | undefined {
  return ranges.find(
    (each) => id >= each.base && id - each.base < each.count && (each.conduits ?? conduit) === conduit,
  );
}
