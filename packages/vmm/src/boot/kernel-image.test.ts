import { describe, expect, it } from "@jest/globals";
import { gzipSync } from "node:zlib";
import { arm64Image, elf } from "../testing/kernel-files.js";
import { BootError } from "./boot-error.js";
import type { LoadedKernel } from "./kernel-format.js";
import { loadKernel } from "./kernel-image.js";
import { planMemory } from "./memory-layout.js";

const MEBIBYTE = 1024 * 1024;
const RAM = { base: 0x4000_0000, bytes: 16 * MEBIBYTE };

function load(bytes: Uint8Array): LoadedKernel {
  return loadKernel({ bytes, name: "guest" }, RAM);
}

function withBytes(length: number, offset: number, magic: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(magic, offset);
  return bytes;
}

/** An `Image` that is also an EFI program of one section, which ends at `rawEnd`. */
function efiImage(bytes: number, rawEnd: number): Uint8Array {
  const image = arm64Image(bytes);
  const view = new DataView(image.buffer);
  image.set([0x4d, 0x5a]);
  view.setUint32(60, 64, true);
  view.setUint32(64, 0x4550, true);
  view.setUint16(70, 1, true);
  view.setUint16(84, 0, true);
  view.setUint32(88 + 16, rawEnd - 512, true);
  view.setUint32(88 + 20, 512, true);
  return image;
}

