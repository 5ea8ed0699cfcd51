import { describe, expect, it } from "@jest/globals";
import { TimeStampCounter } from "../time-stamp-counter.js";
import { ApicRegister } from "./apic-registers.js";
import { Irqchip } from "./irqchip.js";

const APIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;

interface Wired {
  readonly chip: Irqchip;
  readonly calls: string[];
  time: number;
  apic(vcpu: number, register: number, value: number): void;
  readApic(vcpu: number, register: number): number;
  redirect(pin: number, low: number, high?: number): void;
  readRedirection(pin: number): number;
  /** Takes what `pending` says: the vector. */
  take(vcpu: number): number | undefined;
}

function wired(vcpuCount = 1): Wired {
  const calls: string[] = [];
  const counters = Array.from({ length: vcpuCount }, () => new TimeStampCounter());
  const made: Wired = {
    calls,
    time: 0,
    chip: new Irqchip(vcpuCount, {
      now: () => made.time,
      timeStampOf: (vcpu) => counters[vcpu] ?? new TimeStampCounter(),
      raiseNmi: (vcpu) => void calls.push(`nmi ${vcpu}`),
      initialize: (vcpu) => void calls.push(`init ${vcpu}`),
      startUp: (vcpu, page) => void calls.push(`start ${vcpu} ${page}`),
      offerEnd: () => false,
      withdrawEnd: () => false,
    }),
    apic: (vcpu, register, value) => made.chip.writeMemory(vcpu, APIC + register, value),
    readApic: (vcpu, register) => made.chip.readMemory(vcpu, APIC + register),
    redirect(pin, low, high = 0) {
      for (const [register, value] of [
        [0x11 + 2 * pin, high],
        [0x10 + 2 * pin, low],
      ] as const) {
        made.chip.writeMemory(0, IOAPIC, register);
        made.chip.writeMemory(0, IOAPIC + 0x10, value);
      }
    },
    readRedirection(pin) {
      made.chip.writeMemory(0, IOAPIC, 0x10 + 2 * pin);
      return made.chip.readMemory(0, IOAPIC + 0x10);
    },
    take: (vcpu) => made.chip.acknowledge(vcpu),
  };
  for (let vcpu = 0; vcpu < vcpuCount; vcpu++) made.apic(vcpu, ApicRegister.spuriousVector, 0x1ff);
  return made;
}

