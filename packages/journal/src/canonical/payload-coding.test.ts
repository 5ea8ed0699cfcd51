import type { EventPayload, PlainValue } from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { ByteCodingError } from "./byte-coding.js";
import { decodePayload, encodePayload, PayloadValueError } from "./payload-coding.js";

const key = fc.string({ maxLength: 40 }).filter((text) => text !== "__proto__");
const { value: plain } = fc.letrec<{ value: PlainValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.string({ unit: "grapheme", maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(key, tie("value"), { maxKeys: 20, noNullPrototype: true }),
  ),
}));
const payload: fc.Arbitrary<EventPayload> = fc.dictionary(key, plain, { noNullPrototype: true });

describe("a payload", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(payload, (value) => expect(decodePayload(encodePayload(value))).toEqual(value)),
      { numRuns: 200 },
    );
  });

  it("has the same bytes whatever the order in which its keys were set", () => {
    fc.assert(
      fc.property(payload, (value) => {
        const reversed = Object.fromEntries(Object.entries(value).toReversed());
        expect(Buffer.from(encodePayload(reversed))).toEqual(Buffer.from(encodePayload(value)));
      }),
      { numRuns: 100 },
    );
  });

  it("is standard msgpack", () => {
    const bytes = encodePayload({ name: "psci", value: 0x1_0003n, bytes: Uint8Array.of(1, 2) });
    expect(Buffer.from(bytes).toString("hex")).toBe(
      "83" + "a56279746573c4020102" + "a46e616d65a470736369" + "a576616c7565d30000000000010003",
    );
  });

  it.each<[string, unknown, string]>([
    ["half of a surrogate pair", { text: "\ud800" }, "payload.text"],
    ["a number that is none", { list: [1, Number.NaN] }, "payload.list[1]"],
    ["more than 64 bits", { value: 2n ** 64n }, "payload.value"],
    ["less than 64 bits", { value: -(2n ** 63n) - 1n }, "payload.value"],
    ["undefined", { map: { value: undefined } }, "payload.map.value"],
    ["a function", { value: () => 1 }, "payload.value"],
    ["a date", { when: new Date(0) }, "payload.when"],
    ["a prototype", JSON.parse('{"__proto__": 1}'), "payload"],
  ])("refuses %s, with its place", (_, value, place) => {
    expect(() => encodePayload(value as EventPayload)).toThrow(
      expect.objectContaining({ name: PayloadValueError.name, place }),
    );
  });

  it("refuses what is nested too deeply", () => {
    let value: PlainValue = 1;
    for (let depth = 0; depth < 100; depth++) value = [value];
    expect(() => encodePayload({ value })).toThrow("nested deeper");
    expect(() =>
      decodePayload(Buffer.concat([Buffer.of(0x81, 0xa1, 0x61), Buffer.alloc(100, 0x91), Buffer.of(1)])),
    ).toThrow(ByteCodingError);
  });

  it("is not read from msgpack with extensions, which could hold code or dates", () => {
    expect(() => decodePayload(new Packr({ useRecords: true }).pack({ a: 1 }))).toThrow(ByteCodingError);
    expect(() => decodePayload(new Packr({ useRecords: false }).pack({ when: new Date(1e12) }))).toThrow(
      ByteCodingError,
    );
    expect(() => decodePayload(new Packr({ useRecords: false, moreTypes: true }).pack({ set: new Set([1]) }))).toThrow(
      ByteCodingError,
    );
  });

  it("is not read from any other bytes without a named error", () => {
    fc.assert(
      fc.property(payload, fc.nat(), fc.nat({ max: 7 }), fc.boolean(), (value, place, bit, cut) => {
        const bytes = encodePayload(value);
        const at = place % bytes.length;
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
        try {
          decodePayload(cut ? bytes.subarray(0, at) : bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(ByteCodingError);
        }
      }),
      { numRuns: 300 },
    );
  });
});
