/** What a vCPU's CPUID offers its guest of Hyper-V, whoever has put it there: leaves 0x40000001, 0x40000003, 0x40000004, 0x40000082. */
import { cpuid } from "../cpuid.js";
import type { Vm } from "../vm.js";
import type { FeatureBits } from "./features.js";

/** "Hv#1" in EAX of leaf 0x40000001. */
const INTERFACE = 0x3123_7648;
const [INTERFACE_LEAF, FEATURES_LEAF, RECOMMENDATIONS_LEAF, DEBUGGER_LEAF] = [
  0x4000_0001, 0x4000_0003, 0x4000_0004, 0x4000_0082,
] as const;
const NEVER_NOTIFY = 0xffff_ffff;
/** Bit of EAX of leaf 0x40000082: kernel debugging is allowed. */
const ALLOWS_DEBUGGING = 2;

export interface OfferedBits extends Required<FeatureBits> {
  /** HvCallNotifyLongSpinWait is of use. */
  readonly spinWait: boolean;
}

function leaf(vm: Vm, number: number): ReturnType<typeof cpuid> {
  return cpuid(vm, vm.current, number, 0, 0);
}

/** Whether the current vCPU's guest finds Hyper-V's interface. */
export function hasInterface(vm: Vm): boolean {
  return leaf(vm, INTERFACE_LEAF)[0] === INTERFACE;
}

/** Of the current vCPU. */
export function offeredBits(vm: Vm): OfferedBits {
  const [privileges, privilegesHigh, , features] = leaf(vm, FEATURES_LEAF);
  const [recommendations, attempts] = leaf(vm, RECOMMENDATIONS_LEAF);
  const spinWait = attempts >>> 0 !== NEVER_NOTIFY && attempts !== 0;
  return { privileges, privilegesHigh, features, recommendations, spinWait };
}

/** The synthetic debugger, of the current vCPU. */
export function hasDebugger(vm: Vm): boolean {
  return (leaf(vm, DEBUGGER_LEAF)[0] & ALLOWS_DEBUGGING) !== 0;
}
