/** CPUID leaves from 0x40000000 on of a VM with Hyper-V enlightenments. */
import type { CpuidWords as Words } from "../cpuid-entry.js";
import { bitsOf, type FeatureBits } from "./features.js";

export const HYPERV_LEAF = 0x4000_0000;
/** Where KVM's own leaves go. */
export const KVM_LEAF_BESIDE_HYPERV = 0x4000_0100;
const HIGHEST = 0x4000_0005;
/** With the debugger, whose leaves begin at 0x40000080. */
const HIGHEST_OF_DEBUGGER = 0x4000_0082;
/** "VS#1". */
const DEBUGGER_INTERFACE = 0x3123_5356;
const ALLOWS_DEBUGGING = 2;
/** "Microsoft Hv". */
const VENDOR: readonly [number, number, number] = [0x7263_694d, 0x666f_736f, 0x7648_2074];
/** "Hv#1". */
const INTERFACE = 0x3123_7648;
/** Build 14393 of version 10.0, as KVM and QEMU say. */
const BUILD = 0x3839;
const VERSION = 0x000a_0000;
/** With "spinlocks": attempts before a guest tells of its wait; else it never does. */
const SPIN_ATTEMPTS = 0xfff;
const NEVER_NOTIFY = 0xffff_ffff;
const VCPUS_MAX = 64;
const PROCESSORS_MAX = 64;
const NOTHING: Words = [0, 0, 0, 0];

function debuggerLeaf(leaf: number): Words {
  switch (leaf) {
    case 0x4000_0080:
      return [HIGHEST_OF_DEBUGGER, ...VENDOR];
    case 0x4000_0081:
      return [DEBUGGER_INTERFACE, 0, 0, 0];
    case HIGHEST_OF_DEBUGGER:
      return [ALLOWS_DEBUGGING, 0, 0, 0];
    default:
      return NOTHING;
  }
}

/** `moreFeatures`: bits of EDX of leaf 0x40000003 that follow from elsewhere. */
export function hypervLeaf(features: readonly string[], leaf: number, moreFeatures = 0): Words {
  const bits = bitsOf(features);
  const hasDebugger = features.includes("syndbg");
  switch (leaf) {
    case HYPERV_LEAF:
      return [hasDebugger ? HIGHEST_OF_DEBUGGER : HIGHEST, ...VENDOR];
    case 0x4000_0001:
      return [INTERFACE, 0, 0, 0];
    case 0x4000_0002:
      return [BUILD, VERSION, 0, 0];
    case 0x4000_0003:
      return [bits.privileges, bits.privilegesHigh, 0, bits.features | moreFeatures];
    case 0x4000_0004:
      return [bits.recommendations, features.includes("spinlocks") ? SPIN_ATTEMPTS : NEVER_NOTIFY, 0, 0];
    case 0x4000_0005:
      return [VCPUS_MAX, PROCESSORS_MAX, 0, 0];
    default:
      return hasDebugger ? debuggerLeaf(leaf) : NOTHING;
  }
}

/** What a guest's CPUID offers it of Hyper-V. */
export interface HypervOffer extends Required<FeatureBits> {
  /** 0 and 0xffffffff: the guest is not to tell of its waits. */
  readonly spinAttempts: number;
  /** The synthetic debugger. */
  readonly allowsDebugging: boolean;
}

/** Whether the guest may tell that it waits for a spin lock. */
export function tellsOfSpinning({ spinAttempts }: HypervOffer): boolean {
  return spinAttempts !== 0 && spinAttempts !== NEVER_NOTIFY;
}

/** From the leaves themselves, whoever has set them. undefined: leaf 0x40000001 is not Hyper-V's. */
export function readHypervOffer(ask: (leaf: number) => Words): HypervOffer | undefined {
  if (ask(0x4000_0001)[0] !== INTERFACE) return undefined;
  const [privileges, privilegesHigh, , features] = ask(0x4000_0003);
  const [recommendations, spinAttempts] = ask(0x4000_0004);
  const allowsDebugging = (ask(HIGHEST_OF_DEBUGGER)[0] & ALLOWS_DEBUGGING) !== 0;
  const bits = { privileges, privilegesHigh, features, recommendations };
  return { ...bits, spinAttempts: spinAttempts >>> 0, allowsDebugging };
}
