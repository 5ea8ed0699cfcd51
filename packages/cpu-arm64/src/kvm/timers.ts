/**
 * The generic timers of all vCPUs (Arm ARM D11): a counter that follows guest time, and for each vCPU the
 * virtual and the physical EL1 timer. Both counters start at 0 with the VM: CNTVOFF_EL2 is zero.
 */
import { GUEST_NANOSECONDS_PER_UNIT } from "@hvjournal/core";
import { selectorOf } from "../isa/system-registers.js";
import { RegisterValue } from "./register-value.js";

export const COUNTER_HZ = 62_500_000;
export const NANOSECONDS_PER_TICK = 16;

/** PPIs that KVM wires the timers to. */
export const VIRTUAL_TIMER_INTID = 27;
export const PHYSICAL_TIMER_INTID = 30;

/** CNTx_CTL_EL0. */
const Control = { enable: 1, mask: 2, status: 4 } as const;
const U64 = 0xffff_ffff_ffff_ffffn;
/** Compare values past this many ticks lie beyond any icount (2^53 ns). */
const TICKS_MAX: number = Math.floor(Number.MAX_SAFE_INTEGER / NANOSECONDS_PER_TICK);

export type TimerKind = "virtual" | "physical";
export const TIMER_KINDS: readonly TimerKind[] = ["virtual", "physical"];

export function counterAt(guestTimeNs: number): number {
  return Math.floor(guestTimeNs / NANOSECONDS_PER_TICK);
}

/** One timer. Its output is a function of its registers and of the counter. */
export class Timer {
  /** ENABLE and IMASK of CNTx_CTL_EL0. */
  control = 0;
  readonly #compare = new RegisterValue();
  /** The compare value in ticks; Infinity when no counter reaches it. */
  #compareTicks = 0;
  /**
   * The output's level when it was last looked at while its vCPU ran, or was put back to run. A rise
   * between two looks is the physical interrupt that makes the vCPU exit.
   */
  seenLevel: 0 | 1 = 0;

  get compareValue(): bigint {
    return this.#compare.bigint;
  }

  set compareValue(value: bigint) {
    this.#compare.setBigint(value);
    this.#noteCompare();
  }

  #noteCompare(): void {
    const ticks = this.#compare.number;
    this.#compareTicks = ticks > TICKS_MAX ? Infinity : ticks;
  }

  level(counter: number): 0 | 1 {
    return this.control === Control.enable && counter >= this.#compareTicks ? 1 : 0;
  }

  /** Takes note of the output; true: it has risen since the last look. */
  takeRise(counter: number): boolean {
    const level = this.level(counter);
    const rose = level > this.seenLevel;
    this.seenLevel = level;
    return rose;
  }

  /** Whether the output is high or will be, if nobody writes the registers. */
  get canRise(): boolean {
    return this.control === Control.enable;
  }

  readControl(counter: number): number {
    const met = (this.control & Control.enable) !== 0 && counter >= this.#compareTicks;
    return this.control | (met ? Control.status : 0);
  }

  writeControl(value: number): void {
    this.control = value & (Control.enable | Control.mask);
  }

  readCompare(into: RegisterValue): void {
    into.set(this.#compare.low, this.#compare.high);
  }

  writeCompare(value: RegisterValue): void {
    this.#compare.set(value.low, value.high);
    this.#noteCompare();
  }

  /** CNTx_TVAL_EL0: a signed 32-bit distance from now. */
  readTimerValue(counter: number): number {
    return (this.#compare.low - (counter >>> 0)) >>> 0;
  }

  /** `value`: 32 bits. */
  writeTimerValue(counter: number, value: number): void {
    const ticks = counter + (value | 0);
    // Before the VM began: a compare value near 2^64.
    if (ticks < 0) this.compareValue = BigInt(ticks) & U64;
    else {
      this.#compare.setNumber(ticks);
      this.#noteCompare();
    }
  }

  /** Guest time at which the output rises, unless it is high already or never will be. Nanoseconds. */
  deadlineNs(counter: number): number | undefined {
    if (this.control !== Control.enable || this.#compareTicks === Infinity || counter >= this.#compareTicks)
      return undefined;
    return this.#compareTicks * NANOSECONDS_PER_TICK;
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

/** CNTFRQ, a counter, or a register of one of the timers. `counter` is what the counters show at the access. */
export interface TimerRegister {
  /** Whose register it is; absent: a counter's. */
  readonly kind?: TimerKind;
  read(timers: VcpuTimers, counter: number, into: RegisterValue): void;
  /** Absent: can't be written at EL1 or EL0. */
  readonly write?: (timers: VcpuTimers, counter: number, value: RegisterValue) => void;
}

const readCounter: TimerRegister = {
  read(_timers, counter, into) {
    into.setNumber(counter);
  },
};

const readFrequency: TimerRegister = {
  read(_timers, _counter, into) {
    into.setNumber(COUNTER_HZ);
  },
};

function timerRegisters(kind: TimerKind, crm: number): (readonly [number, TimerRegister])[] {
  const timerValue: TimerRegister = {
    kind,
    read(timers, counter, into) {
      into.setNumber(timers.of(kind).readTimerValue(counter));
    },
    write(timers, counter, value) {
      timers.of(kind).writeTimerValue(counter, value.low);
    },
  };
  const control: TimerRegister = {
    kind,
    read(timers, counter, into) {
      into.setNumber(timers.of(kind).readControl(counter));
    },
    write(timers, _counter, value) {
      timers.of(kind).writeControl(value.low);
    },
  };
  const compare: TimerRegister = {
    kind,
    read(timers, _counter, into) {
      timers.of(kind).readCompare(into);
    },
    write(timers, _counter, value) {
      timers.of(kind).writeCompare(value);
    },
  };
  return [timerValue, control, compare].map((register, op2) => [selectorOf(3, 3, 14, crm, op2), register]);
}

const REGISTERS: ReadonlyMap<number, TimerRegister> = new Map([
  [selectorOf(3, 3, 14, 0, 0), readFrequency],
  [selectorOf(3, 3, 14, 0, 1), readCounter],
  [selectorOf(3, 3, 14, 0, 2), readCounter],
  ...timerRegisters("physical", 2),
  ...timerRegisters("virtual", 3),
]);

export function timerRegisterAt(selector: number): TimerRegister | undefined {
  return REGISTERS.get(selector);
}

/** What KVM_SET_ONE_REG sets (kvm_arm_timer_set_reg): control and compare values. The counters follow guest time. */
const SETTABLE: ReadonlySet<number> = new Set(
  [2, 3].flatMap((crm) => [1, 2].map((op2) => selectorOf(3, 3, 14, crm, op2))),
);

export function isSettable(selector: number): boolean {
  return SETTABLE.has(selector);
}

/** KVM without VHE leaves CNTHCTL_EL2.EL1PCEN clear: the physical timer traps, the counters and the virtual timer do not. */
export function timerRegisterTraps(selector: number): boolean {
  return REGISTERS.get(selector)?.kind === "physical";
}
