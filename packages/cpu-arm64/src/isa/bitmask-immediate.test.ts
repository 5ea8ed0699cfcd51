import { describe, expect, it } from "@jest/globals";
import { bitfieldMask, bitmaskImmediate, isWideImmediate, validBitmaskImmediate } from "./bitmask-immediate.js";

function everyImmediate(width: 32 | 64): (bigint | undefined)[] {
  const all: (bigint | undefined)[] = [];
  for (let code = 0; code < 1 << 13; code++) all.push(bitmaskImmediate(code >> 12, (code >> 6) & 63, code & 63, width));
  return all;
}

describe("bitmask immediates", () => {
  it.each([
    [32, 1302],
    [64, 5334],
  ] as const)("are %i bits wide in as many values as rotated runs of ones repeat", (width, count) => {
    const values = new Set(everyImmediate(width).filter((value) => value !== undefined));
    expect(values.size).toBe(count);
    expect(values.has(0n)).toBe(false);
    expect(values.has((1n << BigInt(width)) - 1n)).toBe(false);
  });

  it("expand element sizes from 2 to 64", () => {
    expect(bitmaskImmediate(0, 0, 0b111100, 64)).toBe(0x5555_5555_5555_5555n);
    expect(bitmaskImmediate(0, 1, 0b110001, 64)).toBe(0x8181_8181_8181_8181n);
    expect(bitmaskImmediate(0, 0, 0b011111, 32)).toBeUndefined();
    expect(bitmaskImmediate(1, 63, 0, 64)).toBe(2n);
  });

  it("are refused with their fields where they are reserved", () => {
    expect(() => validBitmaskImmediate(1, 2, 3, 32)).toThrow(
      "reserved bitmask immediate: N 1, immr 2, imms 3, 32 bits",
    );
  });
});

describe("bitfield masks", () => {
  it("select the field at bit 0 when it is extracted and at its place when it is inserted", () => {
    expect(bitfieldMask(4, 11, 64)).toBe(0xffn);
    expect(bitfieldMask(60, 7, 64)).toBe(0xff0n);
    expect(bitfieldMask(28, 3, 32)).toBe(0xf0n);
    expect(bitfieldMask(0, 63, 64)).toBe(0xffff_ffff_ffff_ffffn);
  });
});

describe("wide immediates", () => {
  it("are one halfword, or all but one halfword", () => {
    expect(isWideImmediate(0xffff_0000n, 64)).toBe(true);
    expect(isWideImmediate(0xffff_ffff_0000_ffffn, 64)).toBe(true);
    expect(isWideImmediate(0xffff_8000n, 32)).toBe(true);
    expect(isWideImmediate(0xffff_8000n, 64)).toBe(false);
  });
});
