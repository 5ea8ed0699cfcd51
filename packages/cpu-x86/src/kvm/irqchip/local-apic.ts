/** A vCPU's local APIC: Intel SDM volume 3, chapter 11. What leaves it (IPIs, EOIs of level interrupts) goes to `ApicBus`. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";
import type { TimeStampCounter } from "../time-stamp-counter.js";
import {
  APIC_PAGE,
  ApicBase,
  ApicError,
  ApicRegister,
  APIC_VERSION,
  Delivery,
  Lvt,
  LVT_COUNT,
  LVT_WRITABLE,
  LvtBit,
  Spurious,
} from "./apic-registers.js";
import { ApicTimer, TimerMode } from "./apic-timer.js";
import type { InterruptMessage } from "./interrupt-message.js";
import { VectorSet } from "./vector-set.js";

/** What a local APIC is connected to. */
export interface ApicBus {
  send(from: LocalApic, message: InterruptMessage): void;
  /** An interrupt of level type has ended. */
  endOfInterrupt(vector: number): void;
  /** Lets the guest end the interrupt that is in service without an exit; false: it has nowhere to say so. */
  offerEnd(from: LocalApic): boolean;
  /** Takes the offer back; true: the guest has made use of it. */
  withdrawEnd(from: LocalApic): boolean;
}

const LOWEST_VECTOR = 16;
const TIMER_MODE_SHIFT = 17;
const SHORTHAND_SHIFT = 18;
const COMMAND_LEVEL = 1 << 14;
const COMMAND_TRIGGER = 1 << 15;
const COMMAND_LOGICAL = 1 << 11;
/** Delivery status and reserved bits stay clear. */
const COMMAND_WRITABLE = 0x000c_cfff;

export class LocalApic {
  readonly id: number;
  readonly timer: ApicTimer = new ApicTimer();
  readonly inService: VectorSet = new VectorSet();
  readonly triggerMode: VectorSet = new VectorSet();
  readonly requested: VectorSet = new VectorSet();
  readonly #bus: ApicBus;
  /** IA32_APIC_BASE. */
  base: number;
  taskPriority = 0;
  logicalDestination = 0;
  destinationFormat = 0xffff_ffff;
  spurious = 0xff;
  #errorStatus = 0;
  /** Errors since the last write of the status register. */
  #errors = 0;
  #commandLow = 0;
  #commandHigh = 0;
  /** The guest may end the highest interrupt in service by clearing a bit in memory. Nothing is requested meanwhile. */
  #isEndOffered = false;
  readonly lvt: number[] = Array.from({ length: LVT_COUNT }, () => LvtBit.masked);

  constructor(id: number, bus: ApicBus) {
    this.id = id;
    this.#bus = bus;
    this.base = APIC_PAGE + ApicBase.enabled + (id === 0 ? ApicBase.bootProcessor : 0);
    this.reset();
  }

  /** As by INIT: identity, base and mode stay. */
  reset(): void {
    this.timer.reset();
    this.#isEndOffered = false;
    for (const set of [this.inService, this.triggerMode, this.requested]) set.clear();
    this.taskPriority = 0;
    this.logicalDestination = this.isX2apic ? x2apicLogicalId(this.id) : 0;
    this.destinationFormat = 0xffff_ffff;
    this.spurious = 0xff;
    this.#errorStatus = 0;
    this.#errors = 0;
    this.#commandLow = 0;
    this.#commandHigh = 0;
    this.lvt.fill(LvtBit.masked);
    // As KVM_X86_QUIRK_LINT0_REENABLED: the boot processor takes the PIC's interrupts from the start.
    if (this.id === 0) this.lvt[Lvt.lint0] = Delivery.external << 8;
  }

  get isEnabled(): boolean {
    return (this.base & ApicBase.enabled) !== 0;
  }

  get isX2apic(): boolean {
    const both = ApicBase.enabled | ApicBase.x2apic;
    return (this.base & both) === both;
  }

  /** It answers in its page. */
  get hasPage(): boolean {
    return this.isEnabled && !this.isX2apic;
  }

