import { describe, expect, it } from "@jest/globals";
import type { EngineOptions } from "@hvjournal/engine";
import { ExitCode } from "./exit-code.js";
import {
  selectorOf,
  selectorOfSyndrome,
  syndromeOf,
  systemRegisterName,
  systemRegisters,
  Trap,
} from "./system-registers.js";
import * as a from "./testing/encodings.js";
import { CODE, machine } from "./testing/machine.js";

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

describe("the table of system registers", () => {
  it("has every encoding and every name once", () => {
    expect(new Set(systemRegisters.map((row) => row.selector)).size).toBe(systemRegisters.length);
    expect(new Set(systemRegisters.map((row) => row.name.toLowerCase())).size).toBe(systemRegisters.length);
  });

  it("has selectors in the range that KVM_REG_ARM64_SYSREG encodes, of op0 2 or 3", () => {
    for (const { selector } of systemRegisters) expect([2, 3]).toContain(selector >> 14);
  });

  it("gives each register an access, and a reset value only where it is stored", () => {
    for (const row of systemRegisters) {
      expect(row.read ?? row.write).toBeDefined();
      if (row.reset !== undefined) expect(row.home.kind).toBe("state");
    }
  });

  it("packs a selector into an ISS and back", () => {
    for (const { selector } of systemRegisters)
      expect(selectorOfSyndrome(syndromeOf(selector, 17, true))).toBe(selector);
    // MRS X5, CNTVCT_EL0 as the manual lays the ISS out.
    expect(syndromeOf(selectorOf(3, 3, 14, 0, 2), 5, true)).toBe(0x34_f8a1);
  });

  it("names what it does not have by its encoding", () => {
    expect(systemRegisterName(selectorOf(3, 1, 15, 2, 0))).toBe("s3_1_c15_c2_0");
  });

  it("says honestly what the CPU has", () => {
    const value = (name: string): bigint => {
      const home = systemRegisters.find((row) => row.name === name)?.home;
      return home?.kind === "constant" ? home.value : -1n;
    };
    expect(value("MIDR_EL1")).toBe(0x411f_d070n);
    const field = (name: string, low: number): bigint => (value(name) >> BigInt(low)) & 15n;
    expect([field("ID_AA64PFR0_EL1", 0), field("ID_AA64PFR0_EL1", 4), field("ID_AA64PFR0_EL1", 24)]).toEqual([
      1n,
      1n,
      1n,
    ]);
    expect([20, 24, 28].map((low) => field("ID_AA64MMFR0_EL1", low))).toEqual([0n, 15n, 0n]);
    expect(value("ID_AA64ISAR0_EL1")).toBe(1n << 16n);
    expect(field("ID_AA64DFR0_EL1", 8)).toBe(0n);
  });
});

describe("the context word", () => {
  it.each([
    [0, 0n, 2],
    [1, 0n, 3],
    [0, 1n, 2],
    [1, 1n, 1],
    [1, 2n, 3],
    [0, 3n, 0],
    [1, 3n, 1],
  ])("at EL%i with FPEN = %i is %i", (level, fpen, word) => {
    const guest = machine([]);
    guest.set("exceptionLevel", BigInt(level));
    guest.set("CPACR_EL1", fpen << 20n);
    expect(guest.get("contextWord")).toBe(BigInt(word));
  });
});

