/** The interval timer of a PC: Intel 8254 datasheet; with port 0x61, whose bits gate and show the third counter. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";

export const PIT_PORTS: readonly number[] = [0x40, 0x41, 0x42, 0x43, 0x61];
export const PIT_HZ = 1_193_182;

const NANOSECONDS_PER_SECOND = 1_000_000_000;
const COUNTERS = 3;
const SPEAKER_COUNTER = 2;

/** Ticks of the 1.19 MHz clock up to a guest time. In two parts, which stay exact in 53 bits. */
function ticksAt(ns: number): number {
  const seconds = Math.floor(ns / NANOSECONDS_PER_SECOND);
  return seconds * PIT_HZ + Math.floor(((ns - seconds * NANOSECONDS_PER_SECOND) * PIT_HZ) / NANOSECONDS_PER_SECOND);
}

/** The first guest time at which `ticksAt` is this. */
function timeOfTick(tick: number): number {
  const seconds = Math.floor(tick / PIT_HZ);
  return seconds * NANOSECONDS_PER_SECOND + Math.ceil(((tick - seconds * PIT_HZ) * NANOSECONDS_PER_SECOND) / PIT_HZ);
}

/** What an access to the data port is about: bits 5 and 4 of the control word. */
const Access = { latch: 0, low: 1, high: 2, both: 3 } as const;

class Counter {
  /** The reload value: 1 to 65536; 0: none has been written since the mode was. */
  reload = 0;
  mode = 3;
  access = Access.both as number;
  isBcd = false;
  gate = true;
  /** Tick at which it began to count its present reload value. */
  startTick = 0;
  /** The low byte of a reload value whose high one is to come; -1: none. */
  writtenLow = -1;
  /** The next read gives the high byte. */
  readsHigh = false;
  /** A latched count, and a latched status; -1: none. */
  latched = -1;
  latchedStatus = -1;

  setControl(value: number, tick: number): void {
    const access = (value >> 4) & 3;
    if (access === Access.latch) return this.latchCount(tick);
    this.access = access;
    this.mode = (value >> 1) & 7;
    if (this.mode > 5) this.mode -= 4;
    this.isBcd = (value & 1) !== 0;
    this.reload = 0;
    this.writtenLow = -1;
    this.readsHigh = false;
    this.latched = -1;
  }

  latchCount(tick: number): void {
    if (this.latched < 0) this.latched = this.count(tick);
  }

  latchStatus(tick: number): void {
    if (this.latchedStatus >= 0) return;
    const isNull = this.reload === 0 ? 0x40 : 0;
    this.latchedStatus =
      (this.output(tick) << 7) | isNull | (this.access << 4) | (this.mode << 1) | (this.isBcd ? 1 : 0);
  }

  get isPeriodic(): boolean {
    return this.mode === 2 || this.mode === 3;
  }

  #elapsed(tick: number): number {
    return tick - this.startTick;
  }

  count(tick: number): number {
    if (this.reload === 0) return 0;
    const elapsed = this.#elapsed(tick);
    if (this.mode === 3) return this.reload - ((2 * elapsed) % this.reload);
    if (this.mode === 2) return this.reload - (elapsed % this.reload);
    return (this.reload - elapsed) & 0xffff;
  }

  /** OUT. */
  output(tick: number): 0 | 1 {
    if (this.reload === 0) return this.mode === 0 ? 0 : 1;
    const elapsed = this.#elapsed(tick);
    switch (this.mode) {
      case 0:
      case 1:
        return elapsed >= this.reload ? 1 : 0;
      case 2:
        return elapsed % this.reload === this.reload - 1 ? 0 : 1;
      case 3:
        return elapsed % this.reload < Math.ceil(this.reload / 2) ? 1 : 0;
      default:
        return elapsed === this.reload ? 0 : 1;
    }
  }

  setReload(value: number, tick: number): void {
    this.reload = value === 0 ? 0x1_0000 : value;
    this.startTick = tick;
  }

  /** A rising gate starts modes 1, 2, 3 and 5 anew. */
  setGate(gate: boolean, tick: number): void {
    if (gate && !this.gate && this.mode !== 0 && this.mode !== 4) this.startTick = tick;
    this.gate = gate;
  }

  write(value: number, tick: number): void {
    if (this.access === Access.low) return this.setReload(value, tick);
    if (this.access === Access.high) return this.setReload(value << 8, tick);
    if (this.writtenLow < 0) {
      this.writtenLow = value;
      return;
    }
    const low = this.writtenLow;
    this.writtenLow = -1;
    this.setReload(low | (value << 8), tick);
  }

  read(tick: number): number {
    if (this.latchedStatus >= 0) {
      const status = this.latchedStatus;
      this.latchedStatus = -1;
      return status;
    }
    const count = this.#shown(this.latched >= 0 ? this.latched : this.count(tick));
    const readsHigh = this.access === Access.high || (this.access === Access.both && this.readsHigh);
    const isLast = this.access !== Access.both || this.readsHigh;
    this.readsHigh = this.access === Access.both && !this.readsHigh;
    if (isLast) this.latched = -1;
    return readsHigh ? (count >> 8) & 0xff : count & 0xff;
  }

  #shown(count: number): number {
    if (!this.isBcd) return count & 0xffff;
    return Number.parseInt(String(count % 10_000), 16);
  }

  /** The first tick after `tick` at which OUT rises. */
  nextRise(tick: number): number | undefined {
    if (this.reload === 0) return undefined;
    const elapsed = this.#elapsed(tick);
    if (this.isPeriodic) return this.startTick + this.reload * (Math.floor(elapsed / this.reload) + 1);
    if (this.mode === 0 || this.mode === 1) return elapsed < this.reload ? this.startTick + this.reload : undefined;
    return elapsed <= this.reload ? this.startTick + this.reload + 1 : undefined;
  }

  plain(): PlainValue {
    const { reload, mode, access, isBcd, gate, startTick, writtenLow, readsHigh, latched, latchedStatus } = this;
    return { reload, mode, access, isBcd, gate, startTick, writtenLow, readsHigh, latched, latchedStatus };
  }

  restore(fields: PayloadFields): void {
    this.reload = fields.number("reload");
    this.mode = fields.number("mode");
    this.access = fields.number("access");
    this.isBcd = fields.boolean("isBcd");
    this.gate = fields.boolean("gate");
    this.startTick = fields.number("startTick");
    this.writtenLow = fields.number("writtenLow");
    this.readsHigh = fields.boolean("readsHigh");
    this.latched = fields.number("latched");
    this.latchedStatus = fields.number("latchedStatus");
  }
}

