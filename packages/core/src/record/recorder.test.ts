import { describe, expect, it } from "@jest/globals";
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { plainDigester } from "../testing/digester.js";
import { busyProgram, echoProgram, smallVm, type SmallVmOptions } from "../testing/programs.js";
import {
  consoleText,
  createSmall,
  eventTexts,
  randomNumbers,
  recordSmall,
  replaySmall,
  rowKinds,
  runToStop,
  TEST_CADENCE,
} from "../testing/recordings.js";
import { parseInputScript } from "./input-script.js";
import { Recorder } from "./recorder.js";

const busy: SmallVmOptions = { program: busyProgram(12, 300) };

describe("a recorded guest", () => {
  it("runs to its power-off and leaves its output, exits and digests in the journal", async () => {
    const journal = await recordSmall(busy);
    expect(consoleText(journal)).toBe(`boot\n${"r".repeat(12)}done\n`);
    expect(journal.end.state).toBe("closed");
    expect(journal.end.exitNumber).toBe(12 * 13 + 5 + 5 + 1);
    expect(journal.snapshots().filter(({ kind }) => kind === "seek").length).toBeGreaterThan(2);
    expect(rowKinds(journal).slice(0, 4)).toEqual([
      "VmCreated",
      "VcpuCreated",
      "OperatorCommanded",
      "small.ForwardSet",
    ]);
  });

  it("leaves the same events whether the host stops it at random places or never", async () => {
    const plain = eventTexts(await recordSmall(busy));
    const seed = 20261121;
    const random = randomNumbers(seed);
    const stopped = eventTexts(await recordSmall(busy, {}, () => 1 + random(60)));
    expect({ seed, events: stopped }).toEqual({ seed, events: plain });
  });

  it("leaves the same events when its VMM half answers with promises", async () => {
    const plain = eventTexts(await recordSmall(busy));
    expect(eventTexts(await recordSmall({ ...busy, isAsync: true }))).toEqual(plain);
  });

  it("leaves other events with another seed", async () => {
    const plain = eventTexts(await recordSmall(busy));
    expect(eventTexts(await recordSmall({ ...busy, seed: 8n }))).not.toEqual(plain);
  });

  it("is typed to at places that it decides, equally in every recording", async () => {
    const script = parseInputScript('at console /login: $/ send "hello"\nat console /hello/ send "q"');
    const options: SmallVmOptions = { program: echoProgram() };
    const plain = await recordSmall(options, { script });
    expect(consoleText(plain)).toBe("login: helloqbye\n");
    const random = randomNumbers(5);
    expect(eventTexts(await recordSmall(options, { script }, () => 1 + random(7)))).toEqual(eventTexts(plain));
  });

  describe("that computes for long without an exit", () => {
    const computing: SmallVmOptions = { program: busyProgram(1, 4000) };

    it("has a digest at every multiple of the cadence", async () => {
      const journal = await recordSmall(computing);
      const { digestEvery } = TEST_CADENCE;
      const digested: number[] = [];
      for (const cursor = journalCursor(journal, 1); cursor.kind !== NO_EVENT; cursor.next())
        if (cursor.kind === HotKind.digested && cursor.icount > 0) digested.push(cursor.icount);
      // The last is that of the end.
      expect(digested.slice(0, -1)).toEqual(digested.slice(0, -1).map((_, index) => (index + 1) * digestEvery));
      expect(digested.length).toBeGreaterThan(10);
    });

    it("ends with a digest where the cadence has no snapshot at the end, and replays", async () => {
      const { recorder, journal } = createSmall(computing, { cadence: { ...TEST_CADENCE, atEnd: false } });
      await runToStop(recorder);
      const before = journal.snapshots().length;
      expect(recorder.finish({ index: false })).toBeUndefined();
      expect(journal.snapshots()).toHaveLength(before);
      const replayer = replaySmall(journal);
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared.digests).toBeGreaterThan(10);
    });

    it("is replayed from every snapshot, wherever the operator took it", async () => {
      const { recorder, journal } = createSmall(computing);
      await recorder.step({ units: 1500 });
      recorder.snapshot("full");
      await recorder.step({ units: 3100 });
      recorder.standStill();
      recorder.standStill();
      recorder.snapshot("seek");
      await runToStop(recorder);
      recorder.finish({ index: false });
      for (const { number } of journal.snapshots()) {
        const replayer = replaySmall(journal);
        replayer.restore(journal.loadSnapshot(number));
        expect([number, replayer.advance()]).toEqual([number, "end"]);
      }
    });
  });

  it("waits for typed input when it runs interactively, and the wait is in the journal", async () => {
    const { recorder, journal } = createSmall({ program: echoProgram() }, { interactive: true });
    expect(await runToStop(recorder)).toEqual({ why: "waiting", wakeAtNs: undefined });
    recorder.endWait(recorder.machine.guestTimeNs + 1_000_000);
    recorder.enqueue({ port: 0, bytes: new TextEncoder().encode("abcdefq") });
    expect((await runToStop(recorder)).why).toBe("stopped");
    recorder.finish({ index: false });
    expect(consoleText(journal)).toBe("login: abcdefqbye\n");
    expect(rowKinds(journal)).toContain("HostWaited");
    expect(replaySmall(journal).advance()).toBe("end");
  });

  it("goes on after a pause at an unanswered exit as if it had not been paused", async () => {
    const plain = await recordSmall(busy);
    const { recorder, journal } = createSmall(busy);
    for (const exitNumber of [3, 9, 17, 30, 44]) {
      expect(await recorder.step({ units: 1e9, goal: { exitNumber } })).toEqual({ why: "goal" });
      expect(recorder.machine.exitPending).toBe(true);
      recorder.pause();
    }
    await runToStop(recorder);
    recorder.finish({ index: false });
    expect(journal.snapshots().at(-1)?.digest).toEqual(plain.snapshots().at(-1)?.digest);
    const replayer = replaySmall(journal);
    expect(replayer.advance()).toBe("end");
  });

  it("goes live again from any full snapshot and ends as it would have", async () => {
    const plain = await recordSmall(busy);
    const end = plain.snapshots().at(-1)?.digest;
    for (const head of plain
      .snapshots()
      .filter(({ kind, number }) => kind === "full" && number > 0)
      .slice(0, 2)) {
      const vm = smallVm(busy);
      for (const [hash, content] of plain.pages) vm.writer.storePage(hash, content);
      const recorder = Recorder.resume(
        { ...vm, digester: plainDigester, cadence: TEST_CADENCE },
        plain.loadSnapshot(head.number),
      );
      const result = await runToStop(recorder);
      expect(result.why).toBe("stopped");
      expect(recorder.finish({ index: false })?.digest).toEqual(end);
    }
  });

  it("keeps typed input that no device has taken yet in its snapshots", async () => {
    const options: SmallVmOptions = { program: echoProgram() };
    const { recorder, journal } = createSmall(options, { interactive: true });
    recorder.enqueue({ port: 0, bytes: new TextEncoder().encode("abcdefghiq") });
    await recorder.step({ units: 1 });
    const head = recorder.pause();
    const vm = smallVm(options);
    for (const [hash, content] of journal.pages) vm.writer.storePage(hash, content);
    const resumed = Recorder.resume(
      { ...vm, digester: plainDigester, cadence: TEST_CADENCE },
      journal.loadSnapshot(head.number),
    );
    expect((await runToStop(resumed, () => 50)).why).toBe("stopped");
    resumed.finish({ index: false });
    expect(consoleText(vm.writer)).toBe("login: abcdefghiqbye\n");
  });

  it("is configured, and its digest says so", () => {
    const { recorder } = createSmall(busy);
    const before = recorder.machine.digest();
    recorder.control({ name: "knob", value: 5n });
    const after = recorder.machine.digest();
    expect(after).not.toEqual(before);
    recorder.control({ name: "knob", value: 0n });
    expect(recorder.machine.digest()).toEqual(before);
  });

  it("refuses a command by the rules without an event", async () => {
    const { recorder, journal } = createSmall(busy);
    await recorder.step({ units: 10 });
    const seq = recorder.nextSeq;
    expect(recorder.control({ name: "forward", function: 0x20 })).toMatchObject({ errno: "EBUSY" });
    expect(recorder.nextSeq).toBe(seq);
    expect(recorder.control({ name: "knob", value: 5n })).toBeUndefined();
    expect(rowKinds(journal).slice(-2)).toEqual(["OperatorCommanded", "small.KnobSet"]);
  });
});
