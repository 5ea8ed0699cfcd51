import { describe, expect, it } from "@jest/globals";
import type { EngineOptions } from "@hvjournal/engine";
import { programOf } from "@hvjournal/engine";
import { Context } from "./context.js";
import { cortexA57 } from "./cpu.js";
import { ExitCode } from "./exit-code.js";
import * as a from "./testing/encodings.js";
import { CODE, DATA, type Machine, machine } from "./testing/machine.js";

const SAME_EL_SPX = 4;
const SP_ALIGNMENT = 0x9a00_0000n;
const DATA_ABORT_ALIGNMENT = 0x9600_0021n;
const WRITE = 0x40n;
const SCTLR_A = 2n;
const SCTLR_SA = 8n;
const SCTLR_SA0 = 16n;
const FPEN = 3n << 20n;
const SP = 31;

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

function guest(words: readonly number[], options: Partial<EngineOptions>): Machine {
  const it = machine([...words, a.svc(1)], options);
  it.set("CPACR_EL1", FPEN);
  it.set("x1", 5n);
  return it;
}

/** ESR_EL1 of the exception that ends the program. */
function syndromeOf(it: Machine): bigint {
  expect(it.engine.run(100)).toBe(ExitCode.hypervisorCall);
  expect(Number(it.engine.exitOperand(0))).toBe(SAME_EL_SPX);
  return it.get("ESR_EL1");
}

function controlled(it: Machine, change: (control: bigint) => bigint): Machine {
  it.set("SCTLR_EL1", change(it.get("SCTLR_EL1")));
  return it;
}

const SVC_1 = 0x5600_0001n;

/** [name, instruction with base Rn in bits 9 to 5, bytes of an element, is a write]. */
const accesses: readonly (readonly [string, number, number, boolean])[] = [
  ["ldr x0", 0xf940_0000, 8, false],
  ["str w0", 0xb900_0000, 4, true],
  ["ldrh w0", 0x7940_0000, 2, false],
  ["ldur x0, #8", 0xf840_8000, 8, false],
  ["ldr x0, [xzr]", 0xf87f_6800, 8, false],
  ["ldr x0, post", 0xf841_0400, 8, false],
  ["str x0, pre", 0xf801_0c00, 8, true],
  ["ldp x0, x2", 0xa940_0800, 8, false],
  ["stp w0, w2", 0x2900_0800, 4, true],
  ["ldar x0", 0xc8df_fc00, 8, false],
  ["ldr q0", 0x3dc0_0000, 16, false],
  ["stp d0, d1", 0x6d00_0400, 8, true],
  ["ldp q0, q1", 0xad40_0400, 16, false],
  ["ld1 {v0.4s, v1.4s}", 0x4c40_a800, 4, false],
  ["st2 {v0.8h, v1.8h}", 0x4c00_8400, 2, true],
  ["ld1 {v0.s}[1]", 0x0d40_9000, 4, false],
  ["ld1r {v0.2d}", 0x4d40_cc00, 8, false],
];