describe("a local APIC", () => {
  it("lies at 0xfee00000, and tells the boot processor from the others", () => {
    const { chip } = wired(2);
    expect([chip.apicOf(0).base, chip.apicOf(1).base]).toEqual([0xfee0_0900, 0xfee0_0800]);
  });

  it("gives the highest vector, and none below what is in service or the task's priority", () => {
    const { chip, apic, readApic, take } = wired();
    for (const vector of [0x31, 0x55, 0x51]) apic(0, ApicRegister.commandLow, (1 << 18) | vector);
    expect(take(0)).toBe(0x55);
    expect(chip.pending(0)).toBeUndefined();
    expect(readApic(0, ApicRegister.processorPriority)).toBe(0x50);
    apic(0, ApicRegister.endOfInterrupt, 0);
    expect(take(0)).toBe(0x51);
    apic(0, ApicRegister.endOfInterrupt, 0);
    apic(0, ApicRegister.taskPriority, 0x30);
    expect(chip.pending(0)).toBeUndefined();
    apic(0, ApicRegister.taskPriority, 0x2f);
    expect(take(0)).toBe(0x31);
    expect(readApic(0, ApicRegister.inService + 0x10)).toBe(1 << 0x11);
  });

  it("takes nothing while software has disabled it, and masks its vectors", () => {
    const { chip, apic, readApic } = wired();
    apic(0, ApicRegister.lvtTimer, 0x40);
    apic(0, ApicRegister.spuriousVector, 0xff);
    apic(0, ApicRegister.commandLow, (1 << 18) | 0x40);
    expect(chip.pending(0)).toBeUndefined();
    expect(readApic(0, ApicRegister.lvtTimer)).toBe(0x1_0040);
    apic(0, ApicRegister.lvtTimer, 0x40);
    expect(readApic(0, ApicRegister.lvtTimer)).toBe(0x1_0040);
  });

  it("notes vectors that can't be in its error status, which a write shows", () => {
    const { apic, readApic, take } = wired();
    apic(0, ApicRegister.lvtError, 0x60);
    apic(0, ApicRegister.commandLow, (1 << 18) | 0x05);
    expect(take(0)).toBe(0x60);
    expect(readApic(0, ApicRegister.errorStatus)).toBe(0);
    apic(0, ApicRegister.errorStatus, 0);
    expect(readApic(0, ApicRegister.errorStatus)).toBe(0x20);
  });

  it.each([
    ["physical", 0x0000_0041, 2 << 24, [2]],
    ["physical, to all", 0x0000_0041, 0xff << 24, [0, 1, 2, 3]],
    ["flat logical", 0x0000_0841, 0b1010 << 24, [1, 3]],
    ["all but itself", 0x000c_0041, 0, [0, 2, 3]],
    ["all", 0x0008_0041, 0, [0, 1, 2, 3]],
    ["the one with the lowest priority", 0x0000_0941, 0b1110 << 24, [2]],
  ])("sends to %s", (_name, low, high, expected) => {
    const { chip, apic } = wired(4);
    for (let vcpu = 0; vcpu < 4; vcpu++) apic(vcpu, ApicRegister.logicalDestination, (1 << vcpu) << 24);
    apic(1, ApicRegister.taskPriority, 0x10);
    apic(1, ApicRegister.commandHigh, high);
    apic(1, ApicRegister.commandLow, low);
    expect([0, 1, 2, 3].filter((vcpu) => chip.pending(vcpu) === 0x41)).toEqual(expected);
  });

  it("starts another one: INIT, SIPI; INIT with de-assert does nothing; NMI", () => {
    const { apic, calls } = wired(2);
    apic(0, ApicRegister.commandHigh, 1 << 24);
    for (const command of [0x4500, 0x8500, 0x4608, 0x4400]) apic(0, ApicRegister.commandLow, command);
    expect(calls).toEqual(["init 1", "start 1 8", "nmi 1"]);
  });

  it("has a timer that runs down once, or for ever, and shows its count", () => {
    const it = wired();
    it.apic(0, ApicRegister.divideConfiguration, 3);
    it.apic(0, ApicRegister.lvtTimer, 0x50);
    it.apic(0, ApicRegister.initialCount, 100);
    expect(it.chip.deadlineNs).toBe(1600);
    it.time = 160;
    expect(it.readApic(0, ApicRegister.currentCount)).toBe(90);
    it.time = 1600;
    expect(it.chip.advance(0)).toBe(true);
    expect(it.take(0)).toBe(0x50);
    expect(it.chip.deadlineNs).toBeUndefined();
    expect(it.readApic(0, ApicRegister.currentCount)).toBe(0);
    it.apic(0, ApicRegister.lvtTimer, (1 << 17) | 0x50);
    it.apic(0, ApicRegister.initialCount, 100);
    it.time = 1600 + 5 * 1600 + 7;
    expect(it.chip.advance(0)).toBe(true);
    expect(it.chip.deadlineNs).toBe(1600 + 6 * 1600);
  });

  it("has a timer at a value of the time-stamp counter, which is disarmed once it has passed", () => {
    const it = wired();
    it.apic(0, ApicRegister.lvtTimer, (2 << 17) | 0x50);
    it.chip.apicOf(0).writeDeadline(5000n, new TimeStampCounter(), it.time);
    expect(it.chip.deadlineNs).toBe(5000);
    it.apic(0, ApicRegister.initialCount, 100);
    expect(it.chip.deadlineNs).toBe(5000);
    it.time = 5000;
    expect(it.chip.advance(0)).toBe(true);
    expect(it.chip.apicOf(0).timer.deadline).toBe(0n);
  });

  it("becomes an x2APIC with MSRs, an id of 32 bits and clusters, and no page", () => {
    const { chip } = wired(18);
    const apic = chip.apicOf(17);
    expect(chip.readMsr(17, 0x802)).toBeUndefined();
    expect(apic.writeBase(apic.base | 0xc00)).toBe(true);
    expect(chip.placeOf(17, APIC)).toBeUndefined();
    expect(chip.readMsr(17, 0x802)).toBe(17n);
    expect(chip.readMsr(17, 0x80d)).toBe(0x1_0002n);
    expect(chip.writeMsr(17, 0x80d, 1n)).toBe(false);
    expect(chip.writeMsr(17, 0x80b, 1n)).toBe(false);
    expect(chip.readMsr(17, 0x831)).toBeUndefined();
    expect(chip.writeMsr(17, 0x83f, 0x77n)).toBe(true);
    expect(chip.pending(17)).toBe(0x77);
    expect(chip.writeMsr(17, 0x830, (3n << 32n) | 0x88n)).toBe(true);
    expect(chip.readMsr(17, 0x830)).toBe((3n << 32n) | 0x88n);
    expect(chip.pending(3)).toBe(0x88);
    expect(apic.writeBase(apic.base & ~0x400)).toBe(false);
  });
});

/** As a guest that does without the PICs. */
function withoutPics(): Wired {
  const made = wired();
  for (const port of [0x21, 0xa1]) made.chip.writePort(port, 0xff);
  return made;
}

