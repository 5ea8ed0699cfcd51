import { describe, expect, it } from "@jest/globals";
import { hostTimeText, plainText, quotedBytes, resultText, u64 } from "./value-text.js";

describe("a value", () => {
  it("that a call gave back reads as C programmers write it", () => {
    expect([0n, 2n ** 64n - 1n, 9n, 10n, 0x51a7n].map(resultText)).toEqual(["0", "-1", "9", "0xa", "0x51a7"]);
  });

  it("of two words is unsigned", () => {
    expect(u64({ low: 0xffff_ffff, high: 0x8000_0000 })).toBe(0x8000_0000_ffff_ffffn);
  });

  it("of bytes shows ASCII as it is and escapes the rest", () => {
    expect(quotedBytes(Uint8Array.of(0x61, 0x27, 0x5c, 0x0a, 0x1b, 0xff))).toBe(String.raw`'a\'\\\n\x1b\xff'`);
  });

  it("of plain data stands on one line, addresses in hexadecimal", () => {
    expect(plainText({ base: 0xc600_0000, action: "forward", seq: 4, old: null, mask: [1n] })).toBe(
      "{base 0xc6000000, action forward, seq 4, old null, mask [0x1]}",
    );
  });

  it("of the host's time is short", () => {
    expect([3.2, 1900].map(hostTimeText)).toEqual(["3 ms", "1.9 s"]);
  });
});
