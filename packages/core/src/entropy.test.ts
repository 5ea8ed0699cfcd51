import { describe, expect, it } from "@jest/globals";
import { chachaBlock, SeededEntropy } from "./entropy.js";

const draw = (entropy: SeededEntropy, name: string, count: number): bigint[] => {
  const stream = entropy.stream(name);
  return Array.from({ length: count }, () => stream.next());
};

describe("the entropy of a VM", () => {
  it("is ChaCha20 as in RFC 8439 section 2.3.2", () => {
    const key = Uint32Array.from({ length: 8 }, (_, word) => 0x03020100 + word * 0x04040404);
    const output = new Uint32Array(16);
    chachaBlock(key, Uint32Array.of(1, 0x09000000, 0x4a000000, 0), output);
    expect([...output.subarray(0, 4)].map((word) => word.toString(16))).toEqual([
      "e4e7f110",
      "15593bd1",
      "1fdd0f50",
      "c47120a3",
    ]);
    expect(output[15]?.toString(16)).toBe("4e3c50a2");
  });

  it("gives the same numbers for the same seed, scope and name, and others otherwise", () => {
    const first = draw(new SeededEntropy(7n, "kernel"), "trng", 20);
    expect(draw(new SeededEntropy(7n, "kernel"), "trng", 20)).toEqual(first);
    const others = [
      draw(new SeededEntropy(8n, "kernel"), "trng", 20),
      draw(new SeededEntropy(7n, "vmm"), "trng", 20),
      draw(new SeededEntropy(7n, "kernel"), "trng0", 20),
      draw(new SeededEntropy(7n, "kernel"), "a name of more than sixteen bytes", 20),
      draw(new SeededEntropy(7n, "kernel"), "a name of more than sixteen byte", 20),
    ];
    expect(new Set([first, ...others].flat()).size).toBe(6 * 20);
  });

  it("keeps its numbers for ever: recordings depend on them", () => {
    const numbers = draw(new SeededEntropy(7301188n, "kernel"), "schedule", 2).map((number) => number.toString(16));
    expect(numbers).toMatchInlineSnapshot(`
     [
       "9d91ed9fb8884ecc",
       "74fadc5eeb2c256a",
     ]
    `);
  });

  it("goes on from saved counters as if it had drawn all before", () => {
    const entropy = new SeededEntropy(1n, "vmm");
    draw(entropy, "a", 13);
    draw(entropy, "b", 3);
    entropy.stream("never used");
    expect(entropy.counters()).toEqual({ a: 13n, b: 3n });
    const next = [
      draw(new SeededEntropy(1n, "vmm"), "a", 23).slice(13),
      draw(new SeededEntropy(1n, "vmm"), "b", 13).slice(3),
    ];
    const restored = new SeededEntropy(1n, "vmm");
    draw(restored, "a", 5);
    draw(restored, "c", 5);
    restored.restoreCounters(entropy.counters());
    expect(restored.counters()).toEqual({ a: 13n, b: 3n });
    expect([draw(restored, "a", 10), draw(restored, "b", 10)]).toEqual(next);
  });

  it("refuses a seed beyond 64 bits", () => {
    expect(() => new SeededEntropy(1n << 64n, "vmm")).toThrow(/does not fit into 64 bits/);
  });
});
