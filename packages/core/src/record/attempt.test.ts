import { describe, expect, it } from "@jest/globals";
import { type ExitFrame, ExitWord, KvmExit } from "../event/exit-frame.js";
import { toHex } from "../memory/page-hash.js";
import type { VmmAttempt, VmmPort } from "../ports/vmm-half.js";
import { busyProgram, type SmallVmOptions, smallVmm } from "../testing/programs.js";
import { createSmall, eventTexts, replaySmall, runToStop } from "../testing/recordings.js";
import { SMALL_RAM_BASE } from "../testing/small-board.js";
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
