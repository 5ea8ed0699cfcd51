import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import type { PlainValue } from "../event/event-kind.js";
import { decodeCanonical, encodeCanonical, PlainValueError, plainValue } from "./canonical-encoding.js";
import { decodeUtf8, encodeUtf8, Utf8Decoder } from "./utf8.js";

const { value } = fc.letrec<{ value: PlainValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
    fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(fc.string(), tie("value"), { maxKeys: 5, noNullPrototype: true }),
  ),
}));

describe("canonical bytes", () => {
  it("are read back as what was written", () => {
    fc.assert(
      fc.property(value, (each) => {
        expect(decodeCanonical(encodeCanonical(each))).toEqual(each);
      }),
      { numRuns: 300 },
    );
  });

  it("do not depend on the order of a map's keys, and differ where data differs", () => {
    const bytes = encodeCanonical({ b: 1, a: [2n, "x"] });
    expect(encodeCanonical({ a: [2n, "x"], b: 1 })).toEqual(bytes);
    for (const other of [{ b: 1, a: [2, "x"] }, { b: 1, a: [2n, "y"] }, { b: 1 }, { b: true, a: [2n, "x"] }])
      expect(encodeCanonical(other)).not.toEqual(bytes);
    expect(encodeCanonical(-0)).toEqual(encodeCanonical(0));
  });

  it("are refused when cut short, continued or of an unknown tag", () => {
    const bytes = encodeCanonical({ a: [1, "two", 3n] });
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeCanonical(bytes.subarray(0, length))).toThrow(RangeError);
    expect(() => decodeCanonical(Uint8Array.of(...bytes, 0))).toThrow(/1 bytes behind/);
    expect(() => decodeCanonical(Uint8Array.of(77))).toThrow(/unknown tag 77/);
  });

  it("are not made of what is no plain data; the place is named", () => {
    expect(() => plainValue({ a: [1, { b: () => 1 }] }, "state")).toThrow(
      /state\.a\[1\]\.b: function is not plain data/,
    );
    expect(() => plainValue({ a: new Map() }, "state")).toThrow(PlainValueError);
    expect(() => plainValue(NaN)).toThrow(/not a finite number/);
    expect(() => encodeCanonical(1n << 64n)).toThrow(/64 bits/);
    expect(plainValue({ a: undefined, b: 1 })).toEqual({ b: 1 });
  });
});

describe("UTF-8", () => {
  it("is what the host's own coder says", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect([...encodeUtf8(text)]).toEqual([...new TextEncoder().encode(text)]);
        expect(decodeUtf8(encodeUtf8(text))).toBe(
          new TextDecoder("utf-8", { ignoreBOM: true }).decode(encodeUtf8(text)),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("gives a replacement for malformed bytes and goes on with the next character", () => {
    expect(decodeUtf8(Uint8Array.of(0x61, 0xff, 0x62))).toBe("a\ufffdb");
    expect(decodeUtf8(Uint8Array.of(0xe2, 0x82, 0x41))).toBe("\ufffdA");
    expect(decodeUtf8(Uint8Array.of(0xe2, 0x82))).toBe("\ufffd");
    const decoder = new Utf8Decoder();
    expect([0xe2, 0x82, 0xac].map((byte) => decoder.push(byte))).toEqual(["", "", "€"]);
  });
});
