/** KVM's irqchip in the kernel: local APICs, IOAPIC, PIC pair and PIT, wired as on a PC with QEMU's routing. */
import { decodeCanonicalMap, encodeCanonical, isPlainMap, PayloadFields } from "@hvjournal/core";
import type { TimeStampCounter } from "../time-stamp-counter.js";
import { APIC_PAGE, APIC_PAGE_BYTES, ApicRegister, Delivery, X2APIC_MSR, X2APIC_MSR_COUNT } from "./apic-registers.js";
import { type InterruptMessage, messageOf } from "./interrupt-message.js";
import { IOAPIC_BASE, IOAPIC_BYTES, IOAPIC_PINS, IoApic } from "./io-apic.js";
import { LocalApic } from "./local-apic.js";
import { PIC_PORTS, PicPair } from "./pic.js";
import { Pit, PIT_PORTS } from "./pit.js";

/** What the irqchip needs of the VM. */
export interface IrqchipHost {
  /** Guest time in nanoseconds. */
  now(): number;
  timeStampOf(vcpu: number): TimeStampCounter;
  raiseNmi(vcpu: number): void;
  /** INIT, and SIPI with the page that it starts at. */
  initialize(vcpu: number): void;
  startUp(vcpu: number, page: number): void;
  /** MSR_KVM_PV_EOI_EN: as `ApicBus`. */
  offerEnd(vcpu: number): boolean;
  withdrawEnd(vcpu: number): boolean;
}

/** The PIT's line, and the IOAPIC's pin that takes its place: ACPI's usual interrupt source override. */
const PIT_LINE = 0;
const PIT_PIN = 2;
const PIC_LINES = 16;
const Shorthand = { none: 0, self: 1, all: 2, others: 3 } as const;

export type ApicPlace = "apic" | "ioapic";

export class Irqchip {
  readonly apics: readonly LocalApic[];
  readonly #ioApic: IoApic;
  readonly #pics = new PicPair();
  readonly #pit = new Pit();
  readonly #host: IrqchipHost;
  /** Levels of the lines from outside. */
  readonly #lines: number[] = Array.from({ length: IOAPIC_PINS }, () => 0);

