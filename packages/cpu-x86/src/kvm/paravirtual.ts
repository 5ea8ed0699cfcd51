/** What KVM's own MSRs hold, and the structures in guest memory that they name: Documentation/virt/kvm/x86/msr.rst. */
import type { GuestMemory } from "@hvjournal/core";
import { referenceClockMoved } from "./hyperv/reference-time.js";
import { TSC_HZ } from "./time-stamp-counter.js";
import type { Vm } from "./vm.js";

const ENABLED = 1n;
/** struct pvclock_vcpu_time_info. */
const CLOCK_BYTES = 32;
const CLOCK_STABLE = 1;
/** struct pvclock_wall_clock: version, seconds, nanoseconds. */
const WALL_CLOCK_BYTES = 12;
/** struct kvm_steal_time. */
const STEAL_BYTES = 64;

/** Whether a structure lies in RAM. */
export function isInRam(memory: GuestMemory, address: bigint, bytes: number): boolean {
  return address >= BigInt(memory.base) && address + BigInt(bytes) <= BigInt(memory.base + memory.bytes);
}

/** A version is odd while what follows is written; here nobody can look meanwhile, and it goes up by two. */
function nextVersion(memory: GuestMemory, address: number): number {
  const bytes = memory.read(address, 4);
  const before = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  return ((before | 1) + 1) >>> 0;
}

/** MSR_KVM_SYSTEM_TIME_NEW of the current vCPU. */
export function writeSystemTime(vm: Vm, value: bigint): boolean {
  vm.paravirtual.of(vm.current).systemTime = value;
  if ((value & ENABLED) !== 0n) tellSystemTime(vm);
  return true;
}

/** The clock: nanoseconds of guest time, by a factor on the time-stamp counter. */
export function tellSystemTime(vm: Vm, vcpu: number = vm.current): void {
  const { engine, guestTimeNs, clockNs } = vm;
  const { memory } = engine;
  const address = vm.paravirtual.of(vcpu).systemTime & ~ENABLED;
  if (!isInRam(memory, address, CLOCK_BYTES)) return;
  const view = new DataView(new ArrayBuffer(CLOCK_BYTES));
  view.setUint32(0, nextVersion(memory, Number(address)), true);
  view.setBigUint64(8, vm.timeStampOf(vcpu).at(guestTimeNs), true);
  view.setBigUint64(16, BigInt(clockNs), true);
  const { factor, shift } = clockScale(TSC_HZ);
  view.setUint32(24, factor, true);
  view.setInt8(28, shift);
  view.setUint8(29, CLOCK_STABLE);
  memory.write(Number(address), new Uint8Array(view.buffer));
}

/** KVM_SET_CLOCK: all that tells of the clock tells of the new one. Throws RangeError for a clock beyond 104 days. */
export function setClock(vm: Vm, ns: bigint): void {
  if (ns > BigInt(Number.MAX_SAFE_INTEGER))
    throw new RangeError(`a clock of ${ns} ns: up to ${Number.MAX_SAFE_INTEGER}`);
  vm.clockOffsetNs = Number(ns) - vm.guestTimeNs;
  for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++)
    if ((vm.paravirtual.of(vcpu).systemTime & ENABLED) !== 0n) tellSystemTime(vm, vcpu);
  referenceClockMoved(vm);
}

/** ns = ((ticks << shift) * factor) >> 32, with the largest factor below 2 ** 32 (kvm_get_time_scale). */
export function clockScale(hz: number): { readonly factor: number; readonly shift: number } {
  let ratio = 1_000_000_000 / hz;
  let shift = 0;
  while (ratio >= 1) {
    ratio /= 2;
    shift += 1;
  }
  while (ratio < 0.5) {
    ratio *= 2;
    shift -= 1;
  }
  return { factor: Math.floor(ratio * 2 ** 32), shift };
}

/** MSR_KVM_WALL_CLOCK_NEW: the wall clock at guest time 0, once. */
export function writeWallClock(vm: Vm, value: bigint): boolean {
  vm.paravirtual.wallClock = value;
  const { memory } = vm.engine;
  if (value === 0n || !isInRam(memory, value, WALL_CLOCK_BYTES)) return true;
  const start = vm.wallClockNs - BigInt(vm.guestTimeNs);
  const view = new DataView(new ArrayBuffer(WALL_CLOCK_BYTES));
  view.setUint32(0, nextVersion(memory, Number(value)), true);
  view.setUint32(4, Number(BigInt.asUintN(32, start / 1_000_000_000n)), true);
  view.setUint32(8, Number(start % 1_000_000_000n), true);
  memory.write(Number(value), new Uint8Array(view.buffer));
  return true;
}

/** MSR_KVM_STEAL_TIME: bits 5 to 1 are reserved. */
export function writeStealTime(vm: Vm, value: bigint): boolean {
  if ((value & 0x3en) !== 0n) return false;
  vm.paravirtual.of(vm.current).stealTime = value;
  if ((value & ENABLED) !== 0n) tellStolenTime(vm);
  return true;
}

const EOI_ALIGNMENT_MASK = 3n;
const EOI_BYTES = 4;

export function acceptsEoiPlace({ engine }: Vm, value: bigint): boolean {
  const address = value & ~ENABLED;
  if ((address & EOI_ALIGNMENT_MASK) !== 0n) return false;
  return (value & ENABLED) === 0n || isInRam(engine.memory, address, EOI_BYTES);
}

/** MSR_KVM_PV_EOI_EN (`paravirtual-eoi.ts`). False: #GP. */
export function writeEoiPlace(vm: Vm, value: bigint): boolean {
  if (!acceptsEoiPlace(vm, value)) return false;
  vm.irqchip.apicOf(vm.current).settleEnd();
  vm.paravirtual.of(vm.current).eoiEnable = value;
  return true;
}

/** Nanoseconds and a version; the flag that a vCPU is preempted is never seen set: who looks runs. */
export function tellStolenTime(vm: Vm): void {
  const { memory } = vm.engine;
  const { stealTime } = vm.paravirtual.of(vm.current);
  const address = stealTime & ~0x3fn;
  if ((stealTime & ENABLED) === 0n || !isInRam(memory, address, STEAL_BYTES)) return;
  const view = new DataView(new ArrayBuffer(12));
  view.setBigUint64(0, BigInt(vm.stolenTime.of(vm.current).stolenNs), true);
  view.setUint32(8, nextVersion(memory, Number(address) + 8), true);
  memory.write(Number(address), new Uint8Array(view.buffer));
}
