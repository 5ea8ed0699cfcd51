import { describe, expect, it } from "@jest/globals";
import type { EngineOptions } from "@hvjournal/engine";
import { CODE, machine, type Machine } from "../testing/machine.js";

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

/** Arm ARM, shared pseudocode ConditionHolds. */
function holds(condition: number, nzcv: number): boolean {
  const [n, z, c, v] = [8, 4, 2, 1].map((mask) => (nzcv & mask) !== 0);
  const results = [z, c, n, v, c === true && z !== true, n === v, n === v && z !== true, true];
  const result = results[condition >> 1] === true;
  return (condition & 1) === 1 && condition !== 15 ? !result : result;
}

function setNzcv(guest: Machine, nzcv: number): void {
  guest.set("flagN", BigInt(nzcv >> 3) << 63n);
  guest.set("flagZ", BigInt((nzcv >> 2) & 1) ^ 1n);
  guest.set("flagC", BigInt((nzcv >> 1) & 1));
  guest.set("flagV", BigInt(nzcv & 1));
}

/** Where one instruction at CODE leads, relative to CODE. */
function leadsTo(guest: Machine): number {
  guest.set("pc", BigInt(CODE));
  guest.engine.run(1);
  return Number(guest.get("pc")) - CODE;
}

describe.each(tiers)("A64 branches in the %s tier", (_name, options) => {
  it("B.cond is taken exactly where its condition holds, for every condition and NZCV", () => {
    const guest = machine([], options);
    const taken: boolean[] = [];
    const expected: boolean[] = [];
    for (let condition = 0; condition < 16; condition++) {
      guest.place(CODE, [0x5400_0040 | condition]);
      for (let nzcv = 0; nzcv < 16; nzcv++) {
        setNzcv(guest, nzcv);
        taken.push(leadsTo(guest) === 8);
        expected.push(holds(condition, nzcv));
      }
    }
    expect(taken).toEqual(expected);
  });

  it.each([
    ["CBZ W0", 0x3400_0040, 0xffff_ffff_0000_0000n, 8],
    ["CBZ W0", 0x3400_0040, 1n, 4],
    ["CBNZ X0", 0xb500_0040, 0xffff_ffff_0000_0000n, 8],
    ["CBNZ X0", 0xb500_0040, 0n, 4],
    ["TBZ X0, #40", 0xb640_0040, ~(1n << 40n), 8],
    ["TBZ X0, #40", 0xb640_0040, 1n << 40n, 4],
    ["TBNZ W0, #3", 0x3718_0040, 8n, 8],
    ["TBNZ W0, #3", 0x3718_0040, ~8n, 4],
    ["B back", 0x17ff_ffff, 0n, -4],
  ])("%s (0x%x) with X0 = %i leads to %i", (_what, word, value, target) => {
    const guest = machine([word], options);
    guest.set("x0", BigInt.asUintN(64, value));
    expect(leadsTo(guest)).toBe(target);
  });

  it("BL and BLR leave the address behind them in X30, and BLR X30 goes where X30 led before", () => {
    const guest = machine([0x9400_0002], options);
    expect(leadsTo(guest)).toBe(8);
    expect(guest.get("x30")).toBe(BigInt(CODE + 4));
    guest.place(CODE, [0xd63f_03c0]);
    guest.set("x30", BigInt(CODE + 0x40));
    expect(leadsTo(guest)).toBe(0x40);
    expect(guest.get("x30")).toBe(BigInt(CODE + 4));
  });

  it("BR and RET go to a register and leave X30 alone", () => {
    const guest = machine([0xd61f_0060], options);
    guest.set("x3", BigInt(CODE + 0x20));
    guest.set("x30", BigInt(CODE + 0x30));
    expect(leadsTo(guest)).toBe(0x20);
    guest.place(CODE, [0xd65f_03c0]);
    expect(leadsTo(guest)).toBe(0x30);
    expect(guest.get("x30")).toBe(BigInt(CODE + 0x30));
  });
});
