/** The IOAPIC: 24 pins whose changes become messages to local APICs. Intel 82093AA datasheet, 3; as KVM's ioapic.c has it. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";
import { Delivery } from "./apic-registers.js";
import type { InterruptMessage } from "./interrupt-message.js";

export const IOAPIC_BASE = 0xfec0_0000;
export const IOAPIC_BYTES = 0x100;
export const IOAPIC_PINS = 24;

const Offset = { select: 0x00, window: 0x10 } as const;
const Register = { id: 0, version: 1, arbitration: 2, redirection: 0x10 } as const;
/** Version 0x11, last entry 23. */
const VERSION: number = 0x11 | ((IOAPIC_PINS - 1) << 16);

/** Low word of a redirection entry. */
const Entry = { logical: 1 << 11, remoteIrr: 1 << 14, level: 1 << 15, masked: 1 << 16 } as const;
/** Delivery status and remote IRR are read-only. */
const LOW_WRITABLE = 0x1_afff;

export class IoApic {
  readonly #send: (message: InterruptMessage) => void;
  readonly #low: Uint32Array = new Uint32Array(IOAPIC_PINS).fill(Entry.masked);
  readonly #high: Uint32Array = new Uint32Array(IOAPIC_PINS);
  #select = 0;
  #id = 0;
  /** Pins that are high; of edge type too, until they fall. */
  #lines = 0;

  constructor(send: (message: InterruptMessage) => void) {
    this.#send = send;
  }

  setPin(pin: number, level: 0 | 1): void {
    const bit = 1 << pin;
    const before = this.#lines;
    this.#lines = level === 1 ? before | bit : before & ~bit;
    if (level === 1 && (before & bit) === 0) this.#service(pin);
  }

  #service(pin: number): void {
    const low = this.#low[pin] ?? 0;
    const isLevel = (low & Entry.level) !== 0;
    if ((low & Entry.masked) !== 0 || (isLevel && (low & Entry.remoteIrr) !== 0)) return;
    const delivery = (low >> 8) & 7;
    // Before it is sent: an APIC that takes it may end it at once.
    if (isLevel && delivery <= Delivery.lowestPriority) this.#low[pin] = low | Entry.remoteIrr;
    this.#send({
      vector: low & 0xff,
      delivery,
      isLevel,
      isLogical: (low & Entry.logical) !== 0,
      destination: (this.#high[pin] ?? 0) >>> 24,
      isWide: false,
      shorthand: 0,
    });
  }

  /** A level interrupt has ended at a local APIC: a pin that is still high interrupts anew. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.#low[pin] ?? 0;
      if ((low & 0xff) !== vector || (low & Entry.level) === 0 || (low & Entry.remoteIrr) === 0) continue;
      this.#low[pin] = low & ~Entry.remoteIrr;
      if ((this.#lines & (1 << pin)) !== 0) this.#service(pin);
    }
  }

  /** Of four bytes; others read as 0 and write nothing. */
  read(offset: number): number {
    if (offset === Offset.select) return this.#select;
    return offset === Offset.window ? this.#readRegister() : 0;
  }

  #readRegister(): number {
    switch (this.#select) {
      case Register.id:
      case Register.arbitration:
        return (this.#id << 24) >>> 0;
      case Register.version:
        return VERSION;
      default: {
        const index = this.#select - Register.redirection;
        const words = (index & 1) === 0 ? this.#low : this.#high;
        return index < 0 ? 0 : (words[index >> 1] ?? 0);
      }
    }
  }

  write(offset: number, value: number): void {
    if (offset === Offset.select) this.#select = value & 0xff;
    else if (offset === Offset.window) this.#writeRegister(value);
  }

  #writeRegister(value: number): void {
    if (this.#select === Register.id) this.#id = (value >> 24) & 0xf;
    const index = this.#select - Register.redirection;
    const pin = index >> 1;
    if (index < 0 || pin >= IOAPIC_PINS) return;
    if ((index & 1) === 1) this.#high[pin] = value & 0xff00_0000;
    else this.#writeLow(pin, value);
  }

  #writeLow(pin: number, value: number): void {
    const before = this.#low[pin] ?? 0;
    const low = (value & LOW_WRITABLE) | (before & Entry.remoteIrr);
    // An entry of edge type has no remote IRR: a guest clears one that is stuck by changing its type.
    this.#low[pin] = (low & Entry.level) === 0 ? low & ~Entry.remoteIrr : low;
    const isHigh = (this.#lines & (1 << pin)) !== 0;
    if (isHigh && (low & Entry.level) !== 0) this.#service(pin);
  }

  plain(): PlainValue {
    return {
      select: this.#select,
      id: this.#id,
      lines: this.#lines,
      low: [...this.#low],
      high: [...this.#high],
    };
  }

  restore(fields: PayloadFields): void {
    this.#select = fields.number("select");
    this.#id = fields.number("id");
    this.#lines = fields.number("lines");
    this.#low.set(fields.array("low").map(Number));
    this.#high.set(fields.array("high").map(Number));
  }
}