describe.each(tiers)("alignment of the stack pointer in the %s tier", (_name, options) => {
  it.each(accesses)("is checked where it is the base of %s, and leaves memory alone", (_what, word) => {
    const it = guest([(word | (SP << 5)) >>> 0], options);
    it.set("sp", BigInt(DATA + 8));
    expect(syndromeOf(it)).toBe(SP_ALIGNMENT);
    expect([it.get("ELR_EL1"), it.get("sp")]).toEqual([BigInt(CODE), BigInt(DATA + 8)]);
  });

  it.each(accesses)("lets %s pass with an aligned one, or another base", (_what, word) => {
    const it = guest([(word | (SP << 5)) >>> 0], options);
    it.set("sp", BigInt(DATA));
    expect(syndromeOf(it)).toBe(SVC_1);
    const other = guest([(word | (3 << 5)) >>> 0], options);
    other.set("x3", BigInt(DATA + 8));
    other.set("sp", 1n);
    expect(syndromeOf(other)).toBe(SVC_1);
  });

  it("is not checked by a prefetch, nor by arithmetic", () => {
    const it = guest([0xf980_03e0, a.moveFromSp(4)], options);
    it.set("sp", 0x1237n);
    expect(syndromeOf(it)).toBe(SVC_1);
  });

  it("is checked at each exception level while its control is set", () => {
    const load = a.load(0, SP);
    const unchecked = controlled(guest([load], options), (control) => control & ~SCTLR_SA);
    unchecked.set("sp", BigInt(DATA + 8));
    expect(syndromeOf(unchecked)).toBe(SVC_1);
    for (const [cleared, expected] of [
      [SCTLR_SA0, SVC_1],
      [SCTLR_SA, SP_ALIGNMENT],
    ] as const) {
      const it = controlled(machine([a.eret], options), (control) => control & ~cleared);
      it.place(CODE + 0x800, [load, a.svc(1)]);
      it.set("ELR_EL1", BigInt(CODE + 0x800));
      it.set("SPSR_EL1", 0n);
      it.set("spInactive", BigInt(DATA + 8));
      expect(it.engine.run(100)).toBe(ExitCode.hypervisorCall);
      expect(it.get("ESR_EL1")).toBe(expected);
    }
  });

  it("follows what the guest writes to SCTLR_EL1", () => {
    const it = guest([a.msr("SCTLR_EL1", 2), a.load(0, SP), a.msr("SCTLR_EL1", 4), a.load(0, SP)], options);
    it.set("x2", it.get("SCTLR_EL1") & ~SCTLR_SA);
    it.set("x4", it.get("SCTLR_EL1"));
    it.set("sp", BigInt(DATA + 8));
    expect(syndromeOf(it)).toBe(SP_ALIGNMENT);
    expect(it.get("ELR_EL1")).toBe(BigInt(CODE + 12));
  });
});

describe.each(tiers)("SCTLR_EL1.A in the %s tier", (_name, options) => {
  it.each(accesses)("makes %s fault unless its elements are aligned", (what, word, element, isWrite) => {
    const it = controlled(guest([(word | (3 << 5)) >>> 0], options), (control) => control | SCTLR_A);
    for (const offset of new Set([0, element, 1, element / 2])) {
      it.set("pc", BigInt(CODE));
      it.set("x3", BigInt(DATA + offset));
      it.set("sp", 1n);
      const syndrome = syndromeOf(it);
      if (offset % element === 0) expect([what, offset, syndrome]).toEqual([what, offset, SVC_1]);
      else {
        expect([what, offset, syndrome]).toEqual([what, offset, DATA_ABORT_ALIGNMENT | (isWrite ? WRITE : 0n)]);
        expect(it.get("ELR_EL1")).toBe(BigInt(CODE));
      }
    }
  });

  it("checks the stack pointer first", () => {
    const it = controlled(guest([a.load(0, SP)], options), (control) => control | SCTLR_A);
    it.set("sp", BigInt(DATA + 1));
    expect(syndromeOf(it)).toBe(SP_ALIGNMENT);
  });
});

/** [name, what writes SP from its misaligned or aligned value, what SP must be before]. */
const MISALIGNED = BigInt(DATA + 8);
const ALIGNED = BigInt(DATA + 16);
const writers: readonly (readonly [string, number, bigint])[] = [
  ["add sp, sp, #8", 0x9100_23ff, MISALIGNED - 8n],
  ["sub sp, sp, #8", 0xd100_23ff, MISALIGNED + 8n],
  ["mov sp, x5", a.moveToSp(5), 0n],
  ["add sp, sp, x6", 0x8b26_63ff, MISALIGNED - 8n],
  ["orr sp, x7, #8", 0xb27d_00ff, 0n],
  ["ldr x9, [sp], #8", 0xf840_87e9, MISALIGNED - 8n],
  ["str x9, [sp, #-8]!", 0xf81f_8fe9, MISALIGNED + 8n],
  ["ldp x9, x10, [sp], #-8", 0xa8ff_abe9, MISALIGNED + 8n],
  ["str d0, [sp], #8", 0xfc00_87e0, MISALIGNED - 8n],
  ["st1 {v0.8b}, [sp], #8", 0x0c9f_73e0, MISALIGNED - 8n],
  ["ld1 {v0.8b}, [sp], x6", 0x0cc6_73e0, MISALIGNED - 8n],
];

