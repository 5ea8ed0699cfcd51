/**
 * The end of an interrupt without an exit: MSR_KVM_PV_EOI_EN, Documentation/virt/kvm/x86/msr.rst. Where an interrupt is given to
 * the guest and none waits behind it, bit 0 of a word in guest memory is set; a guest that clears it has ended that interrupt.
 * Hyper-V's "no EOI required" of the VP assist page is the same bit in another place, and KVM keeps one place for both.
 */
import type { GuestMemory } from "@hvjournal/core";

const ENABLED = 1n;
const END_IS_FREE = 1;

/** Where a guest looks whose register holds this; undefined: it has named no place. */
function placeIn(register: bigint): number | undefined {
  return (register & ENABLED) === 0n ? undefined : Number(register & ~ENABLED);
}

/** False: the guest has named no place. */
export function offerEnd(memory: GuestMemory, register: bigint): boolean {
  const place = placeIn(register);
  if (place === undefined) return false;
  memory.write(place, Uint8Array.of((memory.read(place, 1)[0] ?? 0) | END_IS_FREE));
  return true;
}

/** True: the guest has ended its interrupt. */
export function withdrawEnd(memory: GuestMemory, register: bigint): boolean {
  const place = placeIn(register);
  if (place === undefined) return false;
  const byte = memory.read(place, 1)[0] ?? 0;
  if ((byte & END_IS_FREE) === 0) return true;
  memory.write(place, Uint8Array.of(byte & ~END_IS_FREE));
  return false;
}
