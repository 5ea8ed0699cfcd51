import { describe, expect, it } from "@jest/globals";
import { parseCount, parseSize, parseU64 } from "./sizes.js";

describe("a size", () => {
  it("is in MiB without a unit, as QEMU's -m takes it", () => {
    expect(["256", "256M", "1G", "512K", "1GiB"].map((text) => parseSize("-m", text))).toEqual([
      2 ** 28,
      2 ** 28,
      2 ** 30,
      2 ** 19,
      2 ** 30,
    ]);
    expect(() => parseSize("--memory", "lots")).toThrow("--memory lots: expected a size such as 256M or 1G");
  });
});

describe("a count", () => {
  it("has decimal factors and is more than nothing", () => {
    expect(["7", "64M", "1G"].map((text) => parseCount("-n", text))).toEqual([7, 64e6, 1e9]);
    for (const text of ["0", "-1", "1T"]) expect(() => parseCount("-n", text)).toThrow(`-n ${text}`);
  });
});

describe("a 64-bit number", () => {
  it("is decimal or hexadecimal and fits", () => {
    expect(parseU64("--seed", "0xffffffffffffffff")).toBe(2n ** 64n - 1n);
    expect(() => parseU64("--seed", "0x10000000000000000")).toThrow("more than 64 bits");
    expect(() => parseU64("--seed", "12a")).toThrow("expected a number");
  });
});
