import { describe, expect, it } from "@jest/globals";
import { toHex } from "../memory/page-hash.js";
import { Replayer } from "../replay/replayer.js";
import { plainDigester } from "../testing/digester.js";
import { MemoryJournal } from "../testing/memory-journal.js";
import { busyProgram, smallVmm, type SmallVmOptions } from "../testing/programs.js";
import { consoleText, createSmall, recordSmall, runToStop, TEST_CADENCE } from "../testing/recordings.js";
import { smallArchitecture } from "../testing/small-cpu.js";
import { Recorder } from "./recorder.js";

const busy: SmallVmOptions = { program: busyProgram(12, 300) };
const architecture = smallArchitecture();

/** Copies what `from` has and `to` lacks. */
function catchUp(from: MemoryJournal, to: MemoryJournal): void {
  for (const [hash, content] of from.pages) to.storePage(hash, content);
  for (const batch of from.batches) if (batch.firstSeq >= to.end.firstSeq) to.append(batch);
}

describe("a guest that moves", () => {
  it("is replayed elsewhere while it runs, and goes on there from the very unit at which it was paused", async () => {
    const whole = await recordSmall(busy);
    for (const exitNumber of [30, 47, 90]) {
      const { recorder, journal } = createSmall(busy);
      await recorder.step({ units: 5000 });
      const base = journal.loadSnapshot(recorder.snapshot("full").number);
      const { seq, icount } = base;
      const parent = {
        id: "p",
        path: "p.hvj",
        chain: "",
        seq,
        exitNumber: base.exitNumber,
        icount,
        why: "migration" as const,
      };
      const start = { firstSeq: seq + 1, exitNumber: base.exitNumber, icount };
      const copy = new MemoryJournal({ ...journal.header, parent }, start);
      copy.addSnapshot(base, "full");
      catchUp(journal, copy);
      const replayer = new Replayer({ architecture, digester: plainDigester, reader: copy });
      while (recorder.machine.exitNumber < exitNumber) {
        await recorder.step({ units: 700, goal: { exitNumber } });
        recorder.flush();
        catchUp(journal, copy);
        replayer.refresh();
        expect(replayer.advance()).toBe("end");
      }
      const pause = journal.loadSnapshot(recorder.pause().number);
      catchUp(journal, copy);
      replayer.refresh();
      replayer.advance();
      expect(toHex(replayer.machine.digest())).toBe(toHex(pause.digest));

      const vmm = smallVmm(busy);
      const options = { architecture, digester: plainDigester, cadence: TEST_CADENCE, writer: copy, vmm };
      const adopted = Recorder.adopt(options, replayer.machine, pause.vmmSections, pause.number + 1);
      expect((await runToStop(adopted, () => 333)).why).toBe("stopped");
      expect(adopted.finish({ index: false })).toMatchObject({
        exitNumber: whole.end.exitNumber,
        digest: whole.snapshots().at(-1)?.digest,
      });
      expect(consoleText(whole).endsWith(consoleText(copy))).toBe(true);
      expect(new Replayer({ architecture, digester: plainDigester, reader: copy }).advance()).toBe("end");
    }
  });

  it("can't be created over a recording, nor go live from a seek point", async () => {
    const journal = await recordSmall(busy);
    const options = {
      architecture,
      digester: plainDigester,
      cadence: TEST_CADENCE,
      writer: journal,
      vmm: smallVmm(busy),
    };
    expect(() => Recorder.create(options)).toThrow(/can't create a VM in a recording that has \d+ events already/);
    const seekPoint = journal.snapshots().find(({ kind }) => kind === "seek")?.number ?? -1;
    expect(() => Recorder.resume(options, journal.loadSnapshot(seekPoint))).toThrow(/only a full snapshot can go live/);
  });
});
