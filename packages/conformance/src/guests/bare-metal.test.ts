import { describe, expect, it } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { describeWhere } from "../testing/describe-where.js";
import { recordGuest } from "../testing/guest-recording.js";
import { withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { repositoryRoot } from "../testing/repository.js";
import { bareMetalAmd64, bareMetalElf, bareMetalImage, readBareMetalImage } from "./bare-metal.js";

const pathOf = recordingDirectory();
const examples = join(repositoryRoot, "examples");
const exampleGuests = ["forwarded-arm-calls", "extended-hypercalls", "hv-cpuid-scope", "xmm-output"].map((name) =>
  join(examples, name, "guest.elf"),
);
const script = join(repositoryRoot, "guests", "build.sh");
const recordedToolChain = readFileSync(join(repositoryRoot, "guests", "toolchain.txt"), "utf8");
const { stdout: presentToolChain } = spawnSync(script, ["--toolchain"], { encoding: "utf8" });

describe("the bare-metal guest", () => {
  it.each([bareMetalElf, bareMetalImage, bareMetalAmd64])("is small enough to ship: %s", (path) => {
    expect(statSync(path).size).toBeLessThan(64 << 10);
  });

  it("has the header of a Linux Image, and an ELF file for AArch64 with symbols", () => {
    expect(Buffer.from(readBareMetalImage()).toString("latin1", 56, 60)).toBe("ARM\x64");
    const elf = readFileSync(bareMetalElf);
    const EM_AARCH64 = 183;
    expect(elf.readUInt16LE(18)).toBe(EM_AARCH64);
    expect(elf.includes("watched_record\0")).toBe(true);
  });

  it("is the same guest from either file, but for where it lies", async () => {
    const recorded = async (path: string): Promise<object> => {
      const kernel = { name: basename(path), bytes: new Uint8Array(readFileSync(path)) };
      const setup = { kernel, append: "scenario=hypercalls" };
      const { console, stop } = await recordGuest(setup, pathOf(basename(path)));
      const { icount, exitNumber } = await withRecording(pathOf(basename(path)), ({ end }) => end);
      return { console: console.replace(/ image at 0x\w+/, ""), stop, icount, exitNumber };
    };
    expect(await recorded(bareMetalElf)).toEqual(await recorded(bareMetalImage));
  });
});

describeWhere(presentToolChain === recordedToolChain)("the guests, built again by the same tool chain", () => {
  it("is the same, byte for byte", () => {
    const output = mkdtempSync(join(tmpdir(), "hvjournal-guests-"));
    try {
      const { status, stderr } = spawnSync(script, [output], { encoding: "utf8" });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      for (const path of [bareMetalElf, bareMetalImage]) {
        expect(readFileSync(join(output, basename(path))).equals(readFileSync(path))).toBe(true);
      }
      for (const [root, path] of [
        ...exampleGuests.map((guest) => [examples, guest] as const),
        [join(repositoryRoot, "guests"), bareMetalAmd64] as const,
      ]) {
        expect(readFileSync(join(output, relative(root, path))).equals(readFileSync(path))).toBe(true);
      }
    } finally {
      rmSync(output, { recursive: true });
    }
  });
});
