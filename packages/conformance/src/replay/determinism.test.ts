/** Invariants 1, 2 and 4: what a guest does follows from its setup, and from nothing that the host does. */
import { describe, expect, it } from "@jest/globals";
import type { CacheOptions } from "@hvjournal/core";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { createGuest, type GuestSetup, type HostSide, recordGuest } from "../testing/guest-recording.js";
import { mainScenario } from "../testing/main-scenario.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { restlessHost, type Restlessness } from "../testing/restless-host.js";
import { chainOf, expectSameRecording } from "../testing/same-recording.js";

const seed = seedOfRun();
const pathOf = recordingDirectory();
const reference = await recordGuest(mainScenario(), pathOf("reference"));
const referenceChain = await chainOf(reference.path);

/** Records again and compares with the reference to the last byte. */
async function expectEqual(name: string, setup: GuestSetup, host: HostSide = {}): Promise<void> {
  const again = await recordGuest(setup, pathOf(name), host);
  await expectSameRecording(reference.path, again.path);
}

/** Mostly short slices, and now and then an observer. */
const RESTLESS: Restlessness = { slices: [3, 300, 3_000, 30_000], dropsOneIn: 10, looksOneIn: 10 };

describe("a guest with timer, EL0, calls, disk, entropy and typed lines", () => {
  it("runs to its end and meets what the other tests build on", () => {
    expect(reference.stop).toEqual({ what: "powered off", by: "PSCI SYSTEM_OFF" });
    for (const text of ["tick 5", "EL0: sum", "hvc 0xc6000040", "read back", "entropy: ", "echo: second", "echo: quit"])
      expect(reference.console).toContain(text);
    expect(reference.console).not.toContain("entropy: none");
  });

  it("is recorded the same twenty times", async () => {
    for (let run = 0; run < 20; run++) await expectEqual(`same-${run}`, mainScenario());
  });

  it.each(Array.from({ length: 3 }, (_, run) => seed + run))(
    "does not see where the host slices, looks and drops caches (HVJOURNAL_SEED=%d)",
    async (runSeed) => {
      await expectEqual(`slices-${runSeed}`, mainScenario(), restlessHost(new RandomSource(runSeed), RESTLESS));
    },
  );

  it.each<CacheOptions>([
    { tlbEntries: 2 },
    { tlbEntries: 16 },
    { tlbEntries: 4096 },
    { tier: "blocks", tlbEntries: 16 },
    { tier: "regions", tlbEntries: 16 },
    { tier: "interpreter" },
  ])("is the same with %j", async (caches) => {
    await expectEqual(`caches-${JSON.stringify(caches)}`, mainScenario({ caches }));
  });

  it("is the same with compiled blocks, a small TLB and a restless host at once", async () => {
    const setup = mainScenario({ caches: { tier: "blocks", tlbEntries: 16 } });
    const random = new RandomSource(seed);
    await expectEqual(`everything-${seed}`, setup, restlessHost(random, { ...RESTLESS, slices: [20_000] }));
  });

  it("is another with another seed, and with another text typed", async () => {
    for (const [name, changes] of [
      ["seed", { seed: 43n }],
      ["script", { script: mainScenario().script?.replace("first", "other") ?? "" }],
    ] as const) {
      const { path } = await recordGuest(mainScenario(changes), pathOf(`other-${name}`));
      expect(await chainOf(path)).not.toBe(referenceChain);
    }
  });

  it("is the same when it is stopped at every single unit for a while", async () => {
    const path = pathOf("single-units");
    const recorder = createGuest(mainScenario(), path);
    while (recorder.machine.icount < 3_000) await recorder.step({ units: 1 });
    while ((await recorder.step({ units: 1e9 })).why !== "stopped");
    recorder.finish({ index: false });
    expect(await chainOf(path)).toBe(referenceChain);
  });
});