export class Pit {
  readonly #counters = Array.from({ length: COUNTERS }, () => new Counter());
  /** Bits 1 and 0 of port 0x61: speaker, and gate of the third counter. */
  #speaker = 0;
  /** Guest time up to which the first counter's output has been told. */
  #toldNs = 0;

  constructor() {
    const speaker = this.#at(SPEAKER_COUNTER);
    speaker.gate = false;
  }

  #at(index: number): Counter {
    const found = this.#counters[index];
    if (found === undefined) throw new RangeError(`counter ${index} of ${COUNTERS}`);
    return found;
  }

  /** Guest time at which the first counter's output rises next. */
  get nextNs(): number | undefined {
    const rise = this.#at(0).nextRise(ticksAt(this.#toldNs));
    return rise === undefined ? undefined : timeOfTick(rise);
  }

  /** Lets time come to `now`; true: the first counter's output has risen. */
  advance(now: number): boolean {
    const next = this.nextNs;
    if (next === undefined || next > now) return false;
    this.#toldNs = now;
    return true;
  }

  read(port: number, now: number): number {
    if (port === 0x61) return this.#readControl(now);
    return port === 0x43 ? 0xff : this.#at(port & 3).read(ticksAt(now));
  }

  /** Bit 4 shows the refresh clock, which changes every 15 us; bit 5 OUT of the third counter. */
  #readControl(now: number): number {
    const refresh = Math.floor(now / 15_085) & 1;
    return this.#speaker | (refresh << 4) | (this.#at(SPEAKER_COUNTER).output(ticksAt(now)) << 5);
  }

  write(port: number, value: number, now: number): void {
    const tick = ticksAt(now);
    if (port === 0x61) {
      this.#speaker = value & 3;
      this.#at(SPEAKER_COUNTER).setGate((value & 1) !== 0, tick);
    } else if (port === 0x43) this.#writeControl(value, tick);
    else this.#at(port & 3).write(value, tick);
    // What the first counter did under its old setting is over.
    if (port === 0x40 || port === 0x43) this.#toldNs = now;
  }

  #writeControl(value: number, tick: number): void {
    const index = value >> 6;
    if (index < COUNTERS) return this.#at(index).setControl(value, tick);
    // Read-back: bits 3 to 1 choose counters, a clear bit 5 latches counts, a clear bit 4 status.
    this.#counters.forEach((counter, number) => {
      if ((value & (2 << number)) === 0) return;
      if ((value & 0x20) === 0) counter.latchCount(tick);
      if ((value & 0x10) === 0) counter.latchStatus(tick);
    });
  }

  plain(): PlainValue {
    return {
      counters: this.#counters.map((counter) => counter.plain()),
      speaker: this.#speaker,
      toldNs: this.#toldNs,
    };
  }

  restore(fields: PayloadFields, counters: readonly PayloadFields[]): void {
    counters.forEach((each, index) => {
      this.#at(index).restore(each);
    });
    this.#speaker = fields.number("speaker");
    this.#toldNs = fields.number("toldNs");
  }
}
