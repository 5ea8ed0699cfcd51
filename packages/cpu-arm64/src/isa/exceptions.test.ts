import { describe, expect, it } from "@jest/globals";
import { EngineExit, type EngineOptions } from "@hvjournal/engine";
import { ExitCode } from "./exit-code.js";
import * as a from "./testing/encodings.js";
import { CODE, DATA, type Machine, machine, VECTORS } from "./testing/machine.js";

const SAME_EL_SPX = 4;
const LOWER_EL = 8;
const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
  ["regions", { tier: "regions" }],
];

/** Runs to the HVC of a vector and gives the vector's number. */
function runToVector(guest: Machine, units = 1000): number {
  expect(guest.engine.run(units)).toBe(ExitCode.hypervisorCall);
  return Number(guest.engine.exitOperand(0));
}

/** SPSR_EL1 for EL0t and EL1h with all interrupts masked. */
const EL0T = 0x3c0n;
const EL1H = 0x3c5n;

/** A guest that enters EL0 at CODE + 0x800 by ERET. */
function atEl0(words: readonly number[], options: Partial<EngineOptions>): Machine {
  const guest = machine([a.eret], options);
  guest.place(CODE + 0x800, words);
  guest.set("ELR_EL1", BigInt(CODE + 0x800));
  guest.set("SPSR_EL1", EL0T);
  return guest;
}

