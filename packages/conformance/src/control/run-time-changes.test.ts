/** Invariant 6: what an operator changes while a guest runs is an event at an exact place, or it is refused and is nothing. */
import { describe, expect, it } from "@jest/globals";
import { ControlRefusedError, type Recorder } from "@hvjournal/core";
import {
  collectConsole,
  command,
  createGuest,
  type GuestSetup,
  recordGuest,
  runGuest,
} from "../testing/guest-recording.js";
import { countObserved, eventLines, replayerOf, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const setup: GuestSetup = { append: "scenario=psci rounds=5 period=1000" };

async function runTo(recorder: Recorder, console: () => string, text: string): Promise<void> {
  while (!console().includes(text)) {
    const { why } = await recorder.step({ units: 20 });
    if (why === "stopped") throw new Error(`the guest stopped and has not printed ${text}`);
  }
}

describe("PSCI's version, changed while the guest runs", () => {
  it("shows at the guest's next call, is an event there, and is one again in every replay", async () => {
    const path = pathOf("psci");
    const recorder = createGuest(setup, path);
    const console = collectConsole(recorder);
    await runTo(recorder, console, "psci version 1.3\r\npsci version 1.3");
    expect(recorder.control(command("one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10000"))).toBeUndefined();
    const { icount, exitNumber } = recorder.machine;
    await runGuest(recorder);
    const versions = [...console().matchAll(/psci version (\S+)/g)].map((match) => match[1]);
    expect(versions).toEqual(["1.3", "1.3", "1.0", "1.0", "1.0"]);

    await withRecording(path, (reader) => {
      const rows = rowsOf(reader, "OperatorCommanded", "arm64.OneRegSet");
      expect(rows.map(({ kind }) => kind)).toEqual(["OperatorCommanded", "arm64.OneRegSet"]);
      const [, change] = rows;
      expect(change).toMatchObject({ icount, exitNumber });
      expect(change?.payload).toMatchObject({ name: "KVM_REG_ARM_PSCI_VERSION", old: 0x1_0003n, new: 0x1_0000n });

      const replayer = replayerOf(reader);
      const version = (): unknown => replayer.machine.plainControl()["architecture"];
      const seq = change?.seq ?? 0;
      replayer.advance({ seq: seq - 1 });
      const before = JSON.stringify(version(), bigintText);
      replayer.advance({ seq });
      expect(JSON.stringify(version(), bigintText)).not.toBe(before);
      expect(replayer.machine.icount).toBe(icount);
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared).toEqual(countObserved(reader));
      // From a snapshot behind the change too: what was folded is part of it.
      const behind = reader.snapshots().find((head) => head.seq > seq);
      expect(behind).toBeDefined();
      replayer.restore(reader.loadSnapshot(behind?.number ?? 0));
      expect(replayer.advance()).toBe("end");
    });
  });

  it("is another run when the change comes at another place", async () => {
    const consoles = [];
    for (const text of ["psci version", "psci version 1.3\r\npsci version"]) {
      const recorder = createGuest(setup, pathOf(`psci-${consoles.length}`));
      const console = collectConsole(recorder);
      await runTo(recorder, console, text);
      recorder.control(command("one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10000"));
      await runGuest(recorder);
      consoles.push(
        console()
          .match(/psci version \S+/g)
          ?.join(),
      );
    }
    expect(consoles[0]).not.toBe(consoles[1]);
  });
});

describe("a filter range that comes after the first instruction", () => {
  it("is refused as KVM refuses it, and the journal is as if nobody had asked", async () => {
    const reference = await recordGuest(setup, pathOf("reference"));
    const path = pathOf("refused");
    const recorder = createGuest(setup, path);
    const goals = [{ icount: 1 }, { icount: 5_000 }, { exitNumber: 20 }];
    for (const goal of goals) {
      await recorder.step({ units: 1e9, goal });
      const { nextSeq } = recorder;
      expect(recorder.control(command("smccc-filter", "0xc6000000+0x100=forward"))).toMatchObject({
        errno: "EBUSY",
        call: "KVM_ARM_VM_SMCCC_FILTER",
      });
      expect(recorder.nextSeq).toBe(nextSeq);
    }
    await runGuest(recorder);
    const expected = await withRecording(reference.path, (reader) => [reader.end.chain, ...eventLines(reader)]);
    const found = await withRecording(path, (reader) => [reader.end.chain, ...eventLines(reader)]);
    expect(found).toEqual(expected);
  });

  it("is taken before the first instruction, at the very same place that refuses a second one", () => {
    const recorder = createGuest(setup, pathOf("before"));
    const range = command("smccc-filter", "0xc6000000+0x100=forward");
    expect(recorder.control(range)).toBeUndefined();
    const { nextSeq } = recorder;
    expect(recorder.control(range)).toMatchObject({ errno: "EEXIST", call: "KVM_ARM_VM_SMCCC_FILTER" });
    expect(recorder.nextSeq).toBe(nextSeq);
    recorder.finish({ index: false });
  });

  it("ends the attempt where it was an option of the start", () => {
    const range = command("smccc-filter", "0xc6000000+0x100=forward");
    const create = (): Recorder => createGuest({ ...setup, commands: [range, range] }, pathOf("twice"));
    expect(create).toThrow(ControlRefusedError);
  });
});

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}
