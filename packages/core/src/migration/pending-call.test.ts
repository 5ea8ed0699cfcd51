import { describe, expect, it } from "@jest/globals";
import { EXIT_WORD_COUNT, ExitWord, FinishedBy, KvmExit, setFrameU64 } from "../event/exit-frame.js";
import { pendingCallOf, type StandingMachine } from "./pending-call.js";

const REASONS = ["VMCALL", "MSR_WRITE"].map((name, code) => ({
  ...{ name, code, condition: "always", finishedBy: "VMM half" },
  pc: "at" as const,
}));

interface Exit {
  readonly reason: number;
  readonly kvmExit: number;
  readonly words: readonly bigint[];
}

function standingAt({ reason, kvmExit, words }: Exit): StandingMachine {
  const exit = new Uint32Array(EXIT_WORD_COUNT);
  exit[ExitWord.reason] = reason;
  exit[ExitWord.kvmExit] = kvmExit;
  exit[ExitWord.finishedBy] = FinishedBy.vmmHalf;
  const places = [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];
  for (const [index, place] of places.entries()) setFrameU64(exit, place, words[index] ?? 0n);
  return {
    architecture: { describeExit: () => `${REASONS[reason]?.name ?? ""} 0x8020` },
    exitModel: { name: "any", version: 1, reasons: REASONS },
    ...{ exitNumber: 7, exitPending: true, kernel: { exit } },
  } as unknown as StandingMachine;
}

describe("a call that is pending when its VM moves", () => {
  it("of KVM's ABI has the arguments behind its number", () => {
    const machine = standingAt({ reason: 0, kvmExit: KvmExit.hypercall, words: [0x5600n, 1n, 2n, 3n] });
    expect(pendingCallOf(machine)).toMatchObject({ what: "VMCALL 0x8020", args: [1n, 2n, 3n], exitNumber: 7 });
  });

  it("of Hyper-V's has input value and both parameters, and says whose it is", () => {
    const machine = standingAt({ reason: 0, kvmExit: KvmExit.hyperv, words: [0x8020n, 0x104000n, 0x103000n, 9n] });
    expect(pendingCallOf(machine)).toMatchObject({
      what: "VMCALL HYPERV 0x8020",
      args: [0x8020n, 0x104000n, 0x103000n],
    });
  });

  it("of Xen's says so, too", () => {
    const machine = standingAt({ reason: 0, kvmExit: KvmExit.xen, words: [0x11n, 1n, 2n, 3n] });
    expect(pendingCallOf(machine)).toMatchObject({ what: "VMCALL XEN 0x8020", args: [1n, 2n, 3n] });
  });

  it("that is an access to an MSR says all by what it is", () => {
    const machine = standingAt({ reason: 1, kvmExit: KvmExit.x86Wrmsr, words: [0x10n, 1n] });
    expect(pendingCallOf(machine)).toMatchObject({ what: "MSR_WRITE 0x8020", args: [] });
  });
});
