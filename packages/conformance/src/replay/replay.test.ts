/** A recording is all that a replay needs, and a replay compares all that the recording holds. */
import { describe, expect, it } from "@jest/globals";
import {
  type CacheOptions,
  DivergenceError,
  HotKind,
  journalCursor,
  type Replayer,
  toHex,
  Verifier,
} from "@hvjournal/core";
import { arm64 } from "@hvjournal/cpu-arm64";
import type { RecordingReader } from "@hvjournal/journal";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { readBareMetalImage } from "../guests/bare-metal.js";
import { createBoard, digester, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { mainScenario } from "../testing/main-scenario.js";
import { memoryDrive, randomSectors } from "../testing/memory-drive.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const image = readBareMetalImage();
const drive = memoryDrive("disk0", randomSectors(16, 7));
const { path, console: recordedConsole } = await recordGuest(
  mainScenario({ kernel: { name: "guest.img", bytes: image }, drives: [drive] }),
  pathOf("main"),
);
// From here on there is the recording and nothing else.
image.fill(0xff);
drive.remove();

/** From where the replayer stands to the end; what the replay of the rest compares must be all there is. */
function expectEqualToTheEnd(replayer: Replayer, reader: RecordingReader): void {
  const { exits: exitsBefore } = replayer.compared;
  const firstSeq = replayer.nextSeq;
  const firstExit = replayer.machine.exitNumber;
  const digestsBefore = replayer.compared.digests;
  expect(replayer.advance()).toBe("end");
  expect(replayer.compared.exits - exitsBefore).toBe(reader.end.exitNumber - firstExit);
  expect(replayer.compared.digests - digestsBefore).toBe(digestsFrom(reader, firstSeq));
  expect(replayer.machine.icount).toBe(reader.end.icount);
  const last = reader.snapshots().at(-1);
  expect(toHex(replayer.machine.digest())).toBe(toHex(last?.digest ?? new Uint8Array()));
}

function digestsFrom(reader: RecordingReader, seq: number): number {
  let count = 0;
  for (const cursor = journalCursor(reader, seq); cursor.kind >= 0; cursor.next())
    if (cursor.kind === HotKind.digested) count += 1;
  return count;
}

async function checked(check: (reader: RecordingReader) => void): Promise<void> {
  await keepOnFailure([path], () => withRecording(path, check));
}

const cacheChoices: readonly (CacheOptions | undefined)[] = [
  undefined,
  { tlbEntries: 16 },
  { tlbEntries: 4096 },
  { tier: "blocks", tlbEntries: 16 },
  { tier: "regions", tlbEntries: 16 },
  { tier: "interpreter" },
];

describe("a recording whose kernel image and disk are gone", () => {
  it.each(cacheChoices)("passes every exit and digest again with caches %j", async (caches) => {
    await checked((reader) => {
      const replayer = replayerOf(reader, caches);
      expectEqualToTheEnd(replayer, reader);
      expect(replayer.compared).toEqual(countObserved(reader));
      expect(replayer.compared.exits).toBeGreaterThan(6_000);
      expect(replayer.compared.digests).toBeGreaterThan(15);
    });
  });

  it("gives the console's text again", async () => {
    await checked((reader) => {
      const replayer = replayerOf(reader);
      let text = "";
      replayer.outputListeners.add((port, bytes) => {
        if (port === 0) text += Buffer.from(bytes).toString("latin1");
      });
      replayer.advance();
      expect(text).toBe(recordedConsole);
    });
  });

  it("is equal to the end from every snapshot, in any order", async () => {
    await checked((reader) => {
      const heads = reader.snapshots();
      expect(heads.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["full", "seek"]));
      expect(heads.length).toBeGreaterThan(3);
      const replayer = replayerOf(reader);
      for (const head of [...heads].reverse()) {
        replayer.restore(reader.loadSnapshot(head.number));
        expect(toHex(replayer.machine.digest())).toBe(toHex(head.digest));
        expectEqualToTheEnd(replayer, reader);
      }
    });
  });

  it("is equal from every snapshot with compiled blocks and a small TLB", async () => {
    await checked((reader) => {
      const replayer = replayerOf(reader, { tier: "blocks", tlbEntries: 16 });
      for (const head of reader.snapshots()) {
        replayer.restore(reader.loadSnapshot(head.number));
        expectEqualToTheEnd(replayer, reader);
      }
    });
  });

  it.each<CacheOptions>([{}, { tier: "blocks", tlbEntries: 64 }])(
    "is equal when caches are dropped at random units and the replay goes to and fro, with %j",
    async (caches) => {
      const seed = seedOfRun();
      const random = new RandomSource(seed);
      await checked((reader) => {
        const replayer = replayerOf(reader, caches);
        try {
          for (let visit = 0; visit < 60; visit++) {
            replayer.advance({ icount: replayer.machine.icount + 1 + random.below(8_000) });
            replayer.machine.kernel.dropCaches();
            if (random.oneIn(8)) replayer.restore(reader.loadSnapshot(random.pick(reader.snapshots()).number));
            if (random.oneIn(8)) goBackAndForth(replayer, random);
          }
          expectEqualToTheEnd(replayer, reader);
        } catch (error) {
          throw new Error(`HVJOURNAL_SEED=${seed}`, { cause: error });
        }
      });
    },
  );

  it("is equal too where a live VMM half with the same disk answers, and not where the disk is another", async () => {
    await withRecording(path, async (reader) => {
      const verify = async (diskSeed: number): Promise<Verifier> => {
        const drives = [memoryDrive("disk0", randomSectors(16, diskSeed))];
        const verifier = new Verifier({
          architecture: arm64,
          digester,
          reader,
          vmm: createBoard(mainScenario({ drives })),
        });
        while ((await verifier.step(50_000)) !== "equal");
        return verifier;
      };
      expect((await verify(7)).compared).toEqual(countObserved(reader));
      await expect(verify(8)).rejects.toMatchObject({ report: { cause: "vmm half" } });
    });
  });

  it("diverges by name and place where the recording says something else", async () => {
    await checked((reader) => {
      const replayer = replayerOf(reader);
      replayer.advance({ exitNumber: 4_000, unitsAfter: 3 });
      const { kernel } = replayer.machine;
      kernel.writeRegister(0, "sp", kernel.readRegister(0, "sp") ^ 0x1000n);
      let found: unknown;
      try {
        replayer.advance();
      } catch (error) {
        found = error;
      }
      expect(found).toBeInstanceOf(DivergenceError);
      const { report } = found as DivergenceError;
      expect(report.place.exitNumber).toBeGreaterThanOrEqual(4_000);
      expect(report.place.exitNumber).toBeLessThan(4_200);
      expect(report.recorded).not.toBe(report.replayed);
    });
  });
});

function goBackAndForth(replayer: Replayer, random: RandomSource): void {
  const checkpoint = replayer.checkpoint();
  const before = toHex(replayer.machine.digest());
  replayer.advance({ icount: replayer.machine.icount + random.below(20_000) });
  replayer.restoreCheckpoint(checkpoint);
  expect(toHex(replayer.machine.digest())).toBe(before);
}
