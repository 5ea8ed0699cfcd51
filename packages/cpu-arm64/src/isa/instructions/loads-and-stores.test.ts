import { describe, expect, it } from "@jest/globals";
import type { EngineOptions } from "@hvjournal/engine";
import { Attribute, CODE, DATA, enableMmu, machine, type Machine, PAGE } from "../testing/machine.js";

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

/** Bytes at DATA: fe dc ba 98 76 54 32 90, then 16 more words of 8 bytes. */
const FIRST = 0x9032_5476_98ba_dcfen;
const SECOND = 0x8182_8384_0102_0304n;
const THIRD = 0x1122_3344_5566_7788n;

/** Runs one word with X1 = DATA + 0x10, where `FIRST`, `SECOND` and `THIRD` lie from DATA + 8 on. */
function ran(word: number, options: Partial<EngineOptions>, registers: Readonly<Record<string, bigint>> = {}): Machine {
  const guest = machine([word], options);
  [FIRST, SECOND, THIRD].forEach((value, index) => guest.setWord64(DATA + 8 + 8 * index, value));
  guest.set("x1", BigInt(DATA + 0x10));
  for (const [name, value] of Object.entries(registers)) guest.set(name, value);
  guest.engine.run(1);
  expect(guest.get("pc")).toBe(BigInt(CODE + 4));
  return guest;
}

const STORED = 0xa1a2_a3a4_a5a6_a7a8n;