describe("kernel loader", () => {
  it("places an arm64 Image at its text offset, with room for all it says it takes", () => {
    const image = arm64Image(4096, { textOffset: 0x8_0000, imageBytes: 2 * MEBIBYTE });
    expect(load(image)).toEqual({
      format: "arm64-image",
      segments: [{ address: 0x4008_0000, bytes: image }],
      entry: 0x4008_0000,
      end: 0x4028_0000,
    });
    expect(load(arm64Image(4096, { imageBytes: 0 })).entry).toBe(0x4008_0000);
    expect(load(arm64Image(4096)).entry).toBe(0x4000_0000);
  });

  it("loads an ELF file by physical addresses, and enters it at the physical address of its entry point", () => {
    const file = elf(0xffff_8000_0000_1004n, [
      { virtual: 0xffff_8000_0020_0000n, physical: 0x4020_0000n, content: [9], memoryBytes: 0x5000 },
      { virtual: 0xffff_8000_0000_1000n, physical: 0x4000_1000n, content: [1, 2, 3, 4, 5, 6, 7, 8] },
    ]);
    const kernel = load(file);
    expect(kernel.entry).toBe(0x4000_1004);
    expect(kernel.end).toBe(0x4020_5000);
    expect(kernel.segments.map(({ address, bytes }) => [address, [...bytes]])).toEqual([
      [0x4000_1000, [1, 2, 3, 4, 5, 6, 7, 8]],
      [0x4020_0000, [9]],
    ]);
  });

  it("enters an ELF file that is linked high at the physical address that it names", () => {
    const high = { virtual: 0xffff_8000_0000_0000n, physical: 0x4020_0000n, content: [1, 2, 3, 4, 5, 6, 7, 8] };
    expect(load(elf(0x4020_0004n, [high])).entry).toBe(0x4020_0004);
  });

  it("places a flat binary where it is asked to, whatever it starts with", () => {
    const bytes = gzipSync("code");
    expect(loadKernel({ bytes, name: "fw", format: "flat" }, RAM).entry).toBe(0x4000_0000);
    expect(loadKernel({ bytes, name: "fw", format: "flat", flatOffset: 0x1000 }, RAM)).toEqual({
      format: "flat",
      segments: [{ address: 0x4000_1000, bytes }],
      entry: 0x4000_1000,
      end: 0x4000_1000 + bytes.length,
    });
    expect(() => loadKernel({ bytes, name: "fw", format: "flat", flatOffset: 2 }, RAM)).toThrow(/offset 2/);
    expect(() => loadKernel({ bytes, name: "fw", format: "flat", flatOffset: 16 * MEBIBYTE }, RAM)).toThrow(
      /do not fit/,
    );
  });

  const valid = elf(0x4000_0000n, [{ virtual: 0x4000_0000n, physical: 0x4000_0000n, content: [1, 2, 3, 4] }]);
  const far = { virtual: 0xffff_8000_0800_0000n, physical: 0xffff_8000_0800_0000n, content: [1] };
  const near = { virtual: 0x4000_0000n, physical: 0x4000_0000n, content: [1, 2, 3, 4], memoryBytes: 64 };
  const refused: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ["an empty file", new Uint8Array(0), /the file is empty/],
    ["text", Buffer.from("hello, this is a text file"), /it is no kernel: neither an arm64 Image/],
    ["a script", Buffer.from("#!/bin/sh\n"), /it is a script/],
    [
      "a gzip-compressed kernel",
      gzipSync(arm64Image(4096)),
      /gzip-compressed \(Image.gz\); decompress it first: gunzip/,
    ],
    ["an xz file", withBytes(64, 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), /xz --decompress/],
    ["an x86 kernel", withBytes(1024, 0x202, [...Buffer.from("HdrS")]), /it is an x86 kernel \(bzImage\)/],
    ["a 32-bit Arm kernel", withBytes(64, 36, [0x18, 0x28, 0x6f, 0x01]), /32-bit Arm kernel/],
    ["an EFI zboot image", withBytes(64, 0, [0x4d, 0x5a, 0, 0, ...Buffer.from("zimg")]), /EFI zboot image/],
    ["an EFI program", withBytes(64, 0, [0x4d, 0x5a]), /EFI program without a Linux header/],
    ["a big-endian Image", arm64Image(4096, { flags: 1 }), /big-endian/],
    [
      "an Image larger than RAM",
      arm64Image(4096, { imageBytes: 32 * MEBIBYTE }),
      /takes 33554432 bytes .* has 16777216/,
    ],
    ["a truncated Image", efiImage(4096, 8192), /it is truncated: 4096 of 8192 bytes/],
    ["an ELF header that ends early", valid.subarray(0, 40), /truncated: 40 of the 64 bytes/],
    [
      "an ELF file that ends early",
      valid.subarray(0, valid.length - 1),
      /truncated: a segment ends at byte 124 of 123/,
    ],
    ["program headers that end early", valid.subarray(0, 80), /truncated before the end of its program headers/],
    ["an x86-64 ELF file", elf(0n, [], 62), /ELF file for x86-64/],
    ["an ELF file of another machine", elf(0n, [], 21), /ELF file for machine 21/],
    ["a 32-bit ELF file", valid.with(4, 1), /no 64-bit little-endian/],
    ["an ELF object file", valid.with(16, 1), /type 1, not an executable/],
    ["an ELF file without segments", elf(0n, []), /nothing to load/],
    ["a vmlinux", elf(0n, [far]), /lies outside RAM, 0x40000000..0x41000000 \(a vmlinux/],
    [
      "an ELF file whose segments overlap",
      elf(0x4000_0000n, [near, { ...near, physical: 0x4000_0020n }]),
      /overlap at 0x40000020/,
    ],
    ["an ELF file that is entered outside itself", elf(0x10n, [near]), /entry point 0x10 lies in none/],
  ];

  it.each(refused)("refuses %s and says what it is", (_, bytes, message) => {
    expect(() => load(bytes)).toThrow(BootError);
    expect(() => load(bytes)).toThrow(/^can't boot guest: /);
    expect(() => load(bytes)).toThrow(message);
  });

  it("accepts an Image whose EFI sections are all there", () => {
    expect(load(efiImage(8192, 8192)).format).toBe("arm64-image");
  });
});

describe("memory layout", () => {
  it("leaves the kernel 128 MiB, or half of a small RAM", () => {
    expect(planMemory({ base: RAM.base, bytes: 256 * MEBIBYTE }, RAM.base + MEBIBYTE, 5000)).toEqual({
      initrdAddress: 0x4800_0000,
      deviceTreeAddress: 0x4820_0000,
    });
    expect(planMemory(RAM, RAM.base + MEBIBYTE, 0)).toEqual({
      initrdAddress: undefined,
      deviceTreeAddress: 0x4080_0000,
    });
  });

  it("puts an initrd directly behind the kernel when it does not fit otherwise", () => {
    expect(planMemory(RAM, RAM.base + 0x1001, 10 * MEBIBYTE)).toEqual({
      initrdAddress: 0x4000_2000,
      deviceTreeAddress: 0x40c0_0000,
    });
  });

  it("refuses what does not fit at all", () => {
    expect(() => planMemory(RAM, RAM.base + MEBIBYTE, 14 * MEBIBYTE)).toThrow(
      /an initrd of 14680064 bytes .* the 15728640 bytes of RAM behind the kernel; give it more memory/,
    );
  });
});
