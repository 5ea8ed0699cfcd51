import { describe, expect, it } from "@jest/globals";
import { HotKind } from "../event/event-kind.js";
import { ExitWord } from "../event/exit-frame.js";
import type { Goal } from "../machine/goal.js";
import { toHex } from "../memory/page-hash.js";
import { parseInputScript } from "../record/input-script.js";
import { plainDigester } from "../testing/digester.js";
import { Recorder } from "../record/recorder.js";
import { MemoryJournal } from "../testing/memory-journal.js";
import {
  busyProgram,
  COUNTER_ADDRESS,
  echoProgram,
  parallelProgram,
  smallVm,
  type SmallVmOptions,
} from "../testing/programs.js";
import {
  createSmall,
  eventTexts,
  randomNumbers,
  recordEventful,
  recordSmall,
  replaySmall,
  runToStop,
  TEST_CADENCE,
} from "../testing/recordings.js";
import { Op, word, wordImmediate } from "../testing/small-cpu.js";
import { DivergenceError } from "./divergence.js";
import { seek } from "./seek.js";
import { Verifier } from "./verifier.js";

/** Whether two lines of events stand next to each other. */
function isAdjacent(texts: readonly string[], index: number): boolean {
  return Number(texts[index + 1]?.split(" ")[0]) - Number(texts[index]?.split(" ")[0]) === 1;
}

const busy: SmallVmOptions = { program: busyProgram(12, 300) };