describe.each(tiers)("exceptions in the %s tier", (_name, options) => {
  it("takes SVC at EL1 to the vector of SP_EL1 with the return address behind it", () => {
    const guest = machine([a.nop, a.svc(0x1234)], options);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1")).toBe(0x5600_1234n);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 8));
    expect(guest.get("SPSR_EL1")).toBe(EL1H);
    expect(guest.engine.unitsLeft).toBe(1000 - 3);
  });

  it("takes SVC at EL1 with SP_EL0 selected to the first vector and then uses SP_EL1", () => {
    const guest = machine(
      [
        ...a.moveImmediate(0, 0x111n),
        a.moveToSp(0),
        a.selectStackPointer(0),
        ...a.moveImmediate(0, 0x222n),
        a.moveToSp(0),
        a.svc(0),
      ],
      options,
    );
    expect(runToVector(guest)).toBe(0);
    expect(guest.get("sp")).toBe(0x111n);
    expect(guest.get("spInactive")).toBe(0x222n);
    expect(guest.get("SPSR_EL1")).toBe(0x3c4n);
  });

  it("goes to EL0 by ERET and comes back by SVC with flags and stack pointers kept", () => {
    const guest = atEl0([a.moveFromSp(1), a.compare(31, 31), a.svc(7)], options);
    guest.set("spInactive", 0xe10n);
    guest.set("sp", 0xe11n);
    guest.set("SPSR_EL1", 0x8000_0000n);
    expect(runToVector(guest)).toBe(LOWER_EL);
    expect(guest.get("x1")).toBe(0xe10n);
    expect(guest.get("sp")).toBe(0xe11n);
    expect(guest.get("ESR_EL1")).toBe(0x5600_0007n);
    // Z and C of the comparison; DAIF clear; EL0t.
    expect(guest.get("SPSR_EL1")).toBe(0x6000_0000n);
    expect(guest.get("daif")).toBe(0x3c0n);
    expect(guest.get("exceptionLevel")).toBe(1n);
  });

  it.each([
    ["BRK", a.brk(0x42), 0xf200_0042n],
    ["an encoding that is not allocated", a.udf, 0x0200_0000n],
    ["HLT", 0xd440_0000, 0x0200_0000n],
    ["a SIMD instruction while CPACR_EL1 traps it", 0x4e20_1c00, 0x1fe0_0000n],
    ["MRS of FPCR while CPACR_EL1 traps it", a.mrs(0, "FPCR"), 0x1fe0_0000n],
  ])("raises for %s with the return address at the instruction", (_what, word, syndrome) => {
    const guest = machine([word], options);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1")).toBe(syndrome);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE));
    expect(guest.engine.unitsLeft).toBe(1000 - 2);
  });

  it.each([
    ["HVC", a.hvc(0)],
    ["SMC", a.smc(0)],
    ["ERET", a.eret],
    ["MSR SPSel", a.selectStackPointer(1)],
    ["MRS of a register of EL1", a.mrs(0, "SCTLR_EL1")],
    ["MSR of a register of EL1", a.msr("VBAR_EL1", 0)],
    ["MRS of an ID register", a.mrs(0, "ID_AA64PFR0_EL1")],
    ["TLBI", a.sys("tlbi vmalle1")],
    ["DC IVAC", a.sys("dc ivac", 0)],
    ["AT", a.sys("at s1e0r", 0)],
  ])("has %s undefined at EL0", (_what, word) => {
    const guest = atEl0([word], options);
    expect(runToVector(guest)).toBe(LOWER_EL);
    expect(guest.get("ESR_EL1")).toBe(0x0200_0000n);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 0x800));
  });

  it.each([
    ["DC ZVA", a.sys("dc zva", 3), 14],
    ["DC CVAC", a.sys("dc cvac", 3), 26],
    ["IC IVAU", a.sys("ic ivau", 3), 26],
    ["MRS of CTR_EL0", a.mrs(4, "CTR_EL0"), 15],
    ["MRS of DAIF", a.mrs(4, "DAIF"), 9],
    ["MSR DAIFSet", a.daifSet(2), 9],
  ])("traps %s at EL0 with EC 0x18 until SCTLR_EL1 allows it", (_what, word, bit) => {
    const trapped = atEl0([word, a.svc(1)], options);
    trapped.set("x3", BigInt(DATA));
    expect(runToVector(trapped)).toBe(LOWER_EL);
    expect(trapped.get("ESR_EL1")).toBe(expectedTrap(word));
    const allowed = atEl0([word, a.svc(1)], options);
    allowed.set("x3", BigInt(DATA));
    allowed.set("SCTLR_EL1", allowed.get("SCTLR_EL1") | (1n << BigInt(bit)));
    expect(runToVector(allowed)).toBe(LOWER_EL);
    expect(allowed.get("ESR_EL1")).toBe(0x5600_0001n);
  });

  it("traps the counters at EL0 with EC 0x18 unless CNTKCTL_EL1 allows them", () => {
    const trapped = atEl0([a.mrs(5, "CNTVCT_EL0")], options);
    expect(runToVector(trapped)).toBe(LOWER_EL);
    expect(trapped.get("ESR_EL1")).toBe(expectedTrap(a.mrs(5, "CNTVCT_EL0")));
    const allowed = atEl0([a.mrs(5, "CNTVCT_EL0")], options);
    allowed.set("CNTKCTL_EL1", 2n);
    expect(allowed.engine.run(100)).toBe(ExitCode.systemRegister);
  });

  it("raises PC alignment with FAR_EL1 for a branch to an odd address", () => {
    const guest = machine([...a.moveImmediate(0, BigInt(CODE + 2)), a.branchRegister(0)], options);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1")).toBe(0x8a00_0000n);
    expect(guest.get("FAR_EL1")).toBe(BigInt(CODE + 2));
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 2));
  });

  it.each([
    ["AArch32", 0x3d0n],
    ["EL2", 0x3c9n],
    ["EL0 with a stack pointer of its own", 0x3c1n],
    ["a reserved mode", 0x3c6n],
  ])("sets PSTATE.IL on a return to %s, and the next instruction raises EC 0x0e", (_what, spsr) => {
    const guest = machine([a.eret, a.nop], options);
    guest.set("SPSR_EL1", spsr | 0x8000_0000n);
    guest.set("ELR_EL1", BigInt(CODE + 4));
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1")).toBe(0x3a00_0000n);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 4));
    expect(guest.get("SPSR_EL1")).toBe(0x8010_0000n | EL1H);
    expect(guest.get("illegalState")).toBe(0n);
  });

  it("clears the exclusive monitor and sets the event register on exception return", () => {
    const guest = machine([a.eret, a.nop], options);
    guest.set("SPSR_EL1", EL1H);
    guest.set("ELR_EL1", BigInt(CODE + 4));
    guest.set("exclusiveBytes", 8n);
    guest.engine.run(1);
    expect(guest.get("exclusiveBytes")).toBe(0n);
    expect(guest.get("eventRegister")).toBe(1n);
  });
});

/** ESR_EL1 of EC 0x18 from the encoding of MRS, MSR or SYS. */
function expectedTrap(word: number): bigint {
  const field = (low: number, bits: number): bigint => BigInt((word >>> low) & ((1 << bits) - 1));
  const iss = (field(19, 2) << 20n) | (field(5, 3) << 17n) | (field(16, 3) << 14n) | (field(12, 4) << 10n);
  return 0x6200_0000n | iss | (field(0, 5) << 5n) | (field(8, 4) << 1n) | field(21, 1);
}

