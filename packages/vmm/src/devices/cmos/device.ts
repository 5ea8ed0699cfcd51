/**
 * A PC's real-time clock and CMOS memory (MC146818): the recorded wall clock base plus guest time, one alarm, an interrupt
 * each second, and a periodic one. What happened since the guest last looked is found when it looks, or at a deadline.
 */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { TakeSection } from "../mmio-device.js";
import type { PortDevice } from "../port-device.js";
import { calendarTime } from "./calendar.js";
import {
  ALARM_ANY,
  ClockControl,
  CMOS_BYTES,
  CmosPort,
  CmosRegister,
  INDEX_MASK,
  INTERRUPT_BITS,
  INTERRUPT_REQUEST,
  RATE_MASK,
  REGISTER_A_BITS,
  REGISTER_A_RESET,
  REGISTER_B_BITS,
  VALID_RAM,
} from "./registers.js";
import { cmosFormat, type CmosState } from "./state.js";
import { decodeHour, decodeNumber, secondFromRegisters, TIME_REGISTERS, timeRegisters } from "./time-registers.js";

const NAME = "cmos";
const SECTION = `vmm.${NAME}`;
const NANOSECONDS_PER_SECOND = 1_000_000_000;
const SECONDS_PER_DAY = 86_400;
const OSCILLATOR_HERTZ = 32_768n;
const FLOATING = 0xff;

export class Cmos implements PortDevice {
  readonly name = NAME;
  readonly offsets = Object.values(CmosPort);
  readonly #irqLine: number;
  #state: CmosState;

