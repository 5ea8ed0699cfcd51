/** The determinism and the replays of a stock Linux, at length. */
import { beforeAll, expect, it } from "@jest/globals";
import { rmSync } from "node:fs";
import { type CacheOptions, toHex } from "@hvjournal/core";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { describeWhere } from "../testing/describe-where.js";
import { type HostSide, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";
import { stockGuestForTests } from "./stock-guest.js";

const guest = await stockGuestForTests();
const pathOf = recordingDirectory();
const TIMEOUT_MS = 1_800_000;
const host: HostSide = { unitsMax: SESSION_UNITS_MAX };

describeWhere(guest !== undefined).each([1, 2])("a stock Linux with %d vCPUs", (vcpuCount) => {
  if (guest === undefined) return;
  const path = pathOf(`reference-${vcpuCount}`);
  const chainOf = (of: string): Promise<string> => withRecording(of, (reader) => reader.end.chain);
  let chain: string;

  beforeAll(async () => {
    const { stop } = await recordGuest(linuxSession(guest, { vcpuCount }).setup, path, host);
    expect(stop.what).toBe("powered off");
    chain = await chainOf(path);
  }, TIMEOUT_MS);

  const expectSame = async (name: string, caches: CacheOptions, how: HostSide): Promise<void> => {
    const { setup } = linuxSession(guest, { vcpuCount, caches });
    const again = await recordGuest(setup, pathOf(`${name}-${vcpuCount}`), { ...host, ...how });
    await keepOnFailure([path, again.path], async () => expect(await chainOf(again.path)).toBe(chain));
    rmSync(again.path);
  };

  it(
    "is recorded the same twenty times",
    async () => {
      for (let run = 0; run < 20; run++) await expectSame(`same-${run}`, {}, {});
    },
    TIMEOUT_MS,
  );

  it.each<CacheOptions>([{ tlbEntries: 16 }, { tlbEntries: 4096 }])(
    "is the same with %j",
    async (caches) => expectSame(`caches-${JSON.stringify(caches)}`, caches, {}),
    TIMEOUT_MS,
  );

  it(
    "does not see random slices and dropped caches",
    async () => {
      const seed = seedOfRun();
      const random = new RandomSource(seed);
      process.stderr.write(`HVJOURNAL_SEED=${seed}\n`);
      await expectSame(
        "restless",
        { tlbEntries: 256 },
        {
          slice: () => 1 + random.below(5_000_000),
          betweenSlices: ({ machine }) => {
            if (random.oneIn(4)) machine.kernel.dropCaches();
          },
        },
      );
    },
    TIMEOUT_MS,
  );

  it(
    "replays to its end from every snapshot, with other TLBs and caches dropped at random",
    async () => {
      const seed = seedOfRun();
      const random = new RandomSource(seed);
      process.stderr.write(`HVJOURNAL_SEED=${seed}\n`);
      await keepOnFailure([path], () =>
        withRecording(path, (reader) => {
          const last = reader.snapshots().at(-1);
          for (const { number, exitNumber } of reader.snapshots()) {
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

  it(
    "replays a boot with compiled blocks",
    async () => {
      await withRecording(path, (reader) => {
        const replayer = replayerOf(reader, { tier: "blocks" });
        expect(replayer.advance()).toBe("end");
        expect(replayer.compared).toEqual(countObserved(reader));
      });
    },
    TIMEOUT_MS,
  );
});
