import { describe, expect, it } from "@jest/globals";
import { type ExitFrame, ExitWord, KvmExit } from "../event/exit-frame.js";
import { toHex } from "../memory/page-hash.js";
import type { VmmAttempt, VmmPort } from "../ports/vmm-half.js";
import { busyProgram, type SmallVmOptions, smallVmm } from "../testing/programs.js";
import { createSmall, eventTexts, replaySmall, runToStop } from "../testing/recordings.js";
import { SMALL_RAM_BASE } from "../testing/small-board.js";
import { endingOf } from "./go-on.js";
import { VmmPortError } from "./live-vm.js";

const busy: SmallVmOptions = { program: busyProgram(3, 50) };
const CODE_BEHIND = SMALL_RAM_BASE + 0x8000;

type Trial = (port: VmmPort, attempt: VmmAttempt) => void;

/** The small board, with something on trial at each hypercall before the board answers it. */
function recordingWith(trial: (port: VmmPort) => void) {
  const { half, entropy } = smallVmm(busy);
  const answer = half.handleExit.bind(half);
  half.handleExit = (exit: ExitFrame, port: VmmPort): void | Promise<void> => {
    if (exit[ExitWord.kvmExit] === KvmExit.hypercall) trial(port);
    return answer(exit, port);
  };
  return createSmall(busy, { vmm: { half, entropy } });
}

const everything: Trial = (port) => {
  port.setRegister(0, "x7", 99n);
  port.setIrqLine(1, 1);
  port.writeMemory(CODE_BEHIND, new Uint8Array(5000).fill(7));
  port.output(0, Uint8Array.of(0x21));
  port.control({ name: "knob", value: 5n });
  port.stop({ what: "reset", by: "a trial" });
};

describe("what the VMM half does on trial", () => {
  it("is seen by itself, and undone leaves journal and guest as if it had never been", async () => {
    const plain = createSmall(busy);
    await runToStop(plain.recorder);
    const { recorder, journal } = recordingWith((port) => {
      const before = toHex(recorder.machine.digest());
      const attempt = port.begin();
      everything(port, attempt);
      expect(port.readRegister(0, "x7")).toBe(99n);
      expect(port.readMemory(CODE_BEHIND, 1)).toEqual(Uint8Array.of(7));
      expect(toHex(recorder.machine.digest())).not.toBe(before);
      attempt.undo();
      expect(toHex(recorder.machine.digest())).toBe(before);
    });
    await runToStop(recorder);
    recorder.finish({ index: false });
    plain.recorder.finish({ index: false });
    expect(eventTexts(journal)).toEqual(eventTexts(plain.journal));
  });

  it("is recorded in its order once it is kept, and replays", async () => {
    let calls = 0;
    const { recorder, journal } = recordingWith((port) => {
      const attempt = port.begin();
      port.output(0, new Uint8Array(40_000).fill(0x2e));
      port.control({ name: "knob", value: 5n });
      port.setRegister(0, "x7", 99n);
      const seq = recorder.nextSeq;
      attempt.keep({ by: "board" });
      // Three pieces of output, the knob, a register; the first time, who has answered.
      expect(recorder.nextSeq).toBe(seq + (calls === 0 ? 6 : 5));
      calls += 1;
    });
    await runToStop(recorder);
    recorder.finish({ index: false });
    expect(replaySmall(journal).advance()).toBe("end");
  });

  it("is left alone, as long as nothing has been done, by what else is done to the VM", async () => {
    const { half, entropy } = smallVmm(busy);
    const answer = half.handleExit.bind(half);
    let give = (_answer: "late" | "at once"): void => undefined;
    let asked = 0;
    half.handleExit = async (exit: ExitFrame, port: VmmPort): Promise<void> => {
      if (exit[ExitWord.kvmExit] !== KvmExit.hypercall) return answer(exit, port);
      asked += 1;
      const attempt = port.begin();
      if (asked === 1) await new Promise((resolve) => (give = resolve));
      port.setRegister(0, "x7", 99n);
      attempt.keep({ by: "handler", name: "late.mjs" });
      return answer(exit, port);
    };
    const { recorder, journal } = createSmall(busy, { vmm: { half, entropy } });
    const ended = runToStop(recorder);
    while (asked === 0) await Promise.resolve();
    expect(() => recorder.snapshotHere()).toThrow("a step is under way");
    expect(recorder.actBeside(() => recorder.control({ name: "knob", value: 5n }))).toBeUndefined();
    recorder.actBeside(() => recorder.snapshotHere());
    expect(recorder.actBeside(() => recorder.control({ name: "no such" }))).toBeDefined();
    const before = asked;
    give("late");
    await ended;
    recorder.finish({ index: false });
    expect(before).toBe(1);
    expect(() => recorder.actBeside(() => 0)).toThrow("none is waited for");
    const told = eventTexts(journal).flatMap((text) => /Paused|Resumed|OperatorCommanded/.exec(text) ?? []);
    // The first two are of before the start.
    expect(told.slice(2)).toEqual(["Paused", "OperatorCommanded", "Resumed", "Paused", "Resumed"]);
    expect(replaySmall(journal).advance()).toBe("end");
  });

  it("leaves no trace but the reason where it fails, and the recording replays", async () => {
    const { recorder, journal } = recordingWith(() => {
      throw new RangeError("in the midst of it");
    });
    expect(() => recorder.step({ units: 1e9 })).toThrow("in the midst of it");
    recorder.noteFailedCall({ by: "late.mjs", code: "handler-failed", message: "x".repeat(1000) });
    recorder.pause();
    expect(endingOf(journal)).toMatchObject({ isPaused: true, failedCall: `${"x".repeat(500)}...` });
    recorder.finish({ index: false });
    expect(endingOf(journal).failedCall).toMatch(/^x+\.\.\.$/);
    expect(replaySmall(journal).advance()).toBe("end");
  });

  it("is undone where an error leaves it open, and the exit waits", () => {
    let before = "";
    const { recorder } = recordingWith((port) => {
      before = toHex(recorder.machine.digest());
      everything(port, port.begin());
      throw new RangeError("in the midst of it");
    });
    expect(() => recorder.step({ units: 1e9 })).toThrow("in the midst of it");
    expect([toHex(recorder.machine.digest()), recorder.machine.exitPending, recorder.stopped]).toEqual([
      before,
      true,
      undefined,
    ]);
  });

  it("is one thing at a time, and ends once", () => {
    const { recorder } = recordingWith((port) => {
      const attempt = port.begin();
      expect(() => port.begin()).toThrow(VmmPortError);
      attempt.keep({ by: "board" });
      expect(() => attempt.undo()).toThrow(/has ended already/);
      port.begin();
    });
    expect(() => recorder.step({ units: 1e9 })).toThrow(/neither kept nor undone/);
  });
});