  /** `baseNs`: wall clock at guest time 0, nanoseconds since 1970. `memory`: what firmware left in it, by register. */
  constructor(irqLine: number, baseNs: bigint, memory: ReadonlyMap<number, number>) {
    this.#irqLine = irqLine;
    this.#state = {
      baseNs,
      offsetSeconds: 0,
      offsetIsNegative: false,
      index: 0,
      held: [],
      a: REGISTER_A_RESET,
      b: ClockControl.hours24,
      occurred: 0,
      seenNs: 0,
      memory: Uint8Array.from({ length: CMOS_BYTES }, (_, register) => memory.get(register) ?? 0),
    };
  }

  /** When the next enabled interrupt comes; one that already asks needs no other. */
  get deadlineNs(): number | undefined {
    const { b, seenNs } = this.#state;
    if (this.#interruptLevel() === 1) return undefined;
    const next = [
      b & ClockControl.periodic ? this.#nextPeriodNs(seenNs) : undefined,
      b & ClockControl.updateEnded && this.#runs() ? this.#nsOfSecond(this.#second(seenNs) + 1) : undefined,
      b & ClockControl.alarm && this.#runs() ? this.#nextAlarmNs(seenNs) : undefined,
    ].filter((ns) => ns !== undefined);
    return next.length === 0 ? undefined : Math.min(...next);
  }

  reachDeadline(port: VmmPort): void {
    this.#changing(port, () => undefined);
  }

  read(offset: number, port: VmmPort): number {
    if (offset === CmosPort.index) return FLOATING;
    const state = this.#state;
    switch (state.index) {
      case CmosRegister.a:
        return state.a;
      case CmosRegister.b:
        return state.b;
      case CmosRegister.c:
        return this.#takeOccurred(port);
      case CmosRegister.d:
        return VALID_RAM;
      default: {
        const field = TIME_REGISTERS.indexOf(state.index);
        return (field === -1 ? state.memory[state.index] : this.#timeRegisters(port)[field]) ?? 0;
      }
    }
  }

  write(offset: number, value: number, port: VmmPort): void {
    if (offset === CmosPort.index) this.#state.index = value & INDEX_MASK;
    else this.#changing(port, () => this.#writeRegister(value, port));
  }

  save(): StateSection[] {
    return [saveSection(cmosFormat, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(cmosFormat, take(SECTION));
  }

  #writeRegister(value: number, port: VmmPort): void {
    const state = this.#state;
    switch (state.index) {
      case CmosRegister.a:
        state.a = value & REGISTER_A_BITS;
        break;
      case CmosRegister.b:
        this.#setControl(value & REGISTER_B_BITS, port);
        break;
      case CmosRegister.c:
      case CmosRegister.d:
        break;
      default: {
        const field = TIME_REGISTERS.indexOf(state.index);
        if (field === -1) state.memory[state.index] = value;
        else this.#setTimeRegister(field, value, port);
      }
    }
  }

  /** While SET stops the clock its registers are plain memory; then it goes on from what they say. */
  #setControl(value: number, port: VmmPort): void {
    const state = this.#state;
    const held = this.#timeRegisters(port);
    const before = state.b;
    state.b = value & ClockControl.set ? value & ~ClockControl.updateEnded : value;
    if (value & ClockControl.set) state.held = held;
    else if (before & ClockControl.set) {
      state.held = [];
      this.#setClock(secondFromRegisters(held, value), port);
    }
  }

  #setTimeRegister(field: number, value: number, port: VmmPort): void {
    const registers = this.#timeRegisters(port).with(field, value);
    if (this.#runs()) this.#setClock(secondFromRegisters(registers, this.#state.b), port);
    else this.#state.held = registers;
  }

  #setClock(second: number, port: VmmPort): void {
    const offset = second - this.#wallSecond(port.guestTimeNs);
    this.#state.offsetSeconds = Math.abs(offset);
    this.#state.offsetIsNegative = offset < 0;
  }

  #timeRegisters(port: VmmPort): number[] {
    const { held, b } = this.#state;
    return this.#runs() ? timeRegisters(this.#second(port.guestTimeNs), b) : held;
  }

  #runs(): boolean {
    return (this.#state.b & ClockControl.set) === 0;
  }

  /** Reading register C is how a guest takes its interrupts. */
  #takeOccurred(port: VmmPort): number {
    let flags = 0;
    this.#changing(port, () => {
      flags = this.#state.occurred | (this.#interruptLevel() === 1 ? INTERRUPT_REQUEST : 0);
      this.#state.occurred = 0;
    });
    return flags;
  }

  /** Finds what has happened since `seenNs`. */
  #advance(nowNs: number): void {
    const state = this.#state;
    const { seenNs } = state;
    if (nowNs <= seenNs) return;
    const nextPeriodNs = this.#nextPeriodNs(seenNs);
    if (nextPeriodNs !== undefined && nextPeriodNs <= nowNs) state.occurred |= ClockControl.periodic;
    if (this.#runs()) {
      if (this.#second(nowNs) > this.#second(seenNs)) state.occurred |= ClockControl.updateEnded;
      const alarmNs = this.#nextAlarmNs(seenNs);
      if (alarmNs !== undefined && alarmNs <= nowNs) state.occurred |= ClockControl.alarm;
    }
    state.seenNs = nowNs;
  }

  #wallSecond(guestTimeNs: number): number {
    return Number((this.#state.baseNs + BigInt(guestTimeNs)) / BigInt(NANOSECONDS_PER_SECOND));
  }

  /** What the clock shows. */
  #second(guestTimeNs: number): number {
    return this.#wallSecond(guestTimeNs) + this.#offset();
  }

  #offset(): number {
    const { offsetSeconds, offsetIsNegative } = this.#state;
    return offsetIsNegative ? -offsetSeconds : offsetSeconds;
  }

  /** Guest time at which the clock comes to a second. */
  #nsOfSecond(second: number): number {
    return Number(BigInt(second - this.#offset()) * BigInt(NANOSECONDS_PER_SECOND) - this.#state.baseNs);
  }

  /** Rates 1 and 2 are those of 8 and 9 (data sheet, table 5). */
  #nextPeriodNs(afterNs: number): number | undefined {
    const rate = this.#state.a & RATE_MASK;
    if (rate === 0) return undefined;
    const ticks = 1n << BigInt((rate <= 2 ? rate + 7 : rate) - 1);
    const ns = ticks * BigInt(NANOSECONDS_PER_SECOND);
    const past = (BigInt(afterNs) * OSCILLATOR_HERTZ) / ns;
    return Number(((past + 1n) * ns + OSCILLATOR_HERTZ - 1n) / OSCILLATOR_HERTZ);
  }

  /** The first second behind `afterNs`, within a day, at which every alarm register matches. */
  #nextAlarmNs(afterNs: number): number | undefined {
    const { memory, b } = this.#state;
    const wanted = (register: number, decode: (value: number, control: number) => number): number | undefined => {
      const value = memory[register] ?? 0;
      return value >= ALARM_ANY ? undefined : decode(value, b);
    };
    const alarm = {
      hour: wanted(CmosRegister.hoursAlarm, decodeHour),
      minute: wanted(CmosRegister.minutesAlarm, decodeNumber),
      second: wanted(CmosRegister.secondsAlarm, decodeNumber),
    };
    const from = this.#second(afterNs) + 1;
    const second = nextMatch(from, alarm);
    return second === undefined ? undefined : this.#nsOfSecond(second);
  }

  #interruptLevel(): 0 | 1 {
    return this.#state.occurred & this.#state.b & INTERRUPT_BITS ? 1 : 0;
  }

  #changing(port: VmmPort, change: () => void): void {
    const before = this.#interruptLevel();
    this.#advance(port.guestTimeNs);
    change();
    const after = this.#interruptLevel();
    if (after !== before) port.setIrqLine(this.#irqLine, after);
  }
}

interface DailyTime {
  /** Undefined: any. */
  readonly hour: number | undefined;
  readonly minute: number | undefined;
  readonly second: number | undefined;
}

/** Steps over whole hours and minutes that can't match. Undefined: no second of a day does. */
function nextMatch(from: number, { hour, minute, second }: DailyTime): number | undefined {
  const end = from + SECONDS_PER_DAY;
  let at = from;
  while (at < end) {
    const time = calendarTime(at);
    if (hour !== undefined && time.hour !== hour) at += 3600 - time.minute * 60 - time.second;
    else if (minute !== undefined && time.minute !== minute) at += 60 - time.second;
    else if (second !== undefined && time.second !== second) at += 1;
    else return at;
  }
  return undefined;
}
