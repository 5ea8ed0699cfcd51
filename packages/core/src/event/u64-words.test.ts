import { expect, it } from "@jest/globals";
import fc from "fast-check";
import { highWord, lowWord, u64OfWords } from "./u64-words.js";

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });

it("words come together and apart again", () => {
  fc.assert(
    fc.property(word, word, (low, high) => {
      const value = (BigInt(high) << 32n) | BigInt(low);
      expect(u64OfWords(low, high)).toBe(value);
      expect([lowWord(value), highWord(value)]).toEqual([low, high]);
    }),
  );
});

it("negative values and words stand for their two's complement", () => {
  expect([lowWord(-2n), highWord(-2n)]).toEqual([0xffff_fffe, 0xffff_ffff]);
  expect(u64OfWords(-2, -1)).toBe(0xffff_ffff_ffff_fffen);
});
