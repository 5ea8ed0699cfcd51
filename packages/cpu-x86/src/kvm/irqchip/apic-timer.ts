/** The local APIC's timer: one-shot, periodic, TSC deadline. Intel SDM volume 3, 11.5.4. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";
import type { TimeStampCounter } from "../time-stamp-counter.js";

/** The timer counts a bus of 1 GHz, as KVM's: CPUID's leaf 0x15 gives the same as the crystal's frequency. */
export const APIC_BUS_HZ = 1_000_000_000;
const NANOSECONDS_PER_CYCLE = 1_000_000_000 / APIC_BUS_HZ;

export const TimerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

const NEVER = -1;

export class ApicTimer {
  mode = TimerMode.oneShot as number;
  /** Bits 3, 1 and 0 of the divide configuration register. */
  divideConfiguration = 0;
  initialCount = 0;
  /** IA32_TSC_DEADLINE; 0: not armed. */
  deadline = 0n;
  /** Guest time at which it expires next; `NEVER`. */
  #nextNs = NEVER;

  get #divisor(): number {
    const exponent = ((this.divideConfiguration & 3) | ((this.divideConfiguration >> 1) & 4)) + 1;
    return 2 ** (exponent & 7);
  }

  get #cycleNs(): number {
    return this.#divisor * NANOSECONDS_PER_CYCLE;
  }

  /** Guest time at which it expires next. */
  get nextNs(): number | undefined {
    return this.#nextNs === NEVER ? undefined : this.#nextNs;
  }

  reset(): void {
    this.mode = TimerMode.oneShot;
    this.divideConfiguration = 0;
    this.initialCount = 0;
    this.deadline = 0n;
    this.#nextNs = NEVER;
  }

  /** A change to or from TSC deadline disarms it; one between the others leaves the count as it is. */
  setMode(mode: number): void {
    if (mode === this.mode) return;
    const wasDeadline = this.mode === TimerMode.tscDeadline;
    this.mode = mode;
    if (!wasDeadline && mode !== TimerMode.tscDeadline) return;
    this.initialCount = 0;
    this.deadline = 0n;
    this.#nextNs = NEVER;
  }

  setInitialCount(count: number, now: number): void {
    if (this.mode === TimerMode.tscDeadline) return;
    this.initialCount = count;
    this.#nextNs = count === 0 ? NEVER : now + count * this.#cycleNs;
  }

  /** The count goes on from where it is, at the new pace. */
  setDivideConfiguration(value: number, now: number): void {
    const left = this.currentCount(now);
    this.divideConfiguration = value & 0xb;
    if (this.#nextNs !== NEVER && this.mode !== TimerMode.tscDeadline) this.#nextNs = now + left * this.#cycleNs;
  }

  currentCount(now: number): number {
    if (this.#nextNs === NEVER || this.mode === TimerMode.tscDeadline) return 0;
    return Math.ceil(Math.max(0, this.#nextNs - now) / this.#cycleNs);
  }

  /** Of no effect in the other modes. */
  setDeadline(value: bigint, counter: TimeStampCounter, now: number): void {
    if (this.mode !== TimerMode.tscDeadline) return;
    this.deadline = value;
    this.followCounter(counter, now);
  }

  /** The time-stamp counter was written: a deadline is a value of it. */
  followCounter(counter: TimeStampCounter, now: number): void {
    if (this.mode !== TimerMode.tscDeadline) return;
    const time = this.deadline === 0n ? Infinity : counter.timeOf(this.deadline);
    this.#nextNs = time === Infinity ? NEVER : Math.max(now, time);
  }

  /** Lets time come to `now`; true: it has expired. */
  advance(now: number): boolean {
    if (this.#nextNs === NEVER || this.#nextNs > now) return false;
    const period = this.initialCount * this.#cycleNs;
    if (this.mode === TimerMode.periodic && period > 0)
      this.#nextNs += period * (Math.floor((now - this.#nextNs) / period) + 1);
    else {
      this.#nextNs = NEVER;
      this.deadline = 0n;
    }
    return true;
  }

  plain(): PlainValue {
    const { mode, divideConfiguration, initialCount, deadline } = this;
    return { mode, divideConfiguration, initialCount, deadline, nextNs: this.#nextNs };
  }

  restore(fields: PayloadFields): void {
    this.mode = fields.number("mode");
    this.divideConfiguration = fields.number("divideConfiguration");
    this.initialCount = fields.number("initialCount");
    this.deadline = fields.bigint("deadline");
    this.#nextNs = fields.number("nextNs");
  }
}