  constructor(vcpuCount: number, host: IrqchipHost) {
    this.#host = host;
    const bus = {
      send: (from: LocalApic, message: InterruptMessage): void => {
        this.#send(message, from);
      },
      endOfInterrupt: (vector: number): void => {
        this.#ioApic.endOfInterrupt(vector);
      },
      offerEnd: ({ id }: LocalApic): boolean => host.offerEnd(id),
      withdrawEnd: ({ id }: LocalApic): boolean => host.withdrawEnd(id),
    };
    this.apics = Array.from({ length: vcpuCount }, (_, vcpu) => new LocalApic(vcpu, bus));
    this.#ioApic = new IoApic((message) => {
      this.#send(message);
    });
  }

  apicOf(vcpu: number): LocalApic {
    const found = this.apics[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.apics.length}`);
    return found;
  }

  /** INIT of one vCPU. */
  reset(vcpu: number): void {
    this.apicOf(vcpu).reset();
  }

  // Lines and messages

  get lineCount(): number {
    return IOAPIC_PINS;
  }

  /** A GSI: 0 to 15 are pins of the PICs too. */
  setLine(gsi: number, level: 0 | 1): void {
    if (!(gsi >= 0 && gsi < IOAPIC_PINS)) throw new RangeError(`line ${gsi}: there are 0 to ${IOAPIC_PINS - 1}`);
    this.#lines[gsi] = level;
    if (gsi < PIC_LINES && gsi !== PIT_PIN) this.#pics.setLine(gsi, level);
    if (gsi === PIT_PIN) return;
    this.#ioApic.setPin(gsi === PIT_LINE ? PIT_PIN : gsi, level);
  }

  /** An edge to one APIC. */
  send(message: Pick<InterruptMessage, "vector" | "delivery" | "isLogical" | "destination" | "isWide">): void {
    this.#send({ ...message, isLevel: false, shorthand: Shorthand.none });
  }

  /** KVM_SIGNAL_MSI. */
  signalMessage(address: number, data: number): void {
    this.#send(messageOf(address, data));
  }

  #send(message: InterruptMessage, from?: LocalApic): void {
    const targets = this.apics.filter((apic) => apic.isEnabled && isTarget(apic, message, from));
    if (message.delivery === Delivery.lowestPriority) {
      for (const apic of targets) apic.settleEnd();
      const [chosen] = targets.toSorted((a, b) => a.processorPriority - b.processorPriority || a.id - b.id);
      chosen?.accept(message.vector, message.isLevel);
      return;
    }
    for (const apic of targets) this.#deliver(apic, message);
  }

  #deliver(apic: LocalApic, { delivery, vector, isLevel }: InterruptMessage): void {
    switch (delivery) {
      case Delivery.fixed:
        return apic.accept(vector, isLevel);
      case Delivery.nmi:
        return this.#host.raiseNmi(apic.id);
      case Delivery.init:
        return this.#host.initialize(apic.id);
      case Delivery.startUp:
        return this.#host.startUp(apic.id, vector);
      default:
        // SMI and reserved modes have no effect, ExtINT comes from the PIC itself.
        return undefined;
    }
  }

  // What a vCPU is given

  /** The vector that would be given to a vCPU now; of the PIC, whose vector only the acknowledgement tells, -1. */
  pending(vcpu: number): number | undefined {
    const apic = this.apicOf(vcpu);
    if (this.#pics.isRequesting && apic.acceptsExternal) return -1;
    return apic.pending;
  }

  /** Whether a vCPU could ever be given an interrupt by something other than what it does itself. */
  canInterrupt(vcpu: number): boolean {
    const apic = this.apicOf(vcpu);
    return apic.acceptsVectors || (apic.acceptsExternal && this.#pics.canRequest);
  }

  /** The interrupt that `pending` said is being taken: its vector. */
  acknowledge(vcpu: number): number | undefined {
    const pending = this.pending(vcpu);
    if (pending === undefined) return undefined;
    if (pending < 0) return this.#pics.acknowledge();
    this.apicOf(vcpu).acknowledge(pending);
    return pending;
  }

  // Time

  /** Guest time at which a timer expires next. */
  get deadlineNs(): number | undefined {
    let first = this.#pit.nextNs;
    for (const { timer } of this.apics) {
      const next = timer.nextNs;
      if (next !== undefined && (first === undefined || next < first)) first = next;
    }
    return first;
  }

  /** Lets time come to now. True: the timer of `vcpu`'s APIC has expired. */
  advance(vcpu: number): boolean {
    const now = this.#host.now();
    let expired = false;
    for (const apic of this.apics) if (apic.advance(now) && apic.id === vcpu) expired = true;
    if (this.#pit.advance(now)) {
      this.setLine(PIT_LINE, 1);
      this.setLine(PIT_LINE, 0);
    }
    return expired;
  }

  // Accesses of a guest

  /** What answers at a guest-physical address for a vCPU. */
  placeOf(vcpu: number, physical: number): ApicPlace | undefined {
    if (physical >= APIC_PAGE && physical < APIC_PAGE + APIC_PAGE_BYTES)
      return this.apicOf(vcpu).hasPage ? "apic" : undefined;
    return physical >= IOAPIC_BASE && physical < IOAPIC_BASE + IOAPIC_BYTES ? "ioapic" : undefined;
  }

  /** Up to four bytes; a wider access reads zeros above. */
  readMemory(vcpu: number, physical: number): number {
    if (this.placeOf(vcpu, physical) === "ioapic") return this.#ioApic.read(physical - IOAPIC_BASE);
    const offset = physical - APIC_PAGE;
    const value = this.apicOf(vcpu).read(offset & ~0xf, this.#host.now()) ?? 0;
    return value >>> (8 * (offset & 3));
  }

  writeMemory(vcpu: number, physical: number, value: number): void {
    if (this.placeOf(vcpu, physical) === "ioapic") return this.#ioApic.write(physical - IOAPIC_BASE, value);
    const offset = physical - APIC_PAGE;
    // Only whole registers are written (11.4.1).
    if ((offset & 0xf) === 0) this.apicOf(vcpu).write(offset, value, this.#host.now());
  }

  hasPort(port: number): boolean {
    return PIC_PORTS.includes(port) || PIT_PORTS.includes(port);
  }

  readPort(port: number): number {
    return PIC_PORTS.includes(port) ? this.#pics.read(port) : this.#pit.read(port, this.#host.now());
  }

  writePort(port: number, value: number): void {
    if (PIC_PORTS.includes(port)) this.#pics.write(port, value & 0xff);
    else this.#pit.write(port, value & 0xff, this.#host.now());
  }

  /** MSRs of x2APIC. undefined: #GP. */
  readMsr(vcpu: number, msr: number): bigint | undefined {
    const apic = this.apicOf(vcpu);
    if (!apic.isX2apic) return undefined;
    const offset = (msr - X2APIC_MSR) * 0x10;
    if (offset === ApicRegister.commandLow) return apic.commandValue;
    const value = apic.read(offset, this.#host.now());
    return value === undefined ? undefined : BigInt(value);
  }

  /** False: #GP. */
  writeMsr(vcpu: number, msr: number, value: bigint): boolean {
    const apic = this.apicOf(vcpu);
    if (!apic.isX2apic) return false;
    const offset = (msr - X2APIC_MSR) * 0x10;
    const low = Number(value & 0xffff_ffffn);
    if (offset === ApicRegister.commandLow) {
      apic.command(low, Number(value >> 32n));
      return true;
    }
    if (value >> 32n !== 0n) return false;
    if (offset === ApicRegister.selfIpi) {
      apic.command((Shorthand.self << 18) | (low & 0xff), 0);
      return true;
    }
    // These are written as 0 only (11.12.1.3).
    const isZeroOnly = offset === ApicRegister.endOfInterrupt || offset === ApicRegister.errorStatus;
    if (isZeroOnly && low !== 0) return false;
    return apic.write(offset, low, this.#host.now());
  }

  isX2apicMsr(msr: number): boolean {
    return msr >= X2APIC_MSR && msr < X2APIC_MSR + X2APIC_MSR_COUNT;
  }

  // Saving

  save(): Uint8Array {
    return encodeCanonical({
      apics: this.apics.map((apic) => apic.plain()),
      ioApic: this.#ioApic.plain(),
      pics: this.#pics.plain(),
      pit: this.#pit.plain(),
      lines: [...this.#lines],
    });
  }

  restore(bytes: Uint8Array): void {
    const fields = new PayloadFields("irqchip", decodeCanonicalMap(bytes));
    const apics = maps(fields, "apics");
    if (apics.length !== this.apics.length)
      throw new RangeError(`${this.apics.length} local APICs expected, found ${apics.length}`);
    apics.forEach((each, vcpu) => {
      this.apicOf(vcpu).restore(each);
    });
    this.#ioApic.restore(new PayloadFields("ioApic", fields.map("ioApic")));
    this.#pics.restore(maps(fields, "pics"));
    const pit = new PayloadFields("pit", fields.map("pit"));
    this.#pit.restore(pit, maps(pit, "counters"));
    fields.array("lines").forEach((level, line) => {
      this.#lines[line] = Number(level);
    });
  }
}

function isTarget(apic: LocalApic, message: InterruptMessage, from: LocalApic | undefined): boolean {
  switch (message.shorthand) {
    case Shorthand.self:
      return apic === from;
    case Shorthand.all:
      return true;
    case Shorthand.others:
      return apic !== from;
    default:
      return apic.isAddressed(message);
  }
}

function maps(fields: PayloadFields, name: string): PayloadFields[] {
  return fields.array(name).map((item, index) => {
    if (!isPlainMap(item)) throw new RangeError(`${name}[${index}] is no map`);
    return new PayloadFields(`${fields.what}.${name}[${index}]`, item);
  });
}
