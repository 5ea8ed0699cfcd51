/** The synthetic interrupt controller and its timers: Hypervisor Top-Level Functional Specification, "Virtual Interrupts and Timers". */
import { Delivery } from "../irqchip/apic-registers.js";
import { isInRam } from "../paravirtual.js";
import type { Vm } from "../vm.js";
import { HypervMsr, SINT_COUNT, SINT_MASKED, STIMER_COUNT, type SyntheticTimer } from "./registers.js";
import { referenceTime, UNIT_NS } from "./reference-time.js";

const ENABLED = 1n;
const SINT_POLLING = 1n << 18n;
const SINT_VECTOR = 0xffn;
const LOWEST_VECTOR = 16n;
/** Bytes of a message's slot, and of its page before the payload: type, size, flags, reserved, sender. */
const MESSAGE_BYTES = 256;
const MESSAGE_PENDING = 1;
const TIMER_EXPIRED = 0x8000_0010;
const TIMER_PAYLOAD_BYTES = 24;

const TimerConfig = { enable: 1n, periodic: 2n, lazy: 4n, autoEnable: 8n, direct: 1n << 12n } as const;
const NEVER = -1;

/** SINTx: a vector below 16 that is not masked can't be. False: #GP. */
export function writeSint(vm: Vm, index: number, value: bigint): boolean {
  const vector = value & SINT_VECTOR;
  if (vector < LOWEST_VECTOR && (value & (SINT_MASKED | SINT_POLLING)) === 0n) return false;
  vm.hyperv.of(vm.current).sints[index] = value;
  return true;
}

/** Where the SINT is masked nothing happens. */
export function raiseSint(vm: Vm, vcpu: number, index: number): void {
  const value = vm.hyperv.of(vcpu).sints[index] ?? SINT_MASKED;
  if ((value & SINT_MASKED) !== 0n || index >= SINT_COUNT) return;
  interrupt(vm, vcpu, Number(value & SINT_VECTOR));
}

function interrupt(vm: Vm, vcpu: number, vector: number): void {
  vm.irqchip.send({ vector, delivery: Delivery.fixed, isLogical: false, destination: vcpu, isWide: true });
}

/** Writes a message into its slot and interrupts. False: the slot is taken, and its owner is told that one waits. */
function deliver(vm: Vm, vcpu: number, sint: number, message: Uint8Array): boolean {
  const { memory } = vm.engine;
  const { messagePage, control } = vm.hyperv.of(vcpu);
  const slot = (messagePage & ~0xfffn) + BigInt(sint * MESSAGE_BYTES);
  if ((control & ENABLED) === 0n || (messagePage & ENABLED) === 0n || !isInRam(memory, slot, MESSAGE_BYTES))
    return true;
  const head = memory.read(Number(slot), 6);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint32(0, true) !== 0) {
    memory.write(Number(slot) + 5, Uint8Array.of(view.getUint8(5) | MESSAGE_PENDING));
    return false;
  }
  memory.write(Number(slot), message);
  raiseSint(vm, vcpu, sint);
  return true;
}

/** EOM, or a page or slot that has become usable: messages that waited are tried again. */
export function deliverPending(vm: Vm, vcpu: number): void {
  vm.hyperv.of(vcpu).timers.forEach((timer, index) => {
    if (timer.isPending) tell(vm, vcpu, index, timer);
  });
}

// Timers

export function timerOf(msr: number): { readonly index: number; readonly isConfig: boolean } | undefined {
  const at = msr - HypervMsr.HV_X64_MSR_STIMER0_CONFIG;
  return at >= 0 && at < 2 * STIMER_COUNT ? { index: at >> 1, isConfig: (at & 1) === 0 } : undefined;
}

function sintOf({ config }: SyntheticTimer): number {
  return Number((config >> 16n) & 0xfn);
}

export function isDirect(config: bigint): boolean {
  return (config & TimerConfig.direct) !== 0n;
}

