import { describe, expect, it } from "@jest/globals";
import type { GuestSymbol } from "@hvjournal/core";
import { Kallsyms, type KernelReader, locateKallsyms } from "./kallsyms.js";

/** Tokens: every byte for itself, but for one that stands for "symbol_" as compression would have it. */
const SYMBOL_TOKEN = 0xf0;
const PREFIX = "symbol_";

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
}

function u32s(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  return padded(bytes);
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function tokenTable(): { readonly table: Buffer; readonly index: Buffer } {
  const texts = Array.from({ length: 256 }, (_, token) =>
    token === SYMBOL_TOKEN ? PREFIX : token === 0 ? "\x01" : String.fromCharCode(token),
  );
  const index = Buffer.alloc(512);
  let at = 0;
  texts.forEach((text, token) => {
    index.writeUInt16LE(at, token * 2);
    at += text.length + 1;
  });
  return { table: padded(Buffer.from(texts.map((text) => `${text}\0`).join(""), "latin1")), index };
}

function encodedNames(names: readonly string[]): { readonly bytes: Buffer; readonly markers: number[] } {
  const markers: number[] = [];
  const pieces: Buffer[] = [];
  let at = 0;
  names.forEach((name, index) => {
    if (index % 256 === 0) markers.push(at);
    const tokens = Buffer.from(`T${name}`.replace(PREFIX, String.fromCharCode(SYMBOL_TOKEN)), "latin1");
    const { length } = tokens;
    const head = length < 0x80 ? Buffer.of(length) : Buffer.of(0x80 | (length & 0x7f), length >> 7);
    pieces.push(head, tokens);
    at += head.length + length;
  });
  return { bytes: padded(Buffer.concat(pieces)), markers };
}

const BASE = 0xffff_8000_0800_0000n;

function kernelImage(
  order: "6.0" | "6.1" | "6.4",
  count: number,
  perCpu = 0,
): { readonly image: Buffer; readonly symbols: GuestSymbol[] } {
  const names = Array.from({ length: count }, (_, index) =>
    index === 5 ? `symbol_${"long".repeat(60)}` : `symbol_${index}`,
  );
  const { bytes, markers } = encodedNames(names);
  const { table, index } = tokenTable();
  // With per-CPU variables, which come first, all other offsets are negative.
  const offsets = names.map((_, position) =>
    position < perCpu || perCpu === 0 ? position * 16 : 2 ** 32 - 1 - position * 16,
  );
  const addresses = [u32s(offsets), u64(BASE)];
  const sequences = padded(Buffer.alloc(count * 3, 0x58));
  const nameParts = [u32s([count]), bytes, u32s(markers)];
  const tokens = [table, index];
  const parts = {
    "6.0": [...addresses, ...nameParts, ...tokens],
    "6.1": [...addresses, ...nameParts, sequences, ...tokens],
    "6.4": [...nameParts, ...tokens, ...addresses, sequences],
  }[order];
  // Digits in a row occur elsewhere too.
  const noise = padded(Buffer.from("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00 and no table", "latin1"));
  return {
    image: Buffer.concat([Buffer.alloc(64, 0xaa), noise, ...parts, Buffer.alloc(64, 0xbb)]),
    symbols: names.map((name, position) => ({
      name,
      address: (position < perCpu ? 0n : BASE) + BigInt(position * 16),
      bytes: 0,
    })),
  };
}

function reader(image: Uint8Array): KernelReader {
  return (offset, bytes) => image.subarray(offset, offset + bytes);
}

function opened(image: Uint8Array): Kallsyms | undefined {
  const place = locateKallsyms(image);
  return place === undefined ? undefined : Kallsyms.open(place, reader(image));
}

describe("a kernel's own symbols", () => {
  it.each([
    ["6.0", 600],
    ["6.0", 1000],
    ["6.1", 600],
    ["6.1", 1000],
    ["6.4", 600],
    ["6.4", 1000],
  ] as const)("are found in the order of Linux %s, %d of them", (order, count) => {
    const { image, symbols } = kernelImage(order, count);
    const table = opened(image);
    expect(table?.size).toBe(count);
    expect(symbols.map(({ address }) => table?.at(address + 15n))).toEqual(symbols);
    expect(symbols.map(({ name }) => table?.find(name))).toEqual(symbols);
    expect(table?.at(BASE - 1n)).toBeUndefined();
    expect(table?.find("another")).toBeUndefined();
  });

  it("have signed offsets where per-CPU variables are absolute, as on x86", () => {
    const { image, symbols } = kernelImage("6.1", 600, 40);
    const table = opened(image);
    expect(symbols.map(({ address }) => table?.at(address + 15n))).toEqual(symbols);
    expect(symbols.map(({ name }) => table?.find(name))).toEqual(symbols);
  });

  it("are read once, however often they are asked for", () => {
    const { image } = kernelImage("6.1", 1000);
    const place = locateKallsyms(image);
    let reads = 0;
    const table =
      place &&
      Kallsyms.open(place, (offset, bytes) => {
        reads += 1;
        return reader(image)(offset, bytes);
      });
    const names = ["symbol_3", "symbol_700"];
    const first = names.map((name) => table?.find(name));
    const readsOfFirst = reads;
    expect(names.map((name) => table?.find(name))).toEqual(first);
    expect(reads).toBe(readsOfFirst);
  });

  it("are not seen where there are none", () => {
    const { image } = kernelImage("6.0", 600);
    expect(locateKallsyms(Buffer.alloc(4096))).toBeUndefined();
    expect(locateKallsyms(image.subarray(0, image.length - 600))).toBeUndefined();
    const broken = Buffer.from(image);
    broken.writeUInt16LE(7, image.length - 64 - 512 + 0x31 * 2);
    expect(locateKallsyms(broken)).toBeUndefined();
  });

  it("are read where they are asked for, and not when something else lies there", () => {
    const { image } = kernelImage("6.1", 1000);
    const place = locateKallsyms(image);
    if (place === undefined) throw new Error("no table");
    let bytesRead = 0;
    const table = Kallsyms.open(place, (offset, bytes) => {
      bytesRead += bytes;
      return reader(image)(offset, bytes);
    });
    expect(table?.at(BASE + 700n * 16n)?.name).toBe("symbol_700");
    expect(bytesRead).toBeLessThan(image.length / 2);
    expect(Kallsyms.open(place, reader(Buffer.alloc(image.length)))).toBeUndefined();
    expect(Kallsyms.open(place, reader(image.subarray(0, place.tokens + 16)))).toBeUndefined();
  });
});
