/** Tests of the determinism and the replays of a stock Linux, at length. */
import { beforeAll, describe, expect, it } from "@jest/globals";
import { rmSync } from "node:fs";
import { type CacheOptions, toHex } from "@hvjournal/core";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { describeWhere } from "../testing/describe-where.js";
import { type HostSide, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { restlessHost } from "../testing/restless-host.js";
import { expectSameRecording } from "../testing/same-recording.js";
import type { LinuxGuest } from "./linux-guest.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";

const TIMEOUT_MS = 600_000;
const seed = seedOfRun();
/** A boot has some hundred million units: some hundred or thousand stops. */
const LONG_SLICES = [5_000_000];
const MIXED_SLICES = [30, 3_000, 300_000, 3_000_000];

/** `recordings`: how often one boot is recorded. */
export function testDeterminism(linux: LinuxGuest | undefined, recordings: number): void {
  describeWhere(linux !== undefined)(`a stock Linux (HVJOURNAL_SEED=${seed})`, () => {
    if (linux !== undefined) determinismTests(linux, recordings);
  });
}

function determinismTests(linux: LinuxGuest, recordings: number): void {
  const pathOf = recordingDirectory();

  const record = async (
    name: string,
    vcpuCount: number,
    host: HostSide = {},
    caches: CacheOptions = {},
  ): Promise<string> => {
    const { setup } = linuxSession(linux, { vcpuCount, caches });
    const recording = await recordGuest(setup, pathOf(name), { ...host, unitsMax: SESSION_UNITS_MAX });
    expect(recording.stop).toEqual(linux.powerOff);
    return recording.path;
  };

  describe("with one vCPU", () => {
    let path: string;

    beforeAll(async () => {
      path = await record("one", 1);
    }, TIMEOUT_MS);

    const expectSame = async (host?: HostSide, caches?: CacheOptions): Promise<void> => {
      const again = await record("one-again", 1, host, caches);
      await expectSameRecording(path, again).finally(() => rmSync(again));
    };

    it(
      `is recorded the same ${recordings} times`,
      async () => {
        for (let run = 1; run < recordings; run++) await expectSame();
      },
      TIMEOUT_MS,
    );

    it.each<CacheOptions>([{ tlbEntries: 16 }, { tlbEntries: 4096 }])(
      "is the same with %j",
      async (caches) => expectSame({}, caches),
      TIMEOUT_MS,
    );

    it(
      "does not see random slices and dropped caches",
      async () => {
        const restless = restlessHost(new RandomSource(seed), { slices: LONG_SLICES, dropsOneIn: 4 });
        await expectSame(restless, { tlbEntries: 256 });
      },
      TIMEOUT_MS,
    );

    it(
      "writes the same events whether or not an observer looks at it at random moments",
      async () => {
        await expectSame(restlessHost(new RandomSource(seed), { slices: MIXED_SLICES, looksOneIn: 1 }));
      },
      TIMEOUT_MS,
    );

    it(
      "replays to its end from every snapshot, with other TLBs and caches dropped at random",
      async () => {
        const random = new RandomSource(seed);
        await keepOnFailure([path], () =>
          withRecording(path, (reader) => {
            const snapshots = reader.snapshots();
            const last = snapshots.at(-1);
            expect(snapshots.length).toBeGreaterThan(5);
            for (const { number, exitNumber } of snapshots) {
              const replayer = replayerOf(reader, { tlbEntries: random.pick([16, 256, 4096]) });
              replayer.restore(reader.loadSnapshot(number));
              while (replayer.advance({ icount: replayer.machine.icount + 1 + random.below(100_000_000) }) !== "end")
                replayer.machine.kernel.dropCaches();
              expect(replayer.compared.exits).toBe(reader.end.exitNumber - exitNumber);
              expect(toHex(replayer.machine.digest())).toBe(toHex(last?.digest ?? new Uint8Array()));
            }
          }),
        );
      },
      TIMEOUT_MS,
    );

    // Each block is a module of its own: a stretch that wanders through the kernel takes a second per 50,000 units.
    it(
      "replays stretches behind the start and behind every snapshot with compiled blocks",
      async () => {
        const random = new RandomSource(seed);
        await keepOnFailure([path], () =>
          withRecording(path, (reader) => {
            for (const number of [undefined, ...reader.snapshots().map((snapshot) => snapshot.number)]) {
              const replayers = [replayerOf(reader), replayerOf(reader, { tier: "blocks" })];
              if (number !== undefined) for (const replayer of replayers) replayer.restore(reader.loadSnapshot(number));
              const units = number === undefined ? 20_000_000 : 1 + random.below(1_000_000);
              const [plain, compiled] = replayers.map((replayer) => {
                const end = replayer.advance({ icount: replayer.machine.icount + units });
                const { machine, compared } = replayer;
                return { end, icount: machine.icount, compared, digest: toHex(machine.digest()) };
              });
              expect({ snapshot: number, ...compiled }).toEqual({ snapshot: number, ...plain });
            }
          }),
        );
      },
      TIMEOUT_MS,
    );
  });

  it(
    "with two vCPUs is recorded the same, by a restless host too, and replays",
    async () => {
      const path = await record("two", 2);
      const restless = restlessHost(new RandomSource(seed), { slices: MIXED_SLICES, dropsOneIn: 50, looksOneIn: 2 });
      for (const host of [{}, {}, restless]) {
        const again = await record("two-again", 2, host);
        await expectSameRecording(path, again).finally(() => rmSync(again));
      }
      await keepOnFailure([path], () =>
        withRecording(path, (reader) => {
          const replayer = replayerOf(reader, { tlbEntries: 256 });
          expect(replayer.advance()).toBe("end");
          expect(replayer.compared).toEqual(countObserved(reader));
        }),
      );
    },
    TIMEOUT_MS,
  );
}