describe.each(tiers)("A64 loads and stores in the %s tier", (_name, options) => {
  it.each([
    ["ldrb w0, [x1, #1]", 0x3940_0420, 0x03n],
    ["ldrsb w0, [x1, #7]", 0x39c0_1c20, 0xffff_ff81n],
    ["ldrsb x0, [x1, #7]", 0x3980_1c20, 0xffff_ffff_ffff_ff81n],
    ["ldrh w0, [x1, #6]", 0x7940_0c20, 0x8182n],
    ["ldrsh w0, [x1, #6]", 0x79c0_0c20, 0xffff_8182n],
    ["ldrsh x0, [x1, #6]", 0x7980_0c20, 0xffff_ffff_ffff_8182n],
    ["ldr w0, [x1, #4]", 0xb940_0420, 0x8182_8384n],
    ["ldrsw x0, [x1, #4]", 0xb980_0420, 0xffff_ffff_8182_8384n],
    ["ldr x0, [x1]", 0xf940_0020, SECOND],
    ["ldur x0, [x1, #-8]", 0xf85f_8020, FIRST],
    ["ldr x0, [x1, x2, lsl #3] (x2 = -1)", 0xf862_7820, FIRST],
    ["ldr x0, [x1, w2, sxtw #3]", 0xf862_d820, FIRST],
    ["ldrh w0, [x1, x2, sxtx #1]", 0x7862_f820, 0x9032n],
    ["ldtr x0, [x1]", 0xf840_0820, SECOND],
    ["ldar x0, [x1]", 0xc8df_fc20, SECOND],
  ])("%s extends what it loads to the whole register", (_text, word, expected) => {
    expect(ran(word, options, { x2: 0xffff_ffff_ffff_ffffn, x0: STORED }).get("x0")).toBe(expected);
  });

  it("an index of UXTW drops the upper half of its register", () => {
    expect(ran(0xf862_4820, options, { x2: 0xffff_ffff_0000_0008n }).get("x0")).toBe(THIRD);
  });

  it.each([
    ["ldr x0, [x1, #-8]!", 0xf85f_8c20, FIRST, DATA + 8],
    ["ldr x0, [x1], #-16", 0xf85f_0420, SECOND, DATA],
  ])("%s moves its base", (_text, word, loaded, base) => {
    const guest = ran(word, options);
    expect([guest.get("x0"), guest.get("x1")]).toEqual([loaded, BigInt(base)]);
  });

  it.each([
    ["str x3, [x1]", 0xf900_0023, STORED, 0x10],
    ["str w3, [x1], #4", 0xb800_4423, 0x8182_8384_a5a6_a7a8n, 0x14],
    ["strh w3, [x1]", 0x7900_0023, 0x8182_8384_0102_a7a8n, 0x10],
    ["strb w3, [x1]", 0x3900_0023, 0x8182_8384_0102_03a8n, 0x10],
    ["str xzr, [x1]", 0xf900_003f, 0n, 0x10],
  ])("%s writes its bytes and no others", (_text, word, stored, base) => {
    const guest = ran(word, options, { x3: STORED });
    expect(guest.word64(DATA + 0x10)).toBe(stored);
    expect([guest.word64(DATA + 8), guest.word64(DATA + 0x18)]).toEqual([FIRST, THIRD]);
    expect(guest.get("x1")).toBe(BigInt(DATA + base));
  });

  it("uses and moves the stack pointer where register 31 is the base", () => {
    const guest = ran(0xf81f_0fe3, options, { x3: STORED, sp: BigInt(DATA + 0x20) });
    expect(guest.get("sp")).toBe(BigInt(DATA + 0x10));
    expect(guest.word64(DATA + 0x10)).toBe(STORED);
  });

  it.each([
    ["ldp x0, x2, [x1]", 0xa940_0820, SECOND, THIRD, 0x10],
    ["ldp w0, w2, [x1, #8]", 0x2941_0820, 0x5566_7788n, 0x1122_3344n, 0x10],
    ["ldpsw x0, x2, [x1], #8", 0x68c1_0820, 0x0102_0304n, 0xffff_ffff_8182_8384n, 0x18],
    ["ldnp x0, x2, [x1]", 0xa840_0820, SECOND, THIRD, 0x10],
  ])("%s loads both registers", (_text, word, first, second, base) => {
    const guest = ran(word, options);
    expect([guest.get("x0"), guest.get("x2"), guest.get("x1")]).toEqual([first, second, BigInt(DATA + base)]);
  });

  it("LDP may load over its own base", () => {
    const guest = ran(0xa940_0821, options);
    expect([guest.get("x1"), guest.get("x2")]).toEqual([SECOND, THIRD]);
  });

  it("STP stores both registers in order", () => {
    const guest = ran(0xa9bf_1023, options, { x3: STORED, x4: 7n });
    expect([guest.word64(DATA), guest.word64(DATA + 8), guest.get("x1")]).toEqual([STORED, 7n, BigInt(DATA)]);
  });

  it("a literal is loaded from an address relative to the instruction", () => {
    const guest = machine([0x5800_0040, 0xd503_201f, 0x89ab_cdef, 0xfeed_f00d], options);
    guest.engine.run(1);
    expect(guest.get("x0")).toBe(0xfeed_f00d_89ab_cdefn);
    guest.place(CODE, [0x9800_0040]);
    guest.set("pc", BigInt(CODE));
    guest.engine.run(1);
    expect(guest.get("x0")).toBe(0xffff_ffff_89ab_cdefn);
  });

  it("a prefetch of an unmapped address does nothing, a load into XZR faults", () => {
    const guest = machine([0xf980_0120, 0xf940_013f], options);
    enableMmu(guest);
    guest.set("x9", 0x123_4567_0000n);
    guest.engine.run(1);
    expect(guest.get("pc")).toBe(BigInt(CODE + 4));
    guest.engine.run(1);
    expect(guest.get("FAR_EL1")).toBe(0x123_4567_0000n);
  });

  it("a fault leaves base, data and memory as they were: also where only the second page of a pair refuses", () => {
    const guest = machine([0xa9bf_1023], options);
    const tables = enableMmu(guest);
    tables.map(BigInt(DATA), DATA, PAGE);
    tables.map(BigInt(DATA + 0x1000), DATA + 0x1000, PAGE | Attribute.readOnly);
    guest.set("x1", BigInt(DATA + 0x1008));
    guest.set("x3", STORED);
    guest.engine.run(1);
    expect(guest.get("FAR_EL1")).toBe(BigInt(DATA + 0x1000));
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE));
    expect(guest.get("x1")).toBe(BigInt(DATA + 0x1008));
    expect(guest.word64(DATA + 0xff8)).toBe(0n);
  });
});
