import { describe, expect, it } from "@jest/globals";
import { gzipSync } from "node:zlib";
import { arm64Image, elf, elfNote, type TestSegment } from "../testing/kernel-files.js";
import { bzImage, elf32, multibootHeader } from "../testing/x86-kernel-files.js";
import { BootError } from "./boot-error.js";
import { bootX86, type X86Boot, type X86BootOptions } from "./x86-boot.js";

const MEBIBYTE = 1024 * 1024;
const X86_64 = 62;

function boot(bytes: Uint8Array, options: Partial<X86BootOptions> = {}): X86Boot {
  return bootX86({
    kernel: { name: "guest", bytes },
    initrd: undefined,
    append: "console=ttyS0",
    ram: { base: 0, bytes: 64 * MEBIBYTE },
    acpi: { vcpuCount: 1, virtio: [] },
    rngSeed: Uint8Array.of(1, 2, 3, 4),
    ...options,
  });
}

/** What lies at an address behind a boot. */
function memoryAt({ segments }: X86Boot, address: number): DataView {
  const found = segments.find(
    (segment) => address >= segment.address && address < segment.address + segment.bytes.length,
  );
  if (found === undefined) throw new Error(`nothing lies at 0x${address.toString(16)}`);
  const { buffer, byteOffset, byteLength } = found.bytes;
  const skip = address - found.address;
  return new DataView(buffer, byteOffset + skip, byteLength - skip);
}

function registersOf({ registers }: X86Boot): Record<string, bigint> {
  return Object.fromEntries(registers.map(({ name, value }) => [name, value]));
}

function textAt(from: X86Boot, address: number): string {
  const view = memoryAt(from, address);
  const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  return bytes.toString("latin1", 0, bytes.indexOf(0));
}

const initrd = { name: "initrd", bytes: new Uint8Array(5000).fill(0x17) };
const code: TestSegment = { virtual: 0x10_0000n, physical: 0x10_0000n, content: [1, 2, 3, 4, 5, 6, 7, 8] };
const pvhNote = elfNote({ owner: "Xen", type: 18, content: [0x04, 0, 0x10, 0, 0, 0, 0, 0] });

describe("Linux's 64-bit boot protocol", () => {
  it("enters the kernel 512 bytes into its preferred place, in long mode with identical addresses", () => {
    const booted = boot(bzImage(4096));
    const registers = registersOf(booted);
    expect(registers).toMatchObject({ rip: 0x100_0200n, rsi: 0x7000n, rflags: 2n, efer: 0x500n, cr0: 0x8000_0011n });
    expect(memoryAt(booted, 0x100_0fff).getUint8(0)).toBe(0x5a);
    const table = memoryAt(booted, Number(registers["gdtr_base"]));
    expect([
      table.getBigUint64(Number(registers["cs"]), true),
      table.getBigUint64(Number(registers["ds"]), true),
    ]).toEqual([0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn]);
    // The walk of 0xfee00000: fourth directory, a page of 2 MiB.
    const walk = (address: number, index: number): number =>
      Number(memoryAt(booted, address + index * 8).getBigUint64(0, true));
    const pointers = walk(Number(registers["cr3"]), 0);
    const directory = walk(pointers - 3, 3);
    expect(walk(directory - 3, 0x1f7)).toBe(0xfee0_0083);
  });

  it("tells it of its command line, initrd, memory, ACPI tables and seed in the zero page", () => {
    const image = bzImage(4096);
    const booted = boot(image, { initrd });
    const page = memoryAt(booted, 0x7000);
    expect(Buffer.from(image.subarray(0x1f1, 0x210)).equals(new Uint8Array(page.buffer, 0x1f1, 0x1f))).toBe(true);
    expect(page.getUint8(0x210)).toBe(0xff);
    expect(textAt(booted, page.getUint32(0x228, true))).toBe("console=ttyS0");
    const [address, bytes] = [page.getUint32(0x218, true), page.getUint32(0x21c, true)];
    expect([address, bytes]).toEqual([64 * MEBIBYTE - 8192, 5000]);
    expect(memoryAt(booted, address + 4999).getUint8(0)).toBe(0x17);
    expect(textAt(booted, Number(page.getBigUint64(0x70, true)))).toMatch(/^RSD PTR /);
    const map = Array.from({ length: page.getUint8(0x1e8) }, (_, index) => {
      const at = 0x2d0 + index * 20;
      return [
        Number(page.getBigUint64(at, true)),
        Number(page.getBigUint64(at + 8, true)),
        page.getUint32(at + 16, true),
      ];
    });
    expect(map).toEqual([
      [0, 0x9_fc00, 1],
      [0xe_0000, 0x2_0000, 2],
      [MEBIBYTE, 63 * MEBIBYTE, 1],
    ]);
    const data = memoryAt(booted, Number(page.getBigUint64(0x250, true)));
    expect([data.getUint32(8, true), data.getUint32(12, true), data.getUint32(16, true)]).toEqual([9, 4, 0x0403_0201]);
  });

  it("goes lower in a RAM in which its preferred place has no room", () => {
    const booted = boot(bzImage(4096, { preferredAddress: 0x310_0000 }));
    expect(registersOf(booted)["rip"]).toBe(0x20_0200n);
  });

  it("puts the initrd where the kernel can reach it", () => {
    const page = memoryAt(boot(bzImage(4096, { initrdAddressMax: 0x2ff_ffff }), { initrd }), 0x7000);
    expect(page.getUint32(0x218, true)).toBe(0x2ff_e000);
  });
});

