import { describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { useLargePages } from "./large-pages.js";

const isLinux = process.platform === "linux";

/** By start, the flags of the process's mappings of at least so many KiB: see proc_pid_smaps(5), VmFlags. */
function mappingFlags(kilobytes: number): readonly string[] {
  const smaps = isLinux ? readFileSync("/proc/self/smaps", "utf8") : "";
  return [...smaps.matchAll(/^Size: +(\d+) kB$[^]*?^VmFlags: (.*)$/gm)]
    .filter(([, size]) => Number(size) >= kilobytes)
    .map(([, , flags]) => flags ?? "");
}

const advised = (): number => mappingFlags(8192).filter((flags) => flags.split(" ").includes("hg")).length;

describe("large pages for a guest's memory", () => {
  it("are asked for where the host is Linux, for the bytes that are given alone", () => {
    const before = advised();
    const memory = new WebAssembly.Memory({ initial: 512, maximum: 512 });
    useLargePages(new Uint8Array(memory.buffer, 0x40_0000));
    expect(advised()).toBe(before + (isLinux ? 1 : 0));
  });
});
