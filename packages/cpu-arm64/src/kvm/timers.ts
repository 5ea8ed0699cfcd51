/**
 * The generic timers of all vCPUs (Arm ARM D11): a counter that follows guest time, and for each vCPU the
 * virtual and the physical EL1 timer. Both counters start at 0 with the VM: CNTVOFF_EL2 is zero.
 */
import { GUEST_NANOSECONDS_PER_UNIT } from "@hvjournal/core";
import { selectorOf } from "../isa/system-registers.js";

export const COUNTER_HZ = 62_500_000;
export const NANOSECONDS_PER_TICK = 16;

/** PPIs that KVM wires the timers to. */
export const VIRTUAL_TIMER_INTID = 27;
export const PHYSICAL_TIMER_INTID = 30;

/** CNTx_CTL_EL0. */
const Control = { enable: 1, mask: 2, status: 4 } as const;
const U64 = 0xffff_ffff_ffff_ffffn;
/** Compare values past this many ticks lie beyond any icount (2^53 ns). */
const TICKS_MAX: bigint = BigInt(Number.MAX_SAFE_INTEGER) / BigInt(NANOSECONDS_PER_TICK);

export type TimerKind = "virtual" | "physical";
export const TIMER_KINDS: readonly TimerKind[] = ["virtual", "physical"];

export function counterAt(guestTimeNs: number): number {
  return Math.floor(guestTimeNs / NANOSECONDS_PER_TICK);
}

/** One timer. Its output is a function of its registers and of the counter. */
export class Timer {
  /** ENABLE and IMASK of CNTx_CTL_EL0. */
  control = 0;
  compareValue = 0n;
  /**
   * The output's level when it was last looked at while its vCPU ran, or was put back to run. A rise
   * between two looks is the physical interrupt that makes the vCPU exit.
   */
  seenLevel: 0 | 1 = 0;

  level(counter: number): 0 | 1 {
    return this.control === Control.enable && BigInt(counter) >= this.compareValue ? 1 : 0;
  }

  readControl(counter: number): number {
    const met = (this.control & Control.enable) !== 0 && BigInt(counter) >= this.compareValue;
    return this.control | (met ? Control.status : 0);
  }

  writeControl(value: bigint): void {
    this.control = Number(value) & (Control.enable | Control.mask);
  }

  /** CNTx_TVAL_EL0: a signed 32-bit distance from now. */
  readTimerValue(counter: number): bigint {
    return BigInt.asUintN(32, this.compareValue - BigInt(counter));
  }

  writeTimerValue(counter: number, value: bigint): void {
    this.compareValue = (BigInt(counter) + BigInt.asIntN(32, value)) & U64;
  }

  /** Guest time at which the output rises, unless it is high already or never will be. Nanoseconds. */
  deadlineNs(counter: number): number | undefined {
    if (this.control !== Control.enable || this.compareValue > TICKS_MAX || BigInt(counter) >= this.compareValue)
      return undefined;
    return Number(this.compareValue) * NANOSECONDS_PER_TICK;
  }
}

export class VcpuTimers {
  readonly virtual: Timer = new Timer();
  readonly physical: Timer = new Timer();

  of(kind: TimerKind): Timer {
    return kind === "virtual" ? this.virtual : this.physical;
  }

  /** Guest time at which the first output rises. */
  deadlineNs(counter: number): number | undefined {
    const first = this.virtual.deadlineNs(counter);
    const second = this.physical.deadlineNs(counter);
    if (first === undefined || second === undefined) return first ?? second;
    return Math.min(first, second);
  }
}

/** Units from `icount` on until guest time reaches `deadlineNs`, given the idle time that was skipped so far. */
export function unitsUntil(deadlineNs: number, icount: number, skippedNs: number): number {
  return Math.max(0, Math.ceil((deadlineNs - skippedNs) / GUEST_NANOSECONDS_PER_UNIT) - icount);
}

type TimerRegister = "control" | "compare" | "timer";

const REGISTERS: ReadonlyMap<number, { readonly kind: TimerKind; readonly register: TimerRegister }> = new Map([
  [selectorOf(3, 3, 14, 2, 0), { kind: "physical", register: "timer" }],
  [selectorOf(3, 3, 14, 2, 1), { kind: "physical", register: "control" }],
  [selectorOf(3, 3, 14, 2, 2), { kind: "physical", register: "compare" }],
  [selectorOf(3, 3, 14, 3, 0), { kind: "virtual", register: "timer" }],
  [selectorOf(3, 3, 14, 3, 1), { kind: "virtual", register: "control" }],
  [selectorOf(3, 3, 14, 3, 2), { kind: "virtual", register: "compare" }],
]);

const CNTFRQ_EL0: number = selectorOf(3, 3, 14, 0, 0);
const CNTPCT_EL0: number = selectorOf(3, 3, 14, 0, 1);
const CNTVCT_EL0: number = selectorOf(3, 3, 14, 0, 2);

export function isTimerRegister(selector: number): boolean {
  return selector === CNTFRQ_EL0 || selector === CNTPCT_EL0 || selector === CNTVCT_EL0 || REGISTERS.has(selector);
}

/** KVM without VHE leaves CNTHCTL_EL2.EL1PCEN clear: the physical timer traps, the counters and the virtual timer do not. */
export function timerRegisterTraps(selector: number): boolean {
  return REGISTERS.get(selector)?.kind === "physical";
}

/** `isTimerRegister` holds for `selector`. */
export function readTimerRegister(timers: VcpuTimers, selector: number, guestTimeNs: number): bigint {
  const counter = counterAt(guestTimeNs);
  const found = REGISTERS.get(selector);
  if (found === undefined) return BigInt(selector === CNTFRQ_EL0 ? COUNTER_HZ : counter);
  const timer = timers.of(found.kind);
  switch (found.register) {
    case "control":
      return BigInt(timer.readControl(counter));
    case "compare":
      return timer.compareValue;
    case "timer":
      return timer.readTimerValue(counter);
    default:
      return found.register satisfies never;
  }
}

/** False: the register can't be written at EL1 or EL0. */
export function writeTimerRegister(timers: VcpuTimers, selector: number, guestTimeNs: number, value: bigint): boolean {
  const found = REGISTERS.get(selector);
  if (found === undefined) return false;
  const timer = timers.of(found.kind);
  if (found.register === "control") timer.writeControl(value);
  else if (found.register === "compare") timer.compareValue = value & U64;
  else timer.writeTimerValue(counterAt(guestTimeNs), value);
  return true;
}