describe.each(tiers)("MRS and MSR in the %s tier", (_name, options) => {
  /** Runs the words and gives x1. */
  function x1After(words: readonly number[], registers: Readonly<Record<string, bigint>> = {}): bigint {
    const guest = machine(words, options);
    for (const [name, value] of Object.entries(registers)) guest.set(name, value);
    guest.engine.run(words.length);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4 * words.length));
    return guest.get("x1");
  }

  it.each([
    ["TPIDR_EL1", 0xffff_ffff_ffff_ffffn],
    ["TCR_EL1", 0x77_ffff_ffbfn],
    ["TTBR1_EL1", 0xffff_ffff_ffff_fffen],
    ["CPACR_EL1", 0x30_0000n],
    ["VBAR_EL1", 0xffff_ffff_ffff_f800n],
    ["SPSR_EL1", 0xf030_03dfn],
    ["CNTKCTL_EL1", 0x3ffn],
    ["CONTEXTIDR_EL1", 0xffff_ffffn],
    ["NZCV", 0xf000_0000n],
    ["DAIF", 0x3c0n],
    ["SP_EL0", 0xffff_ffff_ffff_ffffn],
    ["CSSELR_EL1", 0xfn],
    ["AMAIR_EL1", 0n],
  ])("keeps of all ones in %s what the register has", (name, kept) => {
    expect(x1After([a.msr(name, 2), a.mrs(1, name)], { x2: 0xffff_ffff_ffff_ffffn })).toBe(kept);
  });

  it("keeps of all ones in SCTLR_EL1 what the register has, M aside", () => {
    expect(x1After([a.msr("SCTLR_EL1", 2), a.mrs(1, "SCTLR_EL1")], { x2: 0xffff_ffff_ffff_fffen })).toBe(0x34dd_db9en);
  });

  it("keeps the RES1 bits of SCTLR_EL1 whatever is written", () => {
    expect(x1After([a.msr("SCTLR_EL1", 2), a.mrs(1, "SCTLR_EL1")], { x2: 0n })).toBe(0x30d0_0980n);
  });

  it("keeps FPCR and FPSR to their bits once CPACR_EL1 lets them be reached", () => {
    const ones = 0xffff_ffff_ffff_ffffn;
    const open = { x2: ones, CPACR_EL1: 3n << 20n };
    expect(x1After([a.msr("FPCR", 2), a.mrs(1, "FPCR")], open)).toBe(0x07c0_0000n);
    expect(x1After([a.msr("FPSR", 2), a.mrs(1, "FPSR")], open)).toBe(0x0800_009fn);
  });

  it("opens SIMD and FP to the instruction behind a write of CPACR_EL1", () => {
    expect(x1After([a.msr("CPACR_EL1", 2), a.mrs(1, "FPCR")], { x1: 5n, x2: 3n << 20n })).toBe(0n);
  });

  it.each([
    ["CurrentEL", {}, 4n],
    ["SPSel", {}, 1n],
    ["MPIDR_EL1", {}, 0x8000_0000n],
    ["DCZID_EL0", {}, 4n],
    ["CTR_EL0", {}, 0x8444_c004n],
    ["CCSIDR_EL1", { CSSELR_EL1: 1n }, 0x201f_e012n],
    ["CCSIDR_EL1", { CSSELR_EL1: 5n }, 0n],
    ["ISR_EL1", { irqSignalled: 1n }, 0x80n],
    ["ID_AA64PFR0_EL1", {}, 0x0100_0011n],
  ])("reads %s with %j", (name, registers, value) => {
    expect(x1After([a.mrs(1, name)], registers)).toBe(value);
  });

  it("sets and clears the OS lock through OSLAR_EL1", () => {
    expect(x1After([a.msr("OSLAR_EL1", 2), a.mrs(1, "OSLSR_EL1")], { x2: 1n })).toBe(10n);
    expect(x1After([a.msr("OSLAR_EL1", 31), a.mrs(1, "OSLSR_EL1")], { OSLSR_EL1: 10n })).toBe(8n);
  });

  it("has SP_EL0 undefined while it is the stack pointer in use", () => {
    const guest = machine([a.selectStackPointer(0), a.mrs(1, "SP_EL0")], options);
    expect(guest.engine.run(100)).toBe(ExitCode.hypervisorCall);
    expect(guest.get("ESR_EL1")).toBe(0x0200_0000n);
  });

  it("leaves for registers of the kernel half with the syndrome and the value to write", () => {
    const guest = machine([a.mrs(7, "ICC_IAR1_EL1"), a.msr("ICC_EOIR1_EL1", 9)], options);
    guest.set("x9", 0x1234_5678_9abcn);
    expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
    expect(Number(guest.engine.exitOperand(0))).toBe(syndromeOf(a.selectorOfName("ICC_IAR1_EL1"), 7, true));
    expect(guest.engine.unitsLeft).toBe(10);
    guest.engine.retire(4);
    expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
    expect(Number(guest.engine.exitOperand(0))).toBe(syndromeOf(a.selectorOfName("ICC_EOIR1_EL1"), 9, false));
    expect(guest.engine.exitOperand(1)).toBe(0x1234_5678_9abcn);
  });
});