describe("PVH", () => {
  it("enters an ELF file at the address of its note in 32-bit mode, and tells it all it needs", () => {
    const file = elf(0xffff_ffff_8100_0000n, [code, { ...code, content: pvhNote, isNote: true }], X86_64);
    const booted = boot(file, { initrd });
    const registers = registersOf(booted);
    expect(registers).toMatchObject({
      rip: 0x10_0004n,
      rbx: 0x7000n,
      cr0: 0x11n,
      cs_attributes: 0xc09bn,
      tr_limit: 0x67n,
    });
    expect(registers).not.toHaveProperty("efer");
    const info = memoryAt(booted, 0x7000);
    expect([info.getUint32(0, true), info.getUint32(4, true), info.getUint32(12, true)]).toEqual([0x336e_c578, 1, 1]);
    expect(textAt(booted, Number(info.getBigUint64(24, true)))).toBe("console=ttyS0");
    const module = memoryAt(booted, Number(info.getBigUint64(16, true)));
    expect([module.getBigUint64(0, true), module.getBigUint64(8, true)]).toEqual([BigInt(64 * MEBIBYTE - 8192), 5000n]);
    const map = memoryAt(booted, Number(info.getBigUint64(40, true)));
    expect([info.getUint32(48, true), map.getBigUint64(48, true), map.getUint32(64, true)]).toEqual([3, 0x10_0000n, 1]);
  });
});

describe("Multiboot", () => {
  const header = multibootHeader(3);
  const information = (booted: X86Boot): DataView => memoryAt(booted, Number(registersOf(booted)["rbx"]));

  it("enters a 32-bit ELF file at its entry point, and tells it all it needs", () => {
    const booted = boot(elf32(0x10_0020, { ...code, content: [...header, ...Array<number>(64).fill(0x90)] }), {
      initrd,
    });
    expect(registersOf(booted)).toMatchObject({ rip: 0x10_0020n, rax: 0x2bad_b002n, cr0: 0x11n });
    const info = information(booted);
    expect([info.getUint32(0, true), info.getUint32(4, true), info.getUint32(8, true)]).toEqual([
      0x24d,
      639,
      63 * 1024,
    ]);
    expect(textAt(booted, info.getUint32(16, true))).toBe("console=ttyS0");
    const module = memoryAt(booted, info.getUint32(24, true));
    expect([module.getUint32(0, true), module.getUint32(4, true)]).toEqual([
      64 * MEBIBYTE - 8192,
      64 * MEBIBYTE - 3192,
    ]);
    const map = memoryAt(booted, info.getUint32(48, true));
    expect([info.getUint32(44, true), map.getUint32(0, true), map.getBigUint64(12, true)]).toEqual([72, 20, 0x9_fc00n]);
    expect(textAt(booted, info.getUint32(64, true))).toBe("hvjournal");
  });

  it("enters a 64-bit ELF file too, in 32-bit mode", () => {
    const file = elf(0x10_0010n, [{ ...code, content: [...header, ...Array<number>(64).fill(0x90)] }], X86_64);
    expect(registersOf(boot(file))).toMatchObject({ rip: 0x10_0010n, rax: 0x2bad_b002n, cs_attributes: 0xc09bn });
  });

  it("loads by the addresses of the header where it has some, whatever the file is", () => {
    const addresses = [0x20_0010, 0x20_0000, 0x20_0040, 0x20_1000, 0x20_0030];
    const file = Uint8Array.from([
      ...Array<number>(16).fill(0xee),
      ...multibootHeader(0x1_0000, ...addresses),
      ...Array<number>(80).fill(0x90),
    ]);
    const booted = boot(file);
    expect(registersOf(booted)["rip"]).toBe(0x20_0030n);
    expect(memoryAt(booted, 0x20_0000).getUint8(0)).toBe(0xee);
    expect(memoryAt(booted, 0x20_003f).byteLength).toBe(1);
  });
});

