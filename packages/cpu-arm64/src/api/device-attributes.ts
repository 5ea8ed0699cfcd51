/** Device attributes of the VM (Documentation/virt/kvm/devices/vm.rst, 6), and those that upstream does not have. */
import type { Conduit, FilterRange } from "../kvm/smccc/smccc-filter.js";

export interface DeviceAttribute {
  readonly group: number;
  readonly attr: number;
}

/** KVM_ARM_VM_SMCCC_CTRL and KVM_ARM_VM_SMCCC_FILTER. */
export const SMCCC_CTRL = 0;
export const SMCCC_FILTER = 0;

/** A private group, from 0x100 up: what was written into the filter, and what the kernel half handles, can be read. */
export const HVJ_SMCCC_CTRL = 0x100;
/** How many ranges there are, and the ranges. */
export const HVJ_SMCCC_FILTER_COUNT = 0;
export const HVJ_SMCCC_FILTER_RANGES = 1;
/** How many functions the kernel half handles now, by default rule and firmware registers, and which. */
export const HVJ_SMCCC_HANDLED_COUNT = 2;
export const HVJ_SMCCC_HANDLED = 3;
/** Sets a range for one conduit alone: `struct kvm_smccc_filter` with 1 (HVC) or 2 (SMC) in the padding's first byte. */
export const HVJ_SMCCC_FILTER_CONDUIT = 5;
export const CONDUIT_CODES: ReadonlyMap<number, Conduit> = new Map([
  [1, "hvc"],
  [2, "smc"],
]);

/** The filter as one blob (`filter-export.ts`): read from one VM, written into a fresh one. */
export const HVJ_SMCCC_FILTER_EXPORT = 4;

const STRUCTURE_BYTES = 24;
const PAD_BYTES = 15;

/** `struct kvm_smccc_filter`. */
export interface SmcccFilter {
  readonly base: number;
  readonly nrFunctions: number;
  readonly action: number;
  /** 15 bytes, zero. */
  readonly pad?: Uint8Array;
}

/** The bytes of `struct kvm_smccc_filter`, little-endian. */
export function encodeSmcccFilter({
  base,
  nrFunctions,
  action,
  pad = new Uint8Array(PAD_BYTES),
}: SmcccFilter): Uint8Array {
  const bytes = new Uint8Array(STRUCTURE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, base, true);
  view.setUint32(4, nrFunctions, true);
  bytes[8] = action;
  bytes.set(pad.subarray(0, PAD_BYTES), STRUCTURE_BYTES - PAD_BYTES);
  return bytes;
}

/** Undefined for what is no such structure: a pointer that can't be read. */
export function decodeSmcccFilter(bytes: Uint8Array): Required<SmcccFilter> | undefined {
  if (bytes.length !== STRUCTURE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    base: view.getUint32(0, true),
    nrFunctions: view.getUint32(4, true),
    action: view.getUint8(8),
    pad: bytes.subarray(STRUCTURE_BYTES - PAD_BYTES),
  };
}

/** One range as the private group tells it; origin 0: reserved for the architecture, 1: set by the VMM. */
export interface ToldRange {
  readonly base: number;
  readonly nrFunctions: number;
  readonly action: number;
  readonly origin: number;
}

export const ORIGIN_RESERVED = 0;
export const ORIGIN_USER = 1;

export type ToldFilter = readonly (ToldRange & { readonly conduits?: FilterRange["conduits"] })[];