describe.each(tiers)("interrupts in the %s tier", (_name, options) => {
  it("waits while PSTATE.I masks them and comes right behind the instruction that unmasks", () => {
    const guest = machine([a.nop, a.daifClear(2), a.nop], options);
    guest.set("irqSignalled", 1n);
    expect(runToVector(guest)).toBe(SAME_EL_SPX + 1);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 8));
    expect(guest.get("SPSR_EL1")).toBe(0x345n);
    expect(guest.engine.unitsLeft).toBe(1000 - 4);
  });

  it("takes an FIQ before an IRQ, to its own vector", () => {
    const guest = machine([a.daifClear(3)], options);
    guest.set("irqSignalled", 1n);
    guest.set("fiqSignalled", 1n);
    expect(runToVector(guest)).toBe(SAME_EL_SPX + 2);
  });

  it("takes an interrupt at EL0 to the vectors of the lower exception level", () => {
    const guest = atEl0([a.nop], options);
    guest.set("SPSR_EL1", 0n);
    guest.set("irqSignalled", 1n);
    expect(runToVector(guest)).toBe(LOWER_EL + 1);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 0x800));
  });

  it("is not taken before an access that the hypervisor has let through", () => {
    const guest = machine([a.nop], options);
    guest.set("daif", 0n);
    guest.set("irqSignalled", 1n);
    guest.set("trapPassed", 1n);
    guest.engine.run(1);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
  });
});

describe.each(tiers)("waiting and calls in the %s tier", (_name, options) => {
  it("leaves behind HVC with the immediate, and at SMC", () => {
    const guest = machine([a.hvc(0x10), a.smc(0x20)], options);
    expect(guest.engine.run(10)).toBe(ExitCode.hypervisorCall);
    expect(guest.engine.exitOperand(0)).toBe(0x10n);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
    expect(guest.engine.unitsLeft).toBe(9);
    expect(guest.engine.run(10)).toBe(ExitCode.secureMonitorCall);
    expect(guest.engine.exitOperand(0)).toBe(0x20n);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
    expect(guest.engine.unitsLeft).toBe(10);
  });

  it("leaves behind WFI unless an interrupt is signalled, masked or not", () => {
    const guest = machine([a.wfi, a.nop], options);
    expect(guest.engine.run(10)).toBe(ExitCode.waitForInterrupt);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
    guest.set("pc", BigInt(CODE));
    guest.set("irqSignalled", 1n);
    expect(guest.engine.run(2)).toBe(EngineExit.budget);
    expect(guest.get("pc")).toBe(BigInt(CODE + 8));
  });

  it("leaves behind WFE only while the event register is clear", () => {
    const guest = machine([a.sevl, a.wfe, a.wfe], options);
    expect(guest.engine.run(10)).toBe(ExitCode.waitForEvent);
    expect(guest.get("pc")).toBe(BigInt(CODE + 12));
    expect(guest.get("eventRegister")).toBe(0n);
  });

  it("leaves at YIELD and SEV only when other vCPUs may run", () => {
    const guest = machine([a.yieldHint, a.sev, a.branch(-8)], options);
    expect(guest.engine.run(5)).toBe(EngineExit.budget);
    guest.set("pc", BigInt(CODE));
    guest.set("yieldExits", 1n);
    expect(guest.engine.run(5)).toBe(ExitCode.yield);
    expect(guest.engine.run(5)).toBe(ExitCode.sendEvent);
  });

  it.each([
    ["WFI", a.wfi, 16, 0x07e0_0000n],
    ["WFE", a.wfe, 18, 0x07e0_0001n],
  ])("traps %s at EL0 with EC 0x01 while SCTLR_EL1 says so", (_what, word, bit, syndrome) => {
    const guest = atEl0([word], options);
    guest.set("SCTLR_EL1", guest.get("SCTLR_EL1") & ~(1n << BigInt(bit)));
    // An exception return sets the event register: the first WFE would take it.
    guest.engine.run(1);
    guest.set("eventRegister", 0n);
    expect(runToVector(guest)).toBe(LOWER_EL);
    expect(guest.get("ESR_EL1")).toBe(syndrome);
    const allowed = atEl0([word, word], options);
    expect([ExitCode.waitForEvent, ExitCode.waitForInterrupt]).toContain(allowed.engine.run(10));
  });
});

it("stops a run at the vectors that tests use", () => {
  const guest = machine([a.branch(VECTORS - CODE)]);
  expect(runToVector(guest)).toBe(0);
});