  get #isSoftwareEnabled(): boolean {
    return this.isEnabled && (this.spurious & Spurious.enabled) !== 0;
  }

  /** Whether messages and its own sources can give it an interrupt. */
  get acceptsVectors(): boolean {
    return this.#isSoftwareEnabled;
  }

  /** Whether LINT0 lets the PIC's interrupts through, or there is no APIC in between. */
  get acceptsExternal(): boolean {
    if (!this.isEnabled) return true;
    const lint0 = this.#lvtAt(Lvt.lint0);
    return (lint0 & LvtBit.masked) === 0 && ((lint0 >> 8) & 7) === Delivery.external;
  }

  /** IA32_APIC_BASE; false: #GP. From disabled to x2APIC there is no way, nor from x2APIC to xAPIC: 11.12.5. */
  writeBase(value: number): boolean {
    const both = ApicBase.enabled | ApicBase.x2apic;
    const next = value & both;
    const now = this.base & both;
    if (next === ApicBase.x2apic) return false;
    if (now === 0 && next === both) return false;
    if (now === both && next === ApicBase.enabled) return false;
    const wasX2apic = this.isX2apic;
    this.base = value;
    if (!wasX2apic && this.isX2apic) this.logicalDestination = x2apicLogicalId(this.id);
    if (next === 0 && now !== 0) this.reset();
    return true;
  }

  // Interrupts

  #lvtAt(index: number): number {
    return this.lvt[index] ?? LvtBit.masked;
  }

  get processorPriority(): number {
    const serviced = Math.max(0, this.inService.highest);
    return (this.taskPriority & 0xf0) >= (serviced & 0xf0) ? this.taskPriority : serviced & 0xf0;
  }

  /** The vector that the vCPU would be given now. */
  get pending(): number | undefined {
    const vector = this.requested.highest;
    if (vector < 0 || !this.#isSoftwareEnabled) return undefined;
    return (vector & 0xf0) > (this.processorPriority & 0xf0) ? vector : undefined;
  }

  acknowledge(vector: number): void {
    this.requested.set(vector, false);
    this.inService.set(vector, true);
    // As KVM: where another interrupt waits, or the IOAPIC wants to know, the end has to be an exit.
    const isForGuest = this.requested.highest < 0 && !this.triggerMode.has(vector);
    this.#isEndOffered = isForGuest && this.#bus.offerEnd(this);
  }

  /**
   * Learns whether the guest has ended its interrupt without an exit. KVM looks at each exit; here before anything that hangs
   * on what is in service, so that a stop in between changes nothing.
   */
  settleEnd(): void {
    if (!this.#isEndOffered) return;
    this.#isEndOffered = false;
    if (this.#bus.withdrawEnd(this)) this.endOfInterrupt();
  }

  accept(vector: number, isLevel: boolean): void {
    if (!this.#isSoftwareEnabled) return;
    this.settleEnd();
    if (vector < LOWEST_VECTOR) return this.#noteError(ApicError.receivedIllegalVector);
    this.requested.set(vector, true);
    this.triggerMode.set(vector, isLevel);
  }

  endOfInterrupt(): void {
    this.settleEnd();
    const vector = this.inService.highest;
    if (vector < 0) return;
    this.inService.set(vector, false);
    const broadcasts = (this.spurious & Spurious.suppressesBroadcast) === 0;
    if (this.triggerMode.has(vector) && broadcasts) this.#bus.endOfInterrupt(vector);
  }

  /** Lets time come to `now`; true: the timer has expired. */
  advance(now: number): boolean {
    if (!this.timer.advance(now)) return false;
    this.#raiseLocal(Lvt.timer);
    return true;
  }

  /** NMI and the like of LVT entries have no source here. */
  #raiseLocal(index: number): void {
    const entry = this.#lvtAt(index);
    if ((entry & LvtBit.masked) === 0) this.accept(entry & 0xff, false);
  }

  #noteError(error: number): void {
    this.#errors |= error;
    // The error that an unusable error vector makes raises no other.
    if ((this.#lvtAt(Lvt.error) & 0xff) >= LOWEST_VECTOR) this.#raiseLocal(Lvt.error);
  }

  // Registers

  /** `offset` in the page. undefined: there is no such register to read. */
  read(offset: number, now: number): number | undefined {
    this.settleEnd();
    const bits = this.#readBits(offset);
    if (bits !== undefined) return bits >>> 0;
    switch (offset) {
      case ApicRegister.id:
        return this.isX2apic ? this.id : (this.id << 24) >>> 0;
      case ApicRegister.version:
        return APIC_VERSION;
      case ApicRegister.taskPriority:
        return this.taskPriority;
      case ApicRegister.processorPriority:
        return this.processorPriority;
      case ApicRegister.logicalDestination:
        return this.logicalDestination >>> 0;
      case ApicRegister.spuriousVector:
        return this.spurious;
      case ApicRegister.errorStatus:
        return this.#errorStatus;
      case ApicRegister.commandLow:
        return this.#commandLow >>> 0;
      case ApicRegister.initialCount:
        return this.timer.mode === TimerMode.tscDeadline ? 0 : this.timer.initialCount;
      case ApicRegister.currentCount:
        return this.timer.currentCount(now);
      case ApicRegister.divideConfiguration:
        return this.timer.divideConfiguration;
      default:
        return this.#readXapic(offset);
    }
  }

  /** What x2APIC does not have. */
  #readXapic(offset: number): number | undefined {
    if (this.isX2apic) return undefined;
    switch (offset) {
      case ApicRegister.arbitrationPriority:
        return 0;
      case ApicRegister.destinationFormat:
        return this.destinationFormat >>> 0;
      case ApicRegister.commandHigh:
        return this.#commandHigh >>> 0;
      case ApicRegister.endOfInterrupt:
        return 0;
      default:
        this.#noteError(ApicError.illegalRegister);
        return undefined;
    }
  }

  #readBits(offset: number): number | undefined {
    const index = (offset & 0x70) >> 4;
    switch (offset & ~0x7f) {
      case ApicRegister.inService:
        return this.inService.words[index];
      case ApicRegister.triggerMode:
        return this.triggerMode.words[index];
      case ApicRegister.interruptRequest:
        return this.requested.words[index];
      default: {
        const entry = (offset - ApicRegister.lvtTimer) / 0x10;
        return this.lvt[entry];
      }
    }
  }

  /** False: there is no such register to write. */
  write(offset: number, value: number, now: number): boolean {
    const entry = (offset - ApicRegister.lvtTimer) / 0x10;
    if (this.lvt[entry] !== undefined) {
      this.#writeLvt(entry, value);
      return true;
    }
    switch (offset) {
      case ApicRegister.taskPriority:
        this.taskPriority = value & 0xff;
        return true;
      case ApicRegister.endOfInterrupt:
        this.endOfInterrupt();
        return true;
      case ApicRegister.spuriousVector:
        this.#writeSpurious(value);
        return true;
      case ApicRegister.errorStatus:
        this.#errorStatus = this.#errors;
        this.#errors = 0;
        return true;
      case ApicRegister.initialCount:
        this.timer.setInitialCount(value >>> 0, now);
        return true;
      case ApicRegister.divideConfiguration:
        this.timer.setDivideConfiguration(value, now);
        return true;
      default:
        return this.isX2apic ? false : this.#writeXapic(offset, value);
    }
  }

  #writeXapic(offset: number, value: number): boolean {
    switch (offset) {
      case ApicRegister.commandLow:
        this.command(value, this.#commandHigh >>> 24);
        return true;
      case ApicRegister.commandHigh:
        this.#commandHigh = value & 0xff00_0000;
        return true;
      case ApicRegister.logicalDestination:
        this.logicalDestination = value & 0xff00_0000;
        return true;
      case ApicRegister.destinationFormat:
        this.destinationFormat = value | 0x0fff_ffff;
        return true;
      case ApicRegister.id:
        // Read-only, as KVM_X86_QUIRK aside modern processors have it.
        return true;
      default:
        this.#noteError(ApicError.illegalRegister);
        return false;
    }
  }

  #writeLvt(index: number, value: number): void {
    const masked = this.#isSoftwareEnabled ? 0 : LvtBit.masked;
    this.lvt[index] = (value & (LVT_WRITABLE[index] ?? 0)) | masked;
    if (index === Lvt.timer) this.timer.setMode((this.#lvtAt(index) >> TIMER_MODE_SHIFT) & 3);
  }

  /** Disabled by software, all of the vector table is masked. */
  #writeSpurious(value: number): void {
    this.spurious = value & 0x13ff;
    if (this.#isSoftwareEnabled) return;
    for (let index = 0; index < LVT_COUNT; index++) this.lvt[index] = this.#lvtAt(index) | LvtBit.masked;
  }

  /** The interrupt command register: 11.6.1. `destination` has 8 bits, or 32 in x2APIC mode. */
  command(low: number, destination: number): void {
    this.#commandLow = low & COMMAND_WRITABLE;
    if (this.isX2apic) this.#commandHigh = destination | 0;
    const delivery = (low >> 8) & 7;
    const isAssert = (low & COMMAND_LEVEL) !== 0;
    // INIT with level de-assert did synchronise arbitration once.
    if (delivery === Delivery.init && !isAssert && (low & COMMAND_TRIGGER) !== 0) return;
    const vector = low & 0xff;
    if (delivery <= Delivery.lowestPriority && vector < LOWEST_VECTOR)
      return this.#noteError(ApicError.sendIllegalVector);
    this.#bus.send(this, {
      vector,
      delivery,
      isLevel: false,
      isLogical: (low & COMMAND_LOGICAL) !== 0,
      destination,
      isWide: this.isX2apic,
      shorthand: (low >> SHORTHAND_SHIFT) & 3,
    });
  }

  get commandValue(): bigint {
    return (BigInt(this.#commandHigh >>> 0) << 32n) | BigInt(this.#commandLow >>> 0);
  }

  /** IA32_TSC_DEADLINE. */
  writeDeadline(value: bigint, counter: TimeStampCounter, now: number): void {
    this.timer.setDeadline(value, counter, now);
  }

  /** Whether a message with this destination is for this APIC: 11.6.2. */
  isAddressed({ destination, isLogical, isWide }: InterruptMessage): boolean {
    const isBroadcast = destination >>> 0 === (isWide ? 0xffff_ffff : 0xff);
    if (isBroadcast) return true;
    if (!isLogical) return destination >>> 0 === this.id;
    return this.isX2apic ? this.#matchesCluster(destination) : this.#matchesLogical(destination);
  }

  #matchesCluster(destination: number): boolean {
    const sameCluster = destination >>> 16 === this.logicalDestination >>> 16;
    return sameCluster && (destination & this.logicalDestination & 0xffff) !== 0;
  }

  #matchesLogical(destination: number): boolean {
    const own = this.logicalDestination >>> 24;
    if (this.destinationFormat >>> 28 === 0xf) return (own & destination) !== 0;
    return own >> 4 === destination >> 4 && (own & destination & 0xf) !== 0;
  }

  plain(): PlainValue {
    return {
      base: this.base,
      taskPriority: this.taskPriority,
      logicalDestination: this.logicalDestination >>> 0,
      destinationFormat: this.destinationFormat >>> 0,
      spurious: this.spurious,
      errorStatus: this.#errorStatus,
      errors: this.#errors,
      commandLow: this.#commandLow >>> 0,
      commandHigh: this.#commandHigh >>> 0,
      lvt: [...this.lvt],
      inService: [...this.inService.words],
      triggerMode: [...this.triggerMode.words],
      requested: [...this.requested.words],
      timer: this.timer.plain(),
      ...(this.#isEndOffered ? { isEndOffered: true } : {}),
    };
  }

  restore(fields: PayloadFields): void {
    this.base = fields.number("base");
    this.taskPriority = fields.number("taskPriority");
    this.logicalDestination = fields.number("logicalDestination");
    this.destinationFormat = fields.number("destinationFormat");
    this.spurious = fields.number("spurious");
    this.#errorStatus = fields.number("errorStatus");
    this.#errors = fields.number("errors");
    this.#commandLow = fields.number("commandLow");
    this.#commandHigh = fields.number("commandHigh");
    fields.array("lvt").forEach((value, index) => {
      this.lvt[index] = Number(value);
    });
    this.inService.words.set(fields.array("inService").map(Number));
    this.triggerMode.words.set(fields.array("triggerMode").map(Number));
    this.requested.words.set(fields.array("requested").map(Number));
    this.timer.restore(new PayloadFields("timer", fields.map("timer")));
    this.#isEndOffered = fields.has("isEndOffered");
  }
}

/** 11.12.10.2: cluster in the upper half, one bit in the lower. */
function x2apicLogicalId(id: number): number {
  return ((id >> 4) << 16) | (1 << (id & 15));
}