export function writeTimerConfig(vm: Vm, index: number, value: bigint): boolean {
  const timer = vm.hyperv.of(vm.current).timers[index];
  if (timer === undefined) return false;
  const wasEnabled = (timer.config & TimerConfig.enable) !== 0n;
  const hasNoSint = !isDirect(value) && ((value >> 16n) & 0xfn) === 0n;
  timer.config = wasEnabled && hasNoSint ? value & ~TimerConfig.enable : value;
  restart(vm, timer);
  return true;
}

/** `isGuests`: 0 disables the timer, and another count enables one that asks for that. */
export function writeTimerCount(vm: Vm, index: number, value: bigint, isGuests: boolean): boolean {
  const timer = vm.hyperv.of(vm.current).timers[index];
  if (timer === undefined) return false;
  timer.count = value;
  if (isGuests && value === 0n) timer.config &= ~TimerConfig.enable;
  else if (isGuests && (timer.config & TimerConfig.autoEnable) !== 0n) timer.config |= TimerConfig.enable;
  restart(vm, timer);
  return true;
}

/** A periodic one counts from now on, another one has a moment of reference time. */
function restart(vm: Vm, timer: SyntheticTimer): void {
  timer.isPending = false;
  timer.nextNs = NEVER;
  if ((timer.config & TimerConfig.enable) === 0n || timer.count === 0n) return;
  const isPeriodic = (timer.config & TimerConfig.periodic) !== 0n;
  const wait = isPeriodic ? timer.count : timer.count - referenceTime(vm);
  // By whole units of reference time, whose clock may have been moved.
  const now = BigInt(vm.guestTimeNs - (vm.guestTimeNs % UNIT_NS));
  const at = now + wait * BigInt(UNIT_NS);
  if (at <= BigInt(Number.MAX_SAFE_INTEGER)) timer.nextNs = Math.max(Number(at), vm.guestTimeNs);
}

/** Guest time at which the first timer expires. */
export function timersDeadlineNs(vm: Vm): number | undefined {
  let first: number | undefined;
  for (const { timers } of vm.hyperv.vcpus)
    for (const { nextNs } of timers) if (nextNs !== NEVER && (first === undefined || nextNs < first)) first = nextNs;
  return first;
}

/** Lets time come to now. */
export function advanceTimers(vm: Vm): void {
  vm.hyperv.vcpus.forEach(({ timers }, vcpu) => {
    timers.forEach((timer, index) => {
      if (timer.nextNs !== NEVER && timer.nextNs <= vm.guestTimeNs) expire(vm, vcpu, index, timer);
    });
  });
}

function expire(vm: Vm, vcpu: number, index: number, timer: SyntheticTimer): void {
  const period = Number(timer.count) * UNIT_NS;
  if ((timer.config & TimerConfig.periodic) !== 0n)
    timer.nextNs += period * (Math.floor((vm.guestTimeNs - timer.nextNs) / period) + 1);
  else {
    timer.nextNs = NEVER;
    timer.config &= ~TimerConfig.enable;
  }
  tell(vm, vcpu, index, timer);
}

function tell(vm: Vm, vcpu: number, index: number, timer: SyntheticTimer): void {
  if (isDirect(timer.config)) {
    interrupt(vm, vcpu, Number((timer.config >> 4n) & 0xffn));
    return;
  }
  timer.isPending = !deliver(vm, vcpu, sintOf(timer), expiryMessage(vm, index, timer));
}

function expiryMessage(vm: Vm, index: number, timer: SyntheticTimer): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 + TIMER_PAYLOAD_BYTES));
  view.setUint32(0, TIMER_EXPIRED, true);
  view.setUint8(4, TIMER_PAYLOAD_BYTES);
  view.setUint32(16, index, true);
  const now = referenceTime(vm);
  view.setBigUint64(24, timer.nextNs === NEVER ? timer.count : now, true);
  view.setBigUint64(32, now, true);
  return new Uint8Array(view.buffer);
}