describe.each(tiers)("a stack pointer that becomes misaligned in the %s tier", (_name, options) => {
  it.each(writers)(
    "by %s is refused from the next instruction on, and let be once it is aligned",
    (_what, word, before) => {
      const realigned = [a.moveToSp(4), a.load(0, SP)];
      const it = guest([word, ...realigned], options);
      const setUp = (target: Machine): void => {
        target.set("sp", before);
        target.set("spInactive", MISALIGNED);
        target.set("x4", ALIGNED);
        target.set("x5", MISALIGNED);
        target.set("x6", 8n);
        target.set("x7", BigInt(DATA));
      };
      setUp(it);
      expect(syndromeOf(it)).toBe(SVC_1);
      expect(it.get("contextWord")).toBe(BigInt(Context.el1));
      const refused = guest([word, a.nop, a.load(0, SP), a.load(0, 4)], options);
      setUp(refused);
      expect(syndromeOf(refused)).toBe(SP_ALIGNMENT);
      expect([refused.get("ELR_EL1"), refused.get("sp")]).toEqual([BigInt(CODE + 8), MISALIGNED]);
    },
  );

  it("stays so over moves by a multiple of 16", () => {
    const it = guest([a.moveToSp(5), 0xd100_43ff, a.load(0, SP)], options);
    it.set("sp", ALIGNED);
    it.set("x5", MISALIGNED);
    expect(syndromeOf(it)).toBe(SP_ALIGNMENT);
    expect(it.get("ELR_EL1")).toBe(BigInt(CODE + 8));
  });

  it("may be the other one that SPSel selects", () => {
    const it = guest([a.selectStackPointer(0), a.load(0, SP)], options);
    it.set("sp", ALIGNED);
    it.set("spInactive", MISALIGNED);
    expect(it.engine.run(100)).toBe(ExitCode.hypervisorCall);
    expect([it.get("ESR_EL1"), it.get("ELR_EL1")]).toEqual([SP_ALIGNMENT, BigInt(CODE + 4)]);
  });

  it("is left behind by an exception, and found again by the return", () => {
    const it = machine([a.eret], options);
    it.set("ELR_EL1", BigInt(CODE + 0x800));
    it.set("SPSR_EL1", 0n);
    it.set("spInactive", MISALIGNED);
    it.set("sp", ALIGNED);
    it.place(CODE + 0x800, [a.svc(3)]);
    expect(it.engine.run(100)).toBe(ExitCode.hypervisorCall);
    expect(it.get("contextWord")).toBe(BigInt(Context.el1 | Context.floatTrapped));
  });
});

describe("the definitions of a context", () => {
  it("are those of any level, and share what they do not change", () => {
    expect(cortexA57.instructionsFor(Context.el0)).toBe(cortexA57.instructionsFor(Context.el1));
    const trapped = new Set(cortexA57.instructionsFor(Context.el0 | Context.floatTrapped));
    const integer = cortexA57
      .instructionsFor(Context.el1)
      .filter(({ mnemonic }) => /^(LDP|STR|ADD) \((signed|pre|unsigned|imm)/.test(mnemonic));
    expect(integer.length).toBeGreaterThan(10);
    expect(integer.filter((definition) => !trapped.has(definition))).toEqual([]);
  });

  it("keep the rules of the stage where they have one form", () => {
    for (const context of [Context.el1, Context.stackMisaligned, Context.el1 | Context.alignmentChecked, 0x3a]) {
      const definitions = cortexA57.instructionsFor(context).filter(({ formFields }) => formFields.length === 0);
      for (const definition of definitions) expect(() => programOf(definition, {})).not.toThrow();
    }
  });
});