describe("plain 64-bit code", () => {
  it("is entered in long mode, with PVH's information in rdi", () => {
    const booted = boot(elf(0x10_0002n, [code], X86_64));
    expect(registersOf(booted)).toMatchObject({ rip: 0x10_0002n, rdi: 0x7000n, cr3: 0x9000n, cs_attributes: 0xa09bn });
    expect(memoryAt(booted, 0x7000).getUint32(0, true)).toBe(0x336e_c578);
  });

  it("may be flat", () => {
    const kernel = { name: "code", bytes: Uint8Array.of(0xf4), format: "flat", flatOffset: 0x10_0000 } as const;
    expect(registersOf(boot(kernel.bytes, { kernel }))["rip"]).toBe(0x10_0000n);
  });
});

describe("x86 kernel loader", () => {
  const refused: readonly [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(0), /the file is empty/],
    ["a text", Buffer.from("hello, this is a text file"), /it is no kernel: neither a bzImage/],
    ["a script", Buffer.from("#!/bin/sh\n"), /it is a script/],
    ["an arm64 kernel", arm64Image(4096), /it is an arm64 kernel \(Image\); this VM has x86-64 vCPUs/],
    ["an arm64 ELF file", elf(0x10_0000n, [code]), /an ELF file for arm64; this VM has x86-64 vCPUs/],
    ["a gzip-compressed kernel", gzipSync(bzImage(4096)), /gzip-compressed/],
    ["a 32-bit kernel", bzImage(4096, { extendedLoadFlags: 0 }), /it is a 32-bit kernel \(no XLF_KERNEL_64\)/],
    ["an old kernel", bzImage(4096, { version: 0x20a }), /it has boot protocol 2\.10; 2\.12, of Linux 3\.8/],
    ["a zImage", bzImage(4096, { loadFlags: 0 }), /it is a zImage/],
    ["a damaged bzImage", bzImage(4096, { bootFlag: 0 }), /no 0xaa55/],
    ["a truncated bzImage", bzImage(4096).subarray(0, 4096), /it is truncated: 4096 of 5120 bytes/],
    ["a bzImage that ends in its header", bzImage(4096).subarray(0, 0x220), /truncated: 544 bytes, within/],
    [
      "a kernel larger than RAM",
      bzImage(4096, { initBytes: 64 * MEBIBYTE }),
      /takes 67108864 bytes from 0x1000000 on, and RAM has 67108864; give it more memory/,
    ],
    [
      "a 32-bit ELF file that nobody knows how to enter",
      elf32(0x10_0000, code),
      /neither a Multiboot header nor a PVH note/,
    ],
    [
      "a Multiboot kernel that wants a video mode set before all else",
      elf32(0x10_0000, { ...code, content: multibootHeader(0x8) }),
      /requires 0x8, which is not there/,
    ],
    [
      "code where the loader's tables lie",
      elf(0x7000n, [{ ...code, virtual: 0x7000n, physical: 0x7000n }], X86_64),
      /a table of the loader lies at 0x7000; link it at 1 MiB or above/,
    ],
    ["code above RAM", elf(0x10_0000n, [{ ...code, physical: 0x500_0000n }], X86_64), /lies outside RAM/],
  ];

  it.each(refused)("refuses %s and says what it is", (_, bytes, message) => {
    expect(() => boot(bytes)).toThrow(BootError);
    expect(() => boot(bytes)).toThrow(/^can't boot guest: /);
    expect(() => boot(bytes)).toThrow(message);
  });

  it("refuses an initrd that does not fit, and a command line that its kernel would cut", () => {
    const large = { name: "big.gz", bytes: new Uint8Array(50 * MEBIBYTE) };
    expect(() => boot(bzImage(4096), { initrd: large })).toThrow(
      /initrd big.gz of 52428800 bytes does not fit into the 33554432 bytes of RAM behind the kernel; give it more memory/,
    );
    expect(() => boot(bzImage(4096), { append: "x".repeat(2048) })).toThrow(/has 2048 bytes, it takes 2047/);
  });
});