describe("the IOAPIC", () => {
  it("sends an edge once for each rise, and none while the pin is masked", () => {
    const { chip, redirect, take } = withoutPics();
    redirect(4, 0x34);
    chip.setLine(4, 1);
    expect(take(0)).toBe(0x34);
    chip.apicOf(0).endOfInterrupt();
    chip.setLine(4, 1);
    expect(chip.pending(0)).toBeUndefined();
    chip.setLine(4, 0);
    redirect(4, 0x1_0034);
    chip.setLine(4, 1);
    redirect(4, 0x34);
    expect(chip.pending(0)).toBeUndefined();
  });

  it("holds a level interrupt until its end, and sends it again while the pin is high", () => {
    const { chip, redirect, readRedirection, take, apic } = withoutPics();
    redirect(9, 0x8039);
    chip.setLine(9, 1);
    expect(readRedirection(9)).toBe(0xc039);
    expect(take(0)).toBe(0x39);
    apic(0, ApicRegister.endOfInterrupt, 0);
    expect(take(0)).toBe(0x39);
    chip.setLine(9, 0);
    apic(0, ApicRegister.endOfInterrupt, 0);
    expect(chip.pending(0)).toBeUndefined();
    expect(readRedirection(9)).toBe(0x8039);
  });

  it("has 24 pins, of which the third is the timer's", () => {
    const it = withoutPics();
    it.chip.writeMemory(0, IOAPIC, 1);
    expect(it.chip.readMemory(0, IOAPIC + 0x10)).toBe(0x17_0011);
    it.redirect(2, 0x30);
    for (const [port, value] of [
      [0x43, 0x34],
      [0x40, 0x00],
      [0x40, 0x10],
    ] as const)
      it.chip.writePort(port, value);
    const deadline = it.chip.deadlineNs ?? 0;
    expect(deadline).toBe(Math.ceil((4096 * 1e9) / 1_193_182));
    it.time = deadline;
    it.chip.advance(0);
    expect(it.take(0)).toBe(0x30);
    expect(it.chip.deadlineNs).toBe(Math.ceil((8192 * 1e9) / 1_193_182));
  });
});

describe("the PICs", () => {
  const initialise = ({ chip }: Wired): void => {
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 0x20],
      [0x21, 0x04],
      [0x21, 0x01],
      [0xa0, 0x11],
      [0xa1, 0x28],
      [0xa1, 0x02],
      [0xa1, 0x01],
    ] as const)
      chip.writePort(port, value);
  };

  it("interrupt the boot processor through LINT0, the second by way of the first", () => {
    const it = wired(2);
    initialise(it);
    it.chip.writePort(0x21, 0xfb - 0x10);
    it.chip.writePort(0xa1, 0xef);
    it.chip.setLine(4, 1);
    it.chip.setLine(12, 1);
    expect([it.chip.pending(0), it.chip.pending(1)]).toEqual([-1, undefined]);
    expect(it.take(0)).toBe(0x2c);
    expect(it.chip.pending(0)).toBeUndefined();
    it.chip.writePort(0xa0, 0x20);
    it.chip.writePort(0x20, 0x20);
    expect(it.take(0)).toBe(0x24);
    it.apic(0, ApicRegister.lvtLint0, 0x1_0700);
    it.chip.writePort(0x20, 0x20);
    it.chip.setLine(4, 0);
    it.chip.setLine(4, 1);
    expect(it.chip.pending(0)).toBeUndefined();
  });

  it("show masks, requests and what is in service", () => {
    const it = wired();
    initialise(it);
    it.chip.writePort(0x21, 0xb8);
    expect(it.chip.readPort(0x21)).toBe(0xb8);
    it.chip.setLine(1, 1);
    expect(it.chip.readPort(0x20)).toBe(2);
    expect(it.take(0)).toBe(0x21);
    it.chip.writePort(0x20, 0x0b);
    expect(it.chip.readPort(0x20)).toBe(2);
  });
});

describe("the PIT", () => {
  it("counts its third counter down while port 0x61 gates it, and shows the end there", () => {
    const it = wired();
    it.chip.writePort(0x61, 1);
    it.chip.writePort(0x43, 0xb0);
    it.chip.writePort(0x42, 0x9c);
    it.chip.writePort(0x42, 0x2e);
    expect(it.chip.readPort(0x61) & 0x20).toBe(0);
    it.time = 9_999_000;
    expect(it.chip.readPort(0x61) & 0x20).toBe(0);
    it.time = 10_001_000;
    expect(it.chip.readPort(0x61) & 0x20).toBe(0x20);
  });

  it("latches a count, low byte first", () => {
    const it = wired();
    it.chip.writePort(0x43, 0x34);
    it.chip.writePort(0x40, 0xff);
    it.chip.writePort(0x40, 0xff);
    it.time = 1_000_000;
    it.chip.writePort(0x43, 0x00);
    it.time = 2_000_000;
    const latched = it.chip.readPort(0x40) | (it.chip.readPort(0x40) << 8);
    expect(latched).toBe(0xffff - 1193);
    const now = it.chip.readPort(0x40) | (it.chip.readPort(0x40) << 8);
    expect(now).toBe(0xffff - 2386);
  });
});

describe("the saved irqchip", () => {
  it("comes back byte-equal", () => {
    const it = wired(2);
    it.redirect(9, 0x8039, 1 << 24);
    it.chip.setLine(9, 1);
    it.apic(1, ApicRegister.lvtTimer, (1 << 17) | 0x50);
    it.apic(1, ApicRegister.initialCount, 12_345);
    it.chip.writePort(0x43, 0x34);
    it.chip.writePort(0x40, 0x12);
    it.chip.writePort(0x21, 0x55);
    const other = wired(2);
    other.chip.restore(it.chip.save());
    expect(other.chip.save()).toEqual(it.chip.save());
    expect(other.chip.pending(1)).toBe(0x39);
  });
});