describe("a replayed guest", () => {
  it("makes every exit and digest of its recording again", async () => {
    for (const options of [busy, { program: parallelProgram(500), vcpuCount: 3 }]) {
      const journal = await recordSmall(options);
      const replay = replaySmall(journal);
      expect(replay.advance()).toBe("end");
      expect(replay.compared.exits).toBe(journal.end.exitNumber);
      expect(replay.compared.digests).toBeGreaterThan(1);
    }
  });

  it("needs no VMM half for random pauses, operator commands and interactive waits", async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const journal = await recordEventful(busy, seed);
      const digests = eventTexts(journal).filter((text) => text.split(" ")[1] === String(HotKind.digested));
      const moments = digests.map((text) => text.slice(text.indexOf(" ")));
      expect(moments.some((moment, index) => moment === moments[index + 1] && isAdjacent(digests, index))).toBe(false);
      expect({ seed, result: replaySmall(journal).advance() }).toEqual({ seed, result: "end" });
    }
  });

  it("stands at the same state at an exit however it got there", async () => {
    const journal = await recordSmall(busy);
    for (const exitNumber of [1, 7, 23, 24, 60, 150]) {
      const whole = replaySmall(journal);
      expect(whole.advance({ exitNumber })).toBe("reached");
      const inPieces = replaySmall(journal);
      for (let icount = 0; inPieces.machine.exitNumber < exitNumber; icount += 37)
        inPieces.advance({ exitNumber, icount });
      expect(toHex(inPieces.machine.digest())).toBe(toHex(whole.machine.digest()));
      expect(whole.machine.exitPending).toBe(true);
    }
  });

  it("loads only the pages that it touches after a snapshot is restored", async () => {
    const journal = await recordSmall(busy);
    const head = journal.snapshots().find(({ kind, icount }) => kind === "seek" && icount > 4000);
    const replay = replaySmall(journal);
    replay.restore(journal.loadSnapshot(head?.number ?? -1));
    expect(replay.advance()).toBe("end");
    expect(replay.machine.kernel.readRegister(0, "x5")).toBe(0n);
    expect(replay.machine.kernel.memory.read(COUNTER_ADDRESS, 4)).toEqual(Uint8Array.of(0x10, 0x0e, 0, 0));
  });

  it("comes back to a checkpoint and ends with the same digests", async () => {
    const journal = await recordSmall(busy);
    const replay = replaySmall(journal);
    replay.advance({ exitNumber: 33 });
    const checkpoint = replay.checkpoint();
    const digest = toHex(replay.machine.digest());
    expect(replay.advance()).toBe("end");
    replay.restoreCheckpoint(checkpoint);
    expect(toHex(replay.machine.digest())).toBe(digest);
    expect(replay.advance()).toBe("end");
  });

  it("names the first exit that differs from its recording", async () => {
    const journal = await recordSmall(busy);
    journal.tamperExit(20, ExitWord.arg1Low, 0x1234);
    const attempt = (): unknown => replaySmall(journal).advance();
    expect(attempt).toThrow(DivergenceError);
    expect(attempt).toThrow(/replay diverged at exit:20 \(event:\d+, vcpu0, icount:\d+, pc [0-9a-f]{16}\)/);
  });

  it("names a silent difference of state by the digest, and what differs where a snapshot was taken", async () => {
    const journal = await recordSmall(busy);
    journal.tamperDigest(4000);
    try {
      replaySmall(journal).advance();
      throw new Error("no divergence");
    } catch (error) {
      expect(error).toBeInstanceOf(DivergenceError);
      if (error instanceof DivergenceError) expect(error.report.cause).toBe("state");
    }
  });

  it("diverges on another build where the guest first reads what that build changed", async () => {
    const journal = await recordSmall(busy);
    try {
      replaySmall(journal, { skew: 1 }).advance();
      throw new Error("no divergence");
    } catch (error) {
      if (!(error instanceof DivergenceError)) throw error;
      expect(error.report).toMatchObject({ cause: "guest data", recordedRevision: 1, replayedRevision: 2 });
      expect(error.report.recorded).toMatch(/^answer 0x/);
    }
  });

  it("stands at the same state after a seek from anywhere as after a replay from the start", async () => {
    const seed = 41;
    const random = randomNumbers(seed);
    const journal = await recordEventful({ program: busyProgram(12, 300) }, 4);
    const { exitNumber, icount, firstSeq } = journal.end;
    const traveller = replaySmall(journal);
    for (let trip = 0; trip < 20; trip++) {
      const goals: Goal[] = [
        { exitNumber: 1 + random(exitNumber) },
        { exitNumber: 1 + random(exitNumber), unitsAfter: random(50) },
        { icount: 1 + random(icount) },
        { seq: 1 + random(firstSeq - 1) },
        { guestTimeNs: 1 + random(2 * icount) },
      ];
      const snapshots = journal.snapshots();
      const { icount: snapshotIcount } = snapshots[random(snapshots.length)] ?? { icount: 1 };
      const goal = trip % 3 === 0 ? { icount: snapshotIcount } : (goals[random(goals.length)] ?? {});
      const straight = replaySmall(journal);
      straight.advance(goal);
      seek(traveller, goal);
      const place = ({ machine, nextSeq }: typeof traveller): unknown => [
        toHex(machine.digest()),
        machine.exitPending,
        nextSeq,
      ];
      expect({ seed, goal, place: place(traveller) }).toEqual({ seed, goal, place: place(straight) });
    }
  });
});

/** From the end of a recording that the host stopped; `baseSeq`: the event that its base is said to lie behind. */
async function branchOfStopped(baseSeq: (snapshotSeq: number, endSeq: number) => number): Promise<MemoryJournal> {
  const { recorder, journal } = createSmall(busy);
  await recorder.step({ units: 5000, goal: { exitNumber: 40 } });
  const { number } = recorder.finish({ index: false }) ?? { number: -1 };
  const snapshot = journal.loadSnapshot(number);
  const { firstSeq, exitNumber, icount } = journal.end;
  const place = { seq: firstSeq - 1, exitNumber, icount };
  const parent = { id: "p", path: "p.hvj", chain: "", why: "branch" as const, ...place };
  const branch = new MemoryJournal({ ...journal.header, parent }, { firstSeq, exitNumber, icount });
  for (const [hash, content] of journal.pages) branch.storePage(hash, content);
  const base = { ...snapshot, seq: baseSeq(snapshot.seq, place.seq) };
  branch.addSnapshot(base, "full");
  const { architecture, vmm } = smallVm(busy);
  const shared = { architecture, vmm, digester: plainDigester, cadence: TEST_CADENCE };
  const live = Recorder.resume({ ...shared, writer: branch }, base);
  await runToStop(live);
  live.finish({ index: false });
  return branch;
}

