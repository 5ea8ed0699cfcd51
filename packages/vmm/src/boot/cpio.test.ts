import { describe, expect, it } from "@jest/globals";
import { cpioArchive } from "./cpio.js";

interface Unpacked {
  readonly path: string;
  readonly mode: string;
  readonly content: string;
  readonly device: string;
}

/** Reads an archive as the kernel's init/initramfs.c does. */
function unpack(archive: Uint8Array): Unpacked[] {
  const text = Buffer.from(archive).toString("latin1");
  const entries: Unpacked[] = [];
  const align = (offset: number): number => Math.ceil(offset / 4) * 4;
  for (let at = 0; ;) {
    const field = (index: number): number => Number.parseInt(text.slice(at + 6 + index * 8, at + 14 + index * 8), 16);
    if (text.slice(at, at + 6) !== "070701") {
      throw new Error(`no header at ${at}`);
    }
    const nameEnd = at + 110 + field(11);
    const path = text.slice(at + 110, nameEnd - 1);
    const contentAt = align(nameEnd);
    if (path === "TRAILER!!!") {
      return entries;
    }
    const content = text.slice(contentAt, contentAt + field(6));
    entries.push({ path, mode: field(1).toString(8), content, device: `${field(9)}:${field(10)}` });
    at = align(contentAt + field(6));
  }
}

describe("cpio archive", () => {
  it("holds files, directories, symlinks and devices with their modes", () => {
    const archive = cpioArchive([
      { kind: "file", path: "/init", content: Buffer.from("#!/bin/sh\n"), mode: 0o755 },
      { kind: "directory", path: "dev", mode: 0o700 },
      { kind: "characterDevice", path: "dev/console", major: 5, minor: 1 },
      { kind: "blockDevice", path: "dev/vda", major: 254, minor: 0, mode: 0o660 },
      { kind: "symlink", path: "bin/sh", target: "busybox" },
    ]);
    expect(archive.length % 512).toBe(0);
    expect(unpack(archive)).toEqual([
      { path: "init", mode: "100755", content: "#!/bin/sh\n", device: "0:0" },
      { path: "dev", mode: "40700", content: "", device: "0:0" },
      { path: "dev/console", mode: "20600", content: "", device: "5:1" },
      { path: "dev/vda", mode: "60660", content: "", device: "254:0" },
      { path: "bin", mode: "40755", content: "", device: "0:0" },
      { path: "bin/sh", mode: "120777", content: "busybox", device: "0:0" },
    ]);
  });

  it("puts directories before what they hold, whatever the order of the entries", () => {
    const archive = cpioArchive([
      { kind: "file", path: "a/b/c", content: new Uint8Array(3) },
      { kind: "directory", path: "a/b", mode: 0o711 },
    ]);
    expect(unpack(archive).map(({ path, mode }) => `${path} ${mode}`)).toEqual([
      "a 40755",
      "a/b 40711",
      "a/b/c 100644",
    ]);
  });

  it("is equal for equal entries", () => {
    const entry = { kind: "file", path: "x", content: new Uint8Array(5) } as const;
    expect(cpioArchive([entry])).toEqual(cpioArchive([{ ...entry }]));
    expect(cpioArchive([entry], 1)).not.toEqual(cpioArchive([entry]));
  });

  it("refuses paths that lead nowhere or occur twice", () => {
    const file = (path: string) => ({ kind: "file", path, content: new Uint8Array(0) }) as const;
    expect(() => cpioArchive([file("../etc/passwd")])).toThrow(/can't archive path/);
    expect(() => cpioArchive([file("/")])).toThrow(/can't archive path/);
    expect(() => cpioArchive([file("etc/a"), file("/etc/a")])).toThrow(/occurs twice/);
  });
});
