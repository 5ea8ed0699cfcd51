/** MSRs that tell what a processor has, as KVM_GET_MSRS of /dev/kvm has them: Documentation/virt/kvm/api.rst, 4.2. */
import type { ContractItem, RunningGuest } from "@hvjournal/core";
import { Msr } from "../msr-names.js";
import { msrRegister } from "../named-registers.js";
import { msrItem } from "./item-names.js";

const FEATURE_MSRS = [
  Msr.IA32_PLATFORM_ID,
  Msr.IA32_FEATURE_CONTROL,
  Msr.IA32_BIOS_SIGN_ID,
  Msr.IA32_MTRRCAP,
  Msr.IA32_ARCH_CAPABILITIES,
  Msr.IA32_MCG_CAP,
] as const;

/** undefined: there is no such register. */
function read(guest: RunningGuest, msr: number): bigint | undefined {
  try {
    return guest.readRegister(0, msrRegister(msr));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

export function featureItems(guest: RunningGuest): ContractItem[] {
  return FEATURE_MSRS.map((msr) => {
    const value = read(guest, msr);
    return {
      ...{ name: msrItem(msr), value: value === undefined ? "#GP" : `0x${value.toString(16)}`, isObservable: true },
      advice: "a host with the same CPU model can take the VM",
    };
  });
}