describe("a branch from the end of a recording", () => {
  it.each([
    ["the end itself", (_: number, end: number) => end],
    ["the snapshot before the end's last digest and bookkeeping, as older builds wrote", (seq: number) => seq],
  ])("is compared whole where its base lies behind %s", async (_name, baseSeq) => {
    const branch = await branchOfStopped(baseSeq);
    const exits = branch.end.exitNumber - 40;
    expect(exits).toBeGreaterThan(10);
    const replay = replaySmall(branch);
    expect([replay.advance(), replay.compared.exits]).toEqual(["end", exits]);
    const { architecture, vmm } = smallVm(busy);
    const verifier = new Verifier({ architecture, digester: plainDigester, reader: branch, vmm });
    while ((await verifier.step(500)) !== "equal");
    expect(verifier.compared.exits).toBe(exits);
    expect(seek(replaySmall(branch), { exitNumber: 45 })).toBe("reached");
  });
});

describe("a recording whose events can't be found", () => {
  it("is never equal: a run that comes upon none before the end says so", async () => {
    const journal = await recordSmall(busy);
    const replay = replaySmall(journal);
    replay.advance({ exitNumber: 30 });
    const read = journal.readBatches.bind(journal);
    journal.readBatches = (seq, batch, visit) => read(seq, batch, (found) => found.firstSeq <= 200 && visit(found));
    expect(() => replay.advance()).toThrow(/event:\d+ can't be read, though the recording goes on to event:\d+/);
    const { architecture, vmm } = smallVm(busy);
    const verifier = new Verifier({ architecture, digester: plainDigester, reader: journal, vmm });
    const run = async (): Promise<void> => {
      while ((await verifier.step(500)) !== "equal");
    };
    await expect(run()).rejects.toThrow(/can't be read, though the recording goes on/);
  });
});

describe("a verified guest", () => {
  const verify = async (journal: MemoryJournal, options: SmallVmOptions): Promise<Verifier> => {
    const { vmm, architecture } = smallVm(options);
    const verifier = new Verifier({ architecture, digester: plainDigester, reader: journal, vmm });
    while ((await verifier.step(500)) !== "equal");
    return verifier;
  };

  it("does with a live VMM half what its recording says", async () => {
    for (const options of [busy, { ...busy, isAsync: true }, { program: parallelProgram(300), vcpuCount: 2 }]) {
      const journal = await recordSmall(options);
      const { compared } = await verify(journal, options);
      expect(compared.exits).toBe(journal.end.exitNumber);
      expect(compared.digests).toBe(replaySmall(journal).advance() === "end" ? compared.digests : -1);
    }
  });

  it("is fed pauses, commands, inputs and waits where they came", async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const journal = await recordEventful(busy, seed);
      const { compared } = await verify(journal, busy);
      expect({ seed, exits: compared.exits }).toEqual({ seed, exits: journal.end.exitNumber });
    }
  });

  it("is fed scripted input", async () => {
    const script = parseInputScript('at console /login: $/ send "hello"\nat time 40us send "q"');
    const options: SmallVmOptions = { program: echoProgram() };
    const journal = await recordSmall(options, { script });
    expect((await verify(journal, options)).compared.exits).toBe(journal.end.exitNumber);
  });

  it("that can't go on gets stuck again, replayed and verified", async () => {
    const OUTSIDE_RAM = -0x1000;
    const options: SmallVmOptions = { program: [word(Op.nop), wordImmediate(Op.jmp, 0, OUTSIDE_RAM)] };
    const journal = await recordSmall(options);
    const replay = replaySmall(journal);
    expect(replay.advance()).toBe("end");
    const { machine } = await verify(journal, options);
    for (const { kernel } of [replay.machine, machine]) expect(kernel.stuckReason).toMatch(/^vcpu0 runs outside RAM/);
  });

  it("diverges where a changed handler gives another answer", async () => {
    const journal = await recordSmall(busy);
    const attempt = verify(journal, { ...busy, answer: 43n });
    await expect(attempt).rejects.toThrow(/recorded RegisterSet/);
    await expect(attempt).rejects.toMatchObject({ report: { cause: "vmm half", differences: ["value"] } });
  });
});
