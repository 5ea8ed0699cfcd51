import { describe, expect, it } from "@jest/globals";
import { readElfSymbols } from "./elf-symbols.js";
import { SymbolList, Symbols } from "./symbols.js";
import { readSystemMap } from "./system-map.js";

const SYMBOLS = new SymbolList([
  { name: "second", address: 0x2000n, bytes: 0x10 },
  { name: "first", address: 0x1000n, bytes: 0 },
]);

describe("an address", () => {
  const symbols = new Symbols(SYMBOLS);

  it("has the name of the symbol that it lies in, with its distance", () => {
    expect([0x1000n, 0x1ff0n, 0x2000n, 0x200fn].map((address) => symbols.name(address))).toEqual([
      "first",
      "first+0xff0",
      "second",
      "second+0xf",
    ]);
  });

  it("has none before the first symbol, and behind the end of one with a size", () => {
    expect([0xfffn, 0x2010n, 2n ** 40n].map((address) => symbols.name(address))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("has none behind the label that ends a section: a kernel's data has no names between its functions' ones", () => {
    const ended = new Symbols(new SymbolList([{ name: "_einittext", address: 0x3000n, bytes: 0 }]));
    expect([0x3000n, 0x3010n].map((address) => ended.name(address))).toEqual(["_einittext", undefined]);
  });

  it("stands in an instruction by its name", () => {
    const far = new Symbols(new SymbolList([{ name: "panic", address: 0xffff_cd58_36b9_d474n, bytes: 0 }]));
    expect(far.inText("bl 0xffffcd5836b9d474")).toBe("bl panic");
    expect(far.inText("mov x0, #0x12345678")).toBe("mov x0, #0x12345678");
  });

  it("to return to is named after the function that the call is in, also where the next one begins there", () => {
    expect([0x1004n, 0x2000n, 0x2010n].map((address) => symbols.callerName(address))).toEqual([
      "first+0x4",
      "first+0x1000",
      "second+0x10",
    ]);
    expect(symbols.callerName(0x1000n)).toBeUndefined();
  });

  it("whose name is misspelt is told by the one that may be meant", () => {
    expect(symbols.adviceOn("secnd")).toBe("did you mean second?");
    expect(symbols.adviceOn("schedule_timeout")).toBe("give --symbols vmlinux or System.map");
  });

  it("has the same name in a kernel that was loaded elsewhere", () => {
    const moved = SYMBOLS.movedBy(-0x800n);
    expect(moved.at(0x1800n)?.name).toBe("second");
    expect(moved.find("first")?.address).toBe(0x800n);
  });
});

describe("a System.map", () => {
  it("gives what is defined, without the marks of the assembler", () => {
    const text =
      "ffff800008010000 T _stext\nffff800008010010 t $x\n0000000000000000 U missing\nffff800008010020 t local\t[module]\nffff800008020000 D jiffies\n";
    expect(readSystemMap(Buffer.from(text))).toEqual([
      { name: "_stext", address: 0xffff_8000_0801_0000n, bytes: 0 },
      { name: "local", address: 0xffff_8000_0801_0020n, bytes: 0 },
      { name: "jiffies", address: 0xffff_8000_0802_0000n, bytes: 0, isData: true },
    ]);
  });

  it("is known by every line", () => {
    expect(readSystemMap(Buffer.from("hello\n"))).toBe(
      "line 1 is no line of a System.map, and the file is no ELF file",
    );
    expect(readSystemMap(Buffer.from(""))).toBe("it has no symbols");
  });
});

describe("an ELF file without what is needed", () => {
  const header = (): Buffer => {
    const file = Buffer.alloc(64);
    file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
    return file;
  };

  it("says what is missing", () => {
    expect(readElfSymbols(Buffer.alloc(10))).toBe("it is no 64-bit little-endian ELF file");
    expect(readElfSymbols(header())).toBe("the ELF file was stripped: it has no symbol table");
    const outside = header();
    outside.writeBigUInt64LE(1000n, 0x28);
    outside.writeUInt16LE(64, 0x3a);
    outside.writeUInt16LE(1, 0x3c);
    expect(readElfSymbols(outside)).toBe("its section headers lie outside of the file");
  });
});
