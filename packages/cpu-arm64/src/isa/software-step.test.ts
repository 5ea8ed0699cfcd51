import { describe, expect, it } from "@jest/globals";
import { type EngineOptions, programOf } from "@hvjournal/engine";
import { Context } from "./context.js";
import { cortexA57 } from "./cpu.js";
import { finishInstruction } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import * as a from "./testing/encodings.js";
import { CODE, DATA, type Machine, machine } from "./testing/machine.js";

const SAME_EL_SPX = 4;
const LOWER_EL = 8;
const USER = CODE + 0x800;
const SPSR_SS = 1n << 21n;
const MDSCR_SS = 1n;
const MDSCR_KDE = 1n << 13n;
const STEP_FROM_EL0 = 0xca00_0022n;
const STEP_FROM_EL1 = 0xce00_0022n;
const ISV = 1n << 24n;
const EX = 1n << 6n;
const EL1H_D_CLEAR = 0x1c5n;

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

/** A debugger at EL1 that returns to EL0 to step the first of `words`. */
function stepping(words: readonly number[], options: Partial<EngineOptions>, spsr = SPSR_SS): Machine {
  const guest = machine([a.eret], options);
  guest.place(USER, words);
  guest.set("MDSCR_EL1", MDSCR_SS);
  guest.set("SPSR_EL1", spsr);
  guest.set("ELR_EL1", BigInt(USER));
  guest.set("x2", BigInt(DATA));
  return guest;
}

function runToVector(guest: Machine): number {
  expect(guest.engine.run(1000)).toBe(ExitCode.hypervisorCall);
  return Number(guest.engine.exitOperand(0));
}

function expectStep(guest: Machine, syndrome: bigint, returnAddress: number, vector = LOWER_EL): void {
  expect(runToVector(guest)).toBe(vector);
  expect(guest.get("ESR_EL1").toString(16)).toBe(syndrome.toString(16));
  expect(guest.get("ELR_EL1")).toBe(BigInt(returnAddress));
  expect(guest.get("SPSR_EL1") & SPSR_SS).toBe(0n);
}

const LDXR = 0xc85f_7c41;

describe.each(tiers)("software step in the %s tier", (_name, options) => {
  it.each([
    ["an instruction that falls through", [a.nop, a.udf], USER + 4, ISV],
    ["a branch", [a.branch(0x20)], USER + 0x20, ISV],
    ["a load", [a.load(1, 2), a.udf], USER + 4, ISV],
    ["a load-exclusive", [LDXR, a.udf], USER + 4, ISV | EX],
  ])("stops behind %s at EL0", (_what, words, stop, flags) => {
    expectStep(stepping(words, options), STEP_FROM_EL0 | flags, stop);
  });

  it("goes on through a program one instruction a return", () => {
    const guest = stepping([...a.moveImmediate(1, 1n), ...a.moveImmediate(1, 2n), a.branch(-4)], options);
    for (const [stop, x1] of [
      [USER + 4, 1n],
      [USER + 8, 2n],
      [USER + 4, 2n],
    ] as const) {
      expectStep(guest, STEP_FROM_EL0 | ISV, stop);
      expect(guest.get("x1")).toBe(x1);
      guest.set("SPSR_EL1", guest.get("SPSR_EL1") | SPSR_SS);
      guest.set("pc", BigInt(CODE));
    }
  });

  it("stops before any instruction when SPSR_EL1.SS is clear", () => {
    expectStep(stepping([a.udf], options, 0n), STEP_FROM_EL0, USER);
  });

  it("takes the exception of the instruction instead, with SS kept for a fault and used up by SVC", () => {
    const faulting = stepping([a.udf], options);
    expect(runToVector(faulting)).toBe(LOWER_EL);
    expect(faulting.get("ESR_EL1")).toBe(0x0200_0000n);
    expect(faulting.get("SPSR_EL1")).toBe(SPSR_SS);
    const calling = stepping([a.svc(1)], options);
    expect(runToVector(calling)).toBe(LOWER_EL);
    expect(calling.get("ESR_EL1")).toBe(0x5600_0001n);
    expect(calling.get("SPSR_EL1")).toBe(0n);
  });

  it("steps an access that the kernel half has finished", () => {
    const guest = stepping([a.mrs(1, "CNTVCT_EL0"), a.udf], options);
    guest.set("CNTKCTL_EL1", 2n);
    expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
    guest.engine.callRoutine(finishInstruction);
    expectStep(guest, STEP_FROM_EL0, USER + 4);
  });

  it("does nothing at EL0 under the OS lock or without MDSCR_EL1.SS", () => {
    const locked = stepping([a.nop, a.svc(2)], options);
    locked.set("OSLSR_EL1", 10n);
    expect(runToVector(locked)).toBe(LOWER_EL);
    expect(locked.get("ESR_EL1")).toBe(0x5600_0002n);
    const off = stepping([a.nop, a.svc(2)], options);
    off.set("MDSCR_EL1", 0n);
    expect(runToVector(off)).toBe(LOWER_EL);
    expect(off.get("ESR_EL1")).toBe(0x5600_0002n);
  });

  it("steps EL1 with MDSCR_EL1.KDE and PSTATE.D clear, and not without either", () => {
    const stop = stepping([a.nop, a.svc(2)], options, SPSR_SS | EL1H_D_CLEAR);
    stop.set("MDSCR_EL1", MDSCR_SS | MDSCR_KDE);
    expectStep(stop, STEP_FROM_EL1 | ISV, USER + 4, SAME_EL_SPX);
    for (const [control, spsr] of [
      [MDSCR_SS, SPSR_SS | EL1H_D_CLEAR],
      [MDSCR_SS | MDSCR_KDE, SPSR_SS | 0x3c5n],
    ] as const) {
      const guest = stepping([a.nop, a.svc(2)], options, spsr);
      guest.set("MDSCR_EL1", control);
      expect(runToVector(guest)).toBe(SAME_EL_SPX);
      expect(guest.get("ESR_EL1")).toBe(0x5600_0002n);
    }
  });

  it("comes right behind the instruction at EL1 that unmasks debug exceptions", () => {
    for (const unmask of [a.daifClear(8), a.msr("DAIF", 31)]) {
      const guest = machine([unmask, a.nop], options);
      guest.set("MDSCR_EL1", MDSCR_SS | MDSCR_KDE);
      expectStep(guest, STEP_FROM_EL1, CODE + 4, SAME_EL_SPX);
    }
  });
});

it("keeps the rules of the stage in every definition of one form", () => {
  for (const context of [Context.el1 | Context.stepped, Context.el1 | Context.floatTrapped | Context.stepped]) {
    const definitions = cortexA57.instructionsFor(context).filter(({ formFields }) => formFields.length === 0);
    expect(definitions.length).toBeGreaterThan(100);
    for (const definition of definitions) expect(() => programOf(definition, {})).not.toThrow();
  }
});

describe.each(tiers)("hardware breakpoints in the %s tier", (_name, options) => {
  it.each(["DBGBCR0_EL1", "DBGWCR3_EL1"])("leaves by name before a write that enables %s", (name) => {
    const guest = machine([a.msr(name, 1), a.msr(name, 2)], options);
    guest.set("x1", 0x1e4n);
    guest.set("x2", 0x1e5n);
    expect(guest.engine.run(10)).toBe(ExitCode.notSimulated);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
    expect(guest.engine.exitOperand(1)).toBe(0x1e5n);
    expect(guest.get(name)).toBe(0x1e4n);
  });
});
