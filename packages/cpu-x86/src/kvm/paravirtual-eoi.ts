/**
 * The end of an interrupt without an exit: MSR_KVM_PV_EOI_EN, Documentation/virt/kvm/x86/msr.rst. Where an interrupt is given to
 * the guest and none waits behind it, bit 0 of a word in guest memory is set; a guest that clears it has ended that interrupt.
 * Hyper-V's "no EOI required" of the VP assist page is the same bit in another place, and KVM keeps one place for both.
 */
import { isInRam } from "./paravirtual.js";
import type { Vm } from "./vm.js";

const ENABLED = 1n;
const ALIGNMENT_MASK = 3n;
const WORD_BYTES = 4;
const END_IS_FREE = 1;

export function acceptsEoiPlace({ engine }: Vm, value: bigint): boolean {
  const address = value & ~ENABLED;
  if ((address & ALIGNMENT_MASK) !== 0n) return false;
  return (value & ENABLED) === 0n || isInRam(engine.memory, address, WORD_BYTES);
}

/** False: #GP. */
export function writeEoiPlace(vm: Vm, value: bigint): boolean {
  if (!acceptsEoiPlace(vm, value)) return false;
  vm.irqchip.apicOf(vm.current).settleEnd();
  vm.paravirtual.of(vm.current).eoiEnable = value;
  return true;
}

function placeOf(vm: Vm, vcpu: number): number | undefined {
  const { eoiEnable } = vm.paravirtual.of(vcpu);
  return (eoiEnable & ENABLED) === 0n ? undefined : Number(eoiEnable & ~ENABLED);
}

/** False: the guest has named no place. */
export function offerEnd(vm: Vm, vcpu: number): boolean {
  const place = placeOf(vm, vcpu);
  if (place === undefined) return false;
  const { memory } = vm.engine;
  memory.write(place, Uint8Array.of((memory.read(place, 1)[0] ?? 0) | END_IS_FREE));
  return true;
}

/** True: the guest has ended its interrupt. */
export function withdrawEnd(vm: Vm, vcpu: number): boolean {
  const place = placeOf(vm, vcpu);
  if (place === undefined) return false;
  const { memory } = vm.engine;
  const byte = memory.read(place, 1)[0] ?? 0;
  if ((byte & END_IS_FREE) === 0) return true;
  memory.write(place, Uint8Array.of(byte & ~END_IS_FREE));
  return false;
}
