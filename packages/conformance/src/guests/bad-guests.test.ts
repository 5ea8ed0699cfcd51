/** Invariant 11: a guest that can't be run, or that runs into nothing, gets one clear word about it. */
import { describe, expect, it } from "@jest/globals";
import { gzipSync } from "node:zlib";
import { CoreKind, Verifier } from "@hvjournal/core";
import { arm64 } from "@hvjournal/cpu-arm64";
import { BootError, VIRT_ADDRESS_MAP } from "@hvjournal/vmm";
import {
  createBoard,
  createGuest,
  digester,
  type GuestSetup,
  MIB,
  recordGuest,
  runGuest,
} from "../testing/guest-recording.js";
import { countObserved, replayerOf, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { readBareMetalImage } from "./bare-metal.js";

const pathOf = recordingDirectory();

const B_SELF = 0x1400_0000;
const WFI = 0xd503_207f;
/** LDR X0, [X1]: X1 is 0 at the start, where no RAM and no device is. */
const LDR_X0_X1 = 0xf940_0020;

function flat(words: readonly number[]): GuestSetup {
  const bytes = new Uint8Array(Uint32Array.from(words).buffer);
  return { kernel: { name: "flat", bytes, format: "flat" }, append: "" };
}

function failureOf(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing was refused");
}

describe("a guest that gets nowhere", () => {
  it.each<[string, GuestSetup, { what: string; by: RegExp }]>([
    ["branches to itself", flat([B_SELF]), { what: "stuck", by: /^vcpu0 branches to itself at 0x40000000/ }],
    ["branches to itself behind its work", flat([0xd503_201f, B_SELF]), { what: "stuck", by: /at 0x40000004/ }],
    ["sleeps with no timer set", flat([WFI]), { what: "waiting", by: /^every vCPU waits and no timer is set$/ }],
    [
      "sleeps again and again with no timer set",
      flat([WFI, (B_SELF | 0x03ff_ffff) >>> 0]),
      { what: "waiting", by: /^every vCPU waits and no timer is set$/ },
    ],
  ])("and %s stops once, says why, and replays to there", async (name, setup, { what, by }) => {
    const { path, stop } = await recordGuest(setup, pathOf(name.replaceAll(" ", "-")), { unitsMax: 5_000_000 });
    expect(stop.what).toBe(what);
    expect(stop.by).toMatch(by);
    await withRecording(path, async (reader) => {
      expect(rowsOf(reader, CoreKind.stopped.name).map(({ payload }) => payload)).toEqual([
        expect.objectContaining({ what, by: stop.by }),
      ]);
      const replayer = replayerOf(reader);
      expect(replayer.advance()).toBe("end");
      expect(replayer.machine.icount).toBe(reader.end.icount);
      expect(replayer.compared).toEqual(countObserved(reader));
      const verifier = new Verifier({ architecture: arm64, digester, reader, vmm: createBoard(setup) });
      while ((await verifier.step(1e9)) !== "equal");
      expect(verifier.compared).toEqual(countObserved(reader));
    });
  });

  it("and faults in its own exception vectors for ever stops, says where, and replays to there", async () => {
    const { path, stop } = await recordGuest({ append: "scenario=vectors" }, pathOf("vectors"));
    expect(stop).toMatchObject({
      what: "stuck",
      by: expect.stringMatching(/^vcpu0 takes the same exception for ever/),
    });
    await withRecording(path, (reader) => {
      const replayer = replayerOf(reader);
      // From the last but one: the last stands at the end.
      replayer.restore(reader.loadSnapshot(reader.snapshots().at(-2)?.number ?? 0));
      expect(replayer.advance()).toBe("end");
      expect(replayer.machine.kernel.stuckReason).toBe(stop.by);
    });
  });

  it("reads where nothing is, gets zeros, and the board has counted it", async () => {
    const recorder = createGuest(flat([LDR_X0_X1, B_SELF]), pathOf("unclaimed"));
    await runGuest(recorder, { unitsMax: 5_000_000 });
    expect(recorder.machine.kernel.readRegister(0, "x0")).toBe(0n);
    expect(recorder.machine.exitNumber).toBe(1);
  });
});

describe("random words as code", () => {
  it.each([1, 2, 3])("end the guest of seed %d, and its replay, in the same way", async (seed) => {
    const setup = { append: `scenario=garbage seed=${seed}` };
    const { path, stop, console } = await recordGuest(setup, pathOf(`garbage-${seed}`));
    expect(["powered off", "stuck", "waiting"]).toContain(stop.what);
    if (stop.what === "powered off") expect(console).toMatch(/unhandled exception: \S+ EL1h esr 0x|garbage: returned/);
    await withRecording(path, (reader) => {
      const replayer = replayerOf(reader, { tier: "regions", tlbEntries: 16 });
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared).toEqual(countObserved(reader));
    });
  });
});

describe("a file that is no kernel for this VM", () => {
  const image = readBareMetalImage();
  const text = (content: string): Uint8Array => new Uint8Array(Buffer.from(content.padEnd(4096, "\0"), "latin1"));
  const bzImage = text("");
  bzImage.set(Buffer.from("HdrS"), 0x202);
  /** An EFI header whose one section ends behind the file. */
  const truncated = text("MZ");
  const view = new DataView(truncated.buffer);
  view.setUint32(56, 0x644d_5241, true);
  view.setUint32(60, 64, true);
  view.setUint32(64, 0x4550, true);
  view.setUint16(64 + 6, 1, true);
  view.setUint32(64 + 24 + 16, 0x1_0000, true);
  view.setUint32(64 + 24 + 20, 0x1000, true);

  it.each<[string, Uint8Array, RegExp]>([
    ["a text", text("hello"), /^can't boot given: it is no kernel: neither an arm64 Image .* nor an ELF file$/],
    ["a script", text("#!/bin/sh\n"), /^can't boot given: it is a script: /],
    ["nothing", new Uint8Array(0), /^can't boot given: the file is empty$/],
    ["an x86 kernel", bzImage, /^can't boot given: it is an x86 kernel \(bzImage\); this VM has arm64 vCPUs$/],
    ["a compressed image", gzipSync(image), /^can't boot given: it is gzip-compressed .* gunzip --keep$/],
    ["an image that was cut off", truncated, /^can't boot given: it is truncated: 4096 of 69632 bytes$/],
  ])("is refused by what it is: %s", (name, bytes, message) => {
    const path = pathOf(`kernel-${name.replaceAll(" ", "-")}`);
    const error = failureOf(() => createGuest({ kernel: { name: "given", bytes }, append: "" }, path));
    expect(error).toBeInstanceOf(BootError);
    expect(error.message).toMatch(message);
  });

  it("is refused with the sizes where memory is too small for it", () => {
    const create = (memoryBytes: number): unknown =>
      createGuest({ append: "", memoryBytes }, pathOf(`memory-${memoryBytes}`));
    expect(() => create(64 << 10)).toThrow(
      /^can't boot guest.img: it takes \d+ bytes .* which has 65536; give it more memory$/,
    );
    expect(() => create(MIB)).toThrow(/^can't boot: an initrd of 0 bytes and a device tree .* do not fit/);
    expect(() => create(MIB + 1)).toThrow(/memoryBytes: 1048577 is no positive multiple of 4096|multiple of 4096/);
    expect(() => create(VIRT_ADDRESS_MAP.ram.bytesMax + 4096)).toThrow(/3 GiB|up to 3221225472/);
  });
});
