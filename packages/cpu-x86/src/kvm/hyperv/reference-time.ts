/** Reference time, in units of 100 ns, by MSR and by the page that a guest reads with its time-stamp counter. */
import { TSC_HZ } from "../time-stamp-counter.js";
import type { Vm } from "../vm.js";

export const UNIT_NS = 100;
const PAGE_ENABLED = 1n;
const PAGE_BYTES = 4096;
const UNITS_PER_SECOND = 10_000_000n;
/** A page whose sequence is 0 is not to be used. */
const FIRST_SEQUENCE = 1;

/** KVM's clock; with a page, as that has it. */
export function referenceTime(vm: Vm): bigint {
  const { referenceTsc, referenceClockNs } = vm.hyperv.vm;
  const moved = (referenceTsc & PAGE_ENABLED) === 0n ? vm.clockOffsetNs : Number(referenceClockNs);
  return BigInt(Math.floor((vm.guestTimeNs + moved) / UNIT_NS));
}

/** KVM_SET_CLOCK: a page whose guest still goes by the old counter, which is emulated for it, keeps to that. */
export function referenceClockMoved(vm: Vm): void {
  if (vm.hyperv.vm.tscEmulationControl === 0n) tellReferenceTime(vm);
}

/** Units of 100 ns for a tick, as a fraction of 2 ** 64. */
export function referenceScale(counterHz: number): bigint {
  return (UNITS_PER_SECOND << 64n) / BigInt(counterHz);
}

/** ReferenceTime = ((TSC * scale) >> 64) + offset. */
export function tellReferenceTime(vm: Vm): void {
  const { memory } = vm.engine;
  const register = vm.hyperv.vm.referenceTsc;
  const page = register & ~0xfffn;
  if ((register & PAGE_ENABLED) === 0n) return;
  if (page + BigInt(PAGE_BYTES) > BigInt(memory.base + memory.bytes) || page < BigInt(memory.base)) return;
  vm.hyperv.vm.referenceClockNs = BigInt(vm.clockOffsetNs);
  const scale = referenceScale(TSC_HZ);
  const counter = vm.timeStampOf(0).at(vm.guestTimeNs);
  const offset = referenceTime(vm) - ((counter * scale) >> 64n);
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, FIRST_SEQUENCE, true);
  view.setBigUint64(8, scale, true);
  view.setBigInt64(16, offset, true);
  memory.write(Number(page), new Uint8Array(view.buffer));
}
