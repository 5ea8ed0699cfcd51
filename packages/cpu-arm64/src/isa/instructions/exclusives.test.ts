import { describe, expect, it } from "@jest/globals";
import { EngineExit, type EngineOptions } from "@hvjournal/engine";
import { Attribute, CODE, DATA, enableMmu, machine, type Machine, PAGE } from "../testing/machine.js";

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

// With base X1 unless said; status in W2, data in X3.
const LDXR_X = 0xc85f_7c20;
const LDXR_W = 0x885f_7c20;
const LDAXRB = 0x085f_fc20;
const LDXP_X = 0xc87f_1420;
const STXR_X = 0xc802_7c23;
const STXR_X_BASE_X4 = 0xc802_7c83;
const STLXRB = 0x0802_fc23;
const STLXP_X = 0xc822_9823;
const CLREX = 0xd503_3f5f;

const OLD = 0x1111_2222_3333_4444n;
const NEW = 0x5555_6666_7777_8888n;
const MARKED = DATA + 0x40;

function prepared(words: readonly number[], options: Partial<EngineOptions>): Machine {
  const guest = machine(words, options);
  guest.setWord64(MARKED, OLD);
  guest.set("x1", BigInt(MARKED));
  guest.set("x2", 99n);
  guest.set("x3", NEW);
  guest.set("x4", BigInt(MARKED + 0x10));
  guest.set("x6", 6n);
  return guest;
}

function ran(words: readonly number[], options: Partial<EngineOptions>): Machine {
  const guest = prepared(words, options);
  expect(guest.engine.run(words.length)).toBe(EngineExit.budget);
  expect(guest.get("pc")).toBe(BigInt(CODE + 4 * words.length));
  return guest;
}

describe.each(tiers)("A64 exclusives in the %s tier", (_name, options) => {
  it("a store-exclusive behind a load-exclusive of its address and size stores and gives 0", () => {
    const guest = ran([LDXR_X, STXR_X], options);
    expect([guest.get("x0"), guest.get("x2"), guest.word64(MARKED)]).toEqual([OLD, 0n, NEW]);
    expect(guest.get("exclusiveBytes")).toBe(0n);
  });

  it.each([
    ["without a load-exclusive", [STXR_X]],
    ["of another size", [LDXR_W, STXR_X]],
    ["behind CLREX", [LDXR_X, CLREX, STXR_X]],
    ["behind another store-exclusive that failed", [LDXR_X, STXR_X_BASE_X4, STXR_X]],
  ])("a store-exclusive %s gives 1 and writes nothing", (_what, words) => {
    const guest = ran(words, options);
    expect([guest.get("x2"), guest.word64(MARKED), guest.word64(MARKED + 0x10)]).toEqual([1n, OLD, 0n]);
  });

  it("only the first of two store-exclusives succeeds", () => {
    const guest = ran([LDXR_X, STXR_X, STXR_X], options);
    expect([guest.get("x2"), guest.word64(MARKED)]).toEqual([1n, NEW]);
  });

  it("a second load-exclusive moves the mark", () => {
    const guest = prepared([LDXR_X, STXR_X_BASE_X4, STXR_X], options);
    guest.engine.run(1);
    guest.place(CODE, [LDXR_X]);
    guest.set("x1", BigInt(MARKED + 0x10));
    guest.set("pc", BigInt(CODE));
    guest.engine.run(2);
    expect([guest.get("x2"), guest.word64(MARKED + 0x10)]).toEqual([0n, NEW]);
  });

  it("bytes and pairs store exactly their bytes", () => {
    const byte = ran([LDAXRB, STLXRB], options);
    expect([byte.get("x0"), byte.get("x2"), byte.word64(MARKED)]).toEqual([0x44n, 0n, 0x1111_2222_3333_4488n]);
    const pair = ran([LDXP_X, STLXP_X], options);
    expect([pair.get("x0"), pair.get("x5"), pair.get("x2")]).toEqual([OLD, 0n, 0n]);
    expect([pair.word64(MARKED), pair.word64(MARKED + 8)]).toEqual([NEW, 6n]);
  });

  it("an address that is no multiple of the size raises the alignment fault, with or without a mark", () => {
    for (const [word, writes] of [
      [LDXR_X, 0n],
      [STXR_X, 0x40n],
    ] as const) {
      const guest = prepared([word], options);
      guest.set("x1", BigInt(MARKED + 4));
      guest.engine.run(1);
      expect(guest.get("ESR_EL1")).toBe(0x9600_0021n | writes);
      expect(guest.get("FAR_EL1")).toBe(BigInt(MARKED + 4));
      expect(guest.get("x2")).toBe(99n);
    }
  });

  it("a pair is aligned to both of its registers", () => {
    const guest = prepared([LDXP_X], options);
    guest.set("x1", BigInt(MARKED + 8));
    guest.engine.run(1);
    expect(guest.get("ESR_EL1")).toBe(0x9600_0021n);
  });

  it("a store-exclusive to a page that became read-only faults and leaves status and mark", () => {
    const guest = prepared([LDXR_X, STXR_X], options);
    enableMmu(guest).map(BigInt(DATA), DATA, PAGE | Attribute.readOnly);
    guest.engine.run(2);
    expect(guest.get("ESR_EL1")).toBe(0x9600_004fn);
    expect([guest.get("x2"), guest.get("exclusiveBytes"), guest.word64(MARKED)]).toEqual([99n, 8n, OLD]);
  });

  it("a store-exclusive that fails reaches neither an unmapped page nor a device", () => {
    const unmapped = prepared([STXR_X], options);
    enableMmu(unmapped);
    unmapped.engine.run(1);
    expect([unmapped.get("x2"), unmapped.get("pc")]).toEqual([1n, BigInt(CODE + 4)]);
    const device = prepared([STXR_X], options);
    device.set("x1", 0x900_0000n);
    expect(device.engine.run(1)).toBe(EngineExit.budget);
    expect(device.get("x2")).toBe(1n);
  });
});
