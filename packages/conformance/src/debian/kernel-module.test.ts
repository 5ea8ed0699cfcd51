import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { newestFirst } from "./apt.js";
import { moduleInformation, modulesInLoadOrder } from "./kernel-module.js";

/** An ELF file with no more than a section name table and .modinfo. */
function moduleFile(information: Record<string, string>): Buffer {
  const headerBytes = 64;
  const sectionBytes = 64;
  const names = Buffer.from("\0.shstrtab\0.modinfo\0");
  const content = Buffer.from(
    Object.entries(information)
      .map(([key, value]) => `${key}=${value}\0`)
      .join(""),
  );
  const sections = headerBytes + names.length + content.length;
  const file = Buffer.alloc(sections + 3 * sectionBytes);
  file.write("\x7fELF\x02", "latin1");
  file.writeBigUInt64LE(BigInt(sections), 0x28);
  file.writeUInt16LE(sectionBytes, 0x3a);
  file.writeUInt16LE(3, 0x3c);
  file.writeUInt16LE(1, 0x3e);
  names.copy(file, headerBytes);
  content.copy(file, headerBytes + names.length);
  const describeSection = (index: number, name: number, offset: number, size: number): void => {
    file.writeUInt32LE(name, sections + index * sectionBytes);
    file.writeBigUInt64LE(BigInt(offset), sections + index * sectionBytes + 0x18);
    file.writeBigUInt64LE(BigInt(size), sections + index * sectionBytes + 0x20);
  };
  describeSection(1, 1, headerBytes, names.length);
  describeSection(2, 11, headerBytes + names.length, content.length);
  return file;
}

describe("kernel modules", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-modules-"));
    mkdirSync(join(directory, "kernel", "drivers"), { recursive: true });
    const needs = {
      virtio: "",
      virtio_ring: "virtio",
      virtio_mmio: "virtio_ring,virtio",
      "virtio-rng": "virtio,rng-core",
    };
    for (const [name, depends] of Object.entries(needs)) {
      writeFileSync(join(directory, "kernel", "drivers", `${name}.ko`), moduleFile({ license: "GPL", depends }));
    }
    writeFileSync(join(directory, "modules.builtin"), "kernel/drivers/char/hw_random/rng-core.ko\n");
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it("are loaded behind what they need, once, and not when they are built in", () => {
    const order = modulesInLoadOrder(directory, ["virtio_rng", "virtio_mmio"]);
    expect(order.map((path) => basename(path))).toEqual([
      "virtio.ko",
      "virtio-rng.ko",
      "virtio_ring.ko",
      "virtio_mmio.ko",
    ]);
  });

  it("that do not exist are named", () => {
    expect(() => modulesInLoadOrder(directory, ["virtio_gpu"])).toThrow(/virtio_gpu is neither below/);
  });

  it("that are no ELF files are named", () => {
    expect(() => moduleInformation(Buffer.from("\xfd7zXZ"), "virtio.ko.xz")).toThrow(
      /virtio\.ko\.xz is not a 64-bit ELF module/,
    );
  });
});

describe("kernel package names", () => {
  it("come with the newest version first", () => {
    const names = ["linux-image-6.1.0-9-cloud", "linux-image-6.1.0-56-cloud", "linux-image-6.1.0-56-cloud-unsigned"];
    expect(names.toSorted(newestFirst)).toEqual([names[2], names[1], names[0]]);
  });
});
