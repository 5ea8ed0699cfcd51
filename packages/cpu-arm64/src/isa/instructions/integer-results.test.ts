import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { elementOf, type Engine, type EngineOptions } from "@hvjournal/engine";
import { flagC, flagN, flagV, flagZ, pc, sp, x } from "../state.js";
import { CODE, machine } from "../testing/machine.js";

/**
 * Lines of encoding, tab, and what it changes, as QEMU 7.2 has it. Line n starts with
 * Xr = INPUTS[(5r + n) mod 13], SP = 0x1000 and NZCV = n mod 16.
 */
const results = readFileSync(new URL("../testing/integer-results.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => {
    const [encoding = "", changes = ""] = line.split("\t");
    return { encoding: Number.parseInt(encoding, 16), changes };
  });

const INPUTS = [
  0n,
  1n,
  0x7fn,
  0x8000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
  0xfedc_ba98_7654_3210n,
] as const;
const STACK_POINTER = 0x1000n;

function inputOf(register: number, line: number): bigint {
  return INPUTS[(5 * register + line) % INPUTS.length] ?? 0n;
}

function prepare(engine: Engine, line: number): void {
  for (let register = 0; register < 31; register++) engine.writeField(elementOf(x, register), inputOf(register, line));
  const bit = (index: number): bigint => BigInt((line >> index) & 1);
  engine.writeField(flagN, bit(3) << 63n);
  engine.writeField(flagZ, bit(2) ^ 1n);
  engine.writeField(flagC, bit(1));
  engine.writeField(flagV, bit(0));
  engine.writeField(sp, STACK_POINTER);
  engine.writeField(pc, BigInt(CODE));
}

function changesOf(engine: Engine, line: number): string {
  const changes: string[] = [];
  for (let register = 0; register < 31; register++) {
    const value = engine.readField(elementOf(x, register));
    if (value !== inputOf(register, line)) changes.push(`x${register}=${value.toString(16)}`);
  }
  const stackPointer = engine.readField(sp);
  if (stackPointer !== STACK_POINTER) changes.push(`sp=${stackPointer.toString(16)}`);
  const n = Number(engine.readField(flagN) >> 63n);
  const z = engine.readField(flagZ) === 0n ? 1 : 0;
  const nzcv = (n << 3) | (z << 2) | (Number(engine.readField(flagC)) << 1) | Number(engine.readField(flagV));
  if (nzcv !== line % 16) changes.push(`nzcv=${nzcv.toString(16)}`);
  return changes.join(" ");
}

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

describe.each(tiers)("A64 data processing in the %s tier", (_name, options) => {
  it("gives the recorded results, changes nothing else, and goes on behind the instruction", () => {
    const guest = machine([], options);
    const hex = (encoding: number): string => encoding.toString(16).padStart(8, "0");
    const actual = results.map(({ encoding }, line) => {
      guest.place(CODE, [encoding]);
      prepare(guest.engine, line);
      guest.engine.run(1);
      const goesOn = guest.get("pc") === BigInt(CODE + 4);
      return `${hex(encoding)} ${goesOn ? changesOf(guest.engine, line) : "pc"}`;
    });
    expect(actual).toEqual(results.map(({ encoding, changes }) => `${hex(encoding)} ${changes}`));
  });

  it("computes addresses from pc, and pages from its page", () => {
    const guest = machine([0xd503_201f, 0x10ff_ffe0, 0xb000_0001], options);
    guest.engine.run(3);
    expect(guest.get("x0")).toBe(BigInt(CODE));
    expect(guest.get("x1")).toBe(BigInt(CODE + 0x1000));
  });
});