describe.each(tiers)("traps of the hypervisor in the %s tier", (_name, options) => {
  it.each([
    ["TVM", "hcr_el2", a.msr("TTBR1_EL1", 2), "TTBR1_EL1", 0xf000n],
    ["TRVM", "hcr_el2", a.mrs(1, "TTBR1_EL1"), "x1", 0x7000n],
    ["TID3", "hcr_el2", a.mrs(1, "ID_AA64MMFR0_EL1"), "x1", 0x0f00_0022n],
    ["TACR", "hcr_el2", a.mrs(1, "ACTLR_EL1"), "x1", 0n],
    ["TSW", "hcr_el2", a.sys("dc isw", 2), "x1", 1n],
    ["TID2", "hcr_el2", a.mrs(1, "CLIDR_EL1"), "x1", 0x0a20_0023n],
    ["TDA", "mdcr_el2", a.msr("MDSCR_EL1", 2), "MDSCR_EL1", 0xf000n],
    ["TDOSA", "mdcr_el2", a.mrs(1, "OSDLR_EL1"), "x1", 0n],
  ] as const)(
    "exits by %s before the access, which is made once when it is let through",
    (trap, control, word, register, value) => {
      const guest = machine([word, word], options);
      guest.set("x1", 1n);
      guest.set("x2", 0xf000n);
      guest.set("TTBR1_EL1", 0x7000n);
      guest.set(control, 1n << BigInt(Trap[trap].bit));
      expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
      expect(guest.get("pc")).toBe(BigInt(CODE));
      expect(guest.engine.unitsLeft).toBe(10);
      guest.set("trapPassed", 1n);
      expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
      expect(guest.get("pc")).toBe(BigInt(CODE + 4));
      expect(guest.get(register)).toBe(value);
      expect(guest.get("trapPassed")).toBe(0n);
      expect(guest.engine.unitsLeft).toBe(9);
    },
  );

  it.each([
    ["performance monitors", Trap.TPM.field.name, Trap.TPM.bit, a.mrs(1, "PMCCNTR_EL0")],
    ["IMPLEMENTATION DEFINED registers", Trap.TIDCP.field.name, Trap.TIDCP.bit, a.mrs(1, selectorOf(3, 1, 15, 2, 0))],
  ])("exits for %s, which are undefined without the trap or when let through", (_what, control, bit, word) => {
    const guest = machine([word], options);
    guest.set(control, 1n << BigInt(bit));
    expect(guest.engine.run(10)).toBe(ExitCode.systemRegister);
    guest.set("trapPassed", 1n);
    expect(guest.engine.run(10)).toBe(ExitCode.hypervisorCall);
    expect(guest.get("ESR_EL1")).toBe(0x0200_0000n);
    expect(guest.get("trapPassed")).toBe(0n);
  });

  it("does not exit for a register that is not trapped", () => {
    const guest = machine([a.msr("MAIR_EL1", 2), a.mrs(1, "ID_AA64PFR0_EL1")], options);
    guest.set("x2", 0xffn);
    guest.engine.run(2);
    expect(guest.get("MAIR_EL1")).toBe(0xffn);
    expect(guest.get("x1")).toBe(0x0100_0011n);
  });
});
