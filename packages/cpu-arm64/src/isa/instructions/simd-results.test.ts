import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { elementOf, type Engine, type EngineOptions } from "@hvjournal/engine";
import { flagC, flagN, flagV, flagZ, fpcr, fpsr, pc, v, x } from "../state.js";
import { CODE, DATA, machine } from "../testing/machine.js";
import {
  changesBetween,
  GENERAL_COUNT,
  lineState,
  type LineState,
  MEMORY_BYTES,
  POINTER_OFFSET,
  POINTER_REGISTER,
  VECTOR_COUNT,
} from "../testing/simd-inputs.js";

/** Lines of encoding, tab, and what it changes in the state of its line, as QEMU 7.2 has it: one for every form. */
const results = readFileSync(new URL("../testing/simd-results.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => {
    const [encoding = "", changes = ""] = line.split("\t");
    return { encoding: Number.parseInt(encoding, 16), changes };
  });

/** Across two pages, so that accesses also cross. */
const MEMORY = DATA + 0x1000 - POINTER_OFFSET - 16;
const POINTER = BigInt(MEMORY + POINTER_OFFSET);

function prepare(engine: Engine, state: LineState): void {
  state.v.forEach((value, register) => engine.writeField(elementOf(v, register), value));
  state.x.forEach((value, register) => engine.writeField(elementOf(x, register), value));
  engine.writeField(elementOf(x, POINTER_REGISTER), POINTER);
  engine.memory.write(MEMORY, state.memory);
  const bit = (index: number): bigint => BigInt((state.nzcv >> index) & 1);
  engine.writeField(flagN, bit(3) << 63n);
  engine.writeField(flagZ, bit(2) ^ 1n);
  engine.writeField(flagC, bit(1));
  engine.writeField(flagV, bit(0));
  engine.writeField(fpcr, BigInt(state.fpcr));
  engine.writeField(fpsr, BigInt(state.fpsr));
  engine.writeField(pc, BigInt(CODE));
}

function stateOf(engine: Engine): LineState {
  const general = Array.from({ length: GENERAL_COUNT }, (_unused, register) =>
    engine.readField(elementOf(x, register)),
  );
  general[POINTER_REGISTER] = BigInt.asUintN(64, (general[POINTER_REGISTER] ?? 0n) - POINTER);
  const n = Number(engine.readField(flagN) >> 63n);
  const z = engine.readField(flagZ) === 0n ? 1 : 0;
  return {
    v: Array.from({ length: VECTOR_COUNT }, (_unused, register) => engine.readField(elementOf(v, register))),
    x: general,
    memory: engine.memory.read(MEMORY, MEMORY_BYTES).slice(),
    nzcv: (n << 3) | (z << 2) | (Number(engine.readField(flagC)) << 1) | Number(engine.readField(flagV)),
    fpcr: Number(engine.readField(fpcr)),
    fpsr: Number(engine.readField(fpsr)),
  };
}

/** CPACR_EL1.FPEN: nothing is trapped. */
const FPEN_NO_TRAP = 3n << 20n;

const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

describe.each(tiers)("A64 SIMD and floating point in the %s tier", (_name, options) => {
  it("gives the recorded results, changes nothing else, and goes on behind the instruction", () => {
    const guest = machine([], options);
    guest.set("CPACR_EL1", FPEN_NO_TRAP);
    const hex = (encoding: number): string => encoding.toString(16).padStart(8, "0");
    const actual = results.map(({ encoding }, line) => {
      const before = lineState(line);
      guest.place(CODE, [encoding]);
      prepare(guest.engine, before);
      guest.engine.run(1);
      const goesOn = guest.get("pc") === BigInt(CODE + 4);
      return `${hex(encoding)} ${goesOn ? changesBetween(before, stateOf(guest.engine)) : "pc"}`;
    });
    expect(actual).toEqual(results.map(({ encoding, changes }) => `${hex(encoding)} ${changes}`));
  });

  it("loads literals from an address relative to pc", () => {
    // LDR Q0, .+16; LDR D1, .+12; LDR S2, .+8
    const guest = machine(
      [0x9c00_0080, 0x5c00_0061, 0x1c00_0042, 0, 0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d],
      options,
    );
    guest.set("CPACR_EL1", FPEN_NO_TRAP);
    guest.engine.run(3);
    expect(guest.engine.readField(elementOf(v, 0))).toBe(0x100f_0e0d_0c0b_0a09_0807_0605_0403_0201n);
    expect(guest.engine.readField(elementOf(v, 1))).toBe(0x0807_0605_0403_0201n);
    expect(guest.engine.readField(elementOf(v, 2))).toBe(0x0403_0201n);
  });
});
