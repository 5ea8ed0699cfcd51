import { describe, expect, it } from "@jest/globals";
import { dataAbortSyndrome } from "./data-abort-syndrome.js";

const base = (0x24 << 26) | (1 << 25) | 7;
const ISV = 1 << 24;
const SF = 1 << 15;

/** ISV, SAS, SSE, SRT, SF, AR as the manual lays them out. */
function valid(size: number, register: number, others = 0): number {
  return (base | ISV | (size << 22) | (register << 16) | others) >>> 0;
}

describe("the syndrome of a stage 2 data abort", () => {
  it.each([
    ["ldr w3, [x1]", 0xb940_0023, valid(2, 3)],
    ["ldr x3, [x1, #8]", 0xf940_0423, valid(3, 3, SF)],
    ["ldrb w2, [x1]", 0x3940_0022, valid(0, 2)],
    ["ldrsw x5, [x1]", 0xb980_0025, valid(2, 5, (1 << 21) | SF)],
    ["ldrsh w5, [x1]", 0x79c0_0025, valid(1, 5, 1 << 21)],
    ["ldur w4, [x1, #-4]", 0xb85f_c024, valid(2, 4)],
    ["ldr w4, [x1, x2]", 0xb862_6824, valid(2, 4)],
    ["ldtr w4, [x1]", 0xb840_0824, valid(2, 4)],
    ["ldar w4, [x1]", 0x88df_fc24, valid(2, 4, 1 << 14)],
  ])("describes %s", (_text, encoding, syndrome) => {
    expect(dataAbortSyndrome(encoding, false)).toBe(syndrome);
  });

  it.each([
    ["ldp x2, x3, [x1]", 0xa940_0c22],
    ["ldr x7, [x1], #8", 0xf840_8427],
    ["ldr x7, [x1, #8]!", 0xf840_8c27],
    ["ldxr x5, [x1]", 0xc85f_7c25],
    ["ldr q0, [x1]", 0x3dc0_0020],
    ["an instruction that can't be read", undefined],
  ])("says nothing valid about %s", (_text, encoding) => {
    expect(dataAbortSyndrome(encoding, false)).toBe(base >>> 0);
    expect(dataAbortSyndrome(encoding, true)).toBe((base | (1 << 6)) >>> 0);
  });
});
