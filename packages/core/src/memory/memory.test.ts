import { describe, expect, it } from "@jest/globals";
import { plainDigester } from "../testing/digester.js";
import { PlainMemory } from "../testing/plain-memory.js";
import { randomNumbers } from "../testing/recordings.js";
import { MemoryDigest } from "./memory-digest.js";
import { INLINE_BYTES_MAX, memoryWrittenPayload, readMemoryWritten } from "./memory-written.js";
import { PageBaseline } from "./page-baseline.js";
import { toHex } from "./page-hash.js";

const BASE = 0x8000_0000;
const PAGES = 16;

describe("the sum over memory", () => {
  it("depends on content alone, however it was written", () => {
    const seed = 12;
    const random = randomNumbers(seed);
    const memory = new PlainMemory(BASE, PAGES * 4096);
    const digest = new MemoryDigest(memory);
    const empty = toHex(digest.current());
    for (let round = 0; round < 60; round++) {
      memory.write(
        BASE + random(PAGES * 4096 - 8),
        Uint8Array.from({ length: 8 }, () => random(3)),
      );
      if (random(3) !== 0) continue;
      const fresh = new PlainMemory(BASE, PAGES * 4096);
      fresh.write(BASE, memory.read(BASE, PAGES * 4096));
      expect({ seed, round, sum: toHex(digest.current()) }).toEqual({
        seed,
        round,
        sum: toHex(new MemoryDigest(fresh).current()),
      });
    }
    memory.write(BASE, new Uint8Array(PAGES * 4096));
    expect(toHex(digest.current())).toBe(empty);
  });

  it("tells pages that changed places apart", () => {
    const sums = [0, 1].map((page) => {
      const memory = new PlainMemory(BASE, PAGES * 4096);
      memory.write(BASE + page * 4096, Uint8Array.of(1));
      return toHex(new MemoryDigest(memory).current());
    });
    expect(sums[0]).not.toBe(sums[1]);
  });
});

describe("a base of pages", () => {
  it("stores what changed once, and restores it lazily", () => {
    const memory = new PlainMemory(BASE, PAGES * 4096);
    const base = new PageBaseline(memory);
    const store = new Map<string, Uint8Array>();
    const pageStore = {
      hasPage: (hash: string) => store.has(hash),
      storePage: (hash: string, content: Uint8Array) => void store.set(hash, content.slice()),
    };
    memory.write(BASE + 4096, Uint8Array.of(7));
    memory.write(BASE + 3 * 4096, Uint8Array.of(7));
    const first = base.advance(plainDigester, pageStore);
    expect(store.size).toBe(1);
    memory.write(BASE + 4096, Uint8Array.of(8));
    memory.write(BASE + 9 * 4096, Uint8Array.of(9));
    base.advance(plainDigester, pageStore);
    expect(store.size).toBe(3);
    memory.write(BASE + 5, Uint8Array.of(1));
    memory.setLoader((index) => base.baseContent(index, (hash) => store.get(hash) ?? new Uint8Array(0)));
    expect(base.restore(first)).toEqual([0, 1, 9]);
    expect(memory.loadCount).toBe(0);
    expect(memory.read(BASE + 4096, 1)).toEqual(Uint8Array.of(7));
    expect([memory.loadCount, memory.read(BASE + 9 * 4096, 1)[0], memory.read(BASE + 5, 1)[0]]).toEqual([1, 0, 0]);
    expect(base.changedPages()).toEqual([]);
    expect(() => base.restore(new Uint8Array(16))).toThrow(/1 page hashes does not fit 16 pages/);
  });
});

describe("pages whose hashes are known", () => {
  it("are not hashed again, unless somebody has written to them since", () => {
    const memory = new PlainMemory(BASE, PAGES * 4096);
    const base = new PageBaseline(memory);
    const hashed: number[] = [];
    const digester = {
      sha256(bytes: Uint8Array) {
        hashed.push(bytes[0] ?? -1);
        return plainDigester.sha256(bytes);
      },
    };
    const stored = new Map<string, Uint8Array>();
    const store = {
      hasPage: (hash: string) => stored.has(hash),
      storePage: (hash: string, content: Uint8Array) => void stored.set(hash, content.slice()),
    };
    const image = Uint8Array.from({ length: 2 * 4096 }, (_, index) => 1 + Math.floor(index / 4096));
    memory.write(BASE + 4096, image);
    const { pages } = memoryWrittenPayload(BASE + 4096, image, plainDigester, undefined);
    base.noteHashes(1, pages as Uint8Array);
    memory.write(BASE + 2 * 4096, Uint8Array.of(77));
    const known = base.advance(digester, store);
    expect(hashed).toEqual([77]);
    expect(stored.size).toBe(2);
    expect(known.subarray(16, 32)).toEqual((pages as Uint8Array).subarray(0, 16));
  });
});

describe("a write by a device", () => {
  it.each([1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 4096, 9000])("of %d bytes is read back", (length) => {
    const store = new Map<string, Uint8Array>();
    const pages = {
      hasPage: (hash: string) => store.has(hash),
      storePage: (hash: string, content: Uint8Array) => void store.set(hash, content.slice()),
    };
    const bytes = Uint8Array.from({ length }, (_, index) => (index < 4096 ? index : 0));
    const payload = memoryWrittenPayload(0x1234, bytes, plainDigester, pages);
    expect(readMemoryWritten(payload, (hash) => store.get(hash) ?? new Uint8Array(0))).toEqual({
      physical: 0x1234,
      bytes,
    });
    expect(store.size).toBe(length > INLINE_BYTES_MAX ? 1 : 0);
  });
});
