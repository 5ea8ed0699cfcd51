import { describe, expect, it } from "@jest/globals";
import { EXIT_WORD_COUNT, type ExitFrame, ExitWord, KvmExit, setFrameU64 } from "../event/exit-frame.js";
import { HypercallExits } from "./hypercall-exits.js";

const [MMIO, CALL] = [0, 1];
const REASONS = ["EPT_MISCONFIG", "VMCALL"];
/** repCount=2, code 0x8003. */
const INPUT = 0x2_0000_8003n;

function frameOf(reason: number, value: bigint, kvmExit = 0): ExitFrame {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  frame[ExitWord.reason] = reason;
  frame[ExitWord.kvmExit] = kvmExit;
  setFrameU64(frame, ExitWord.arg0Low, value);
  return frame;
}

describe("the number of a call", () => {
  const packed = new HypercallExits(REASONS, { callNumber: (frame) => (frame[ExitWord.arg0Low] ?? 0) & 0xffff });
  const plain = new HypercallExits(REASONS, {});

  it("is the code alone where the first argument holds more, and the call is found by either", () => {
    const call = frameOf(CALL, INPUT);
    expect(packed.numberOf(call)).toBe(0x8003n);
    expect([0x8003n, INPUT, 0x8002n].map((number) => packed.calls(call, number))).toEqual([true, true, false]);
  });

  it("is the first argument where the architecture says no more", () => {
    const call = frameOf(CALL, 0xc600_0001n);
    expect(plain.numberOf(call)).toBe(0xc600_0001n);
    expect([0xc600_0001n, 1n].map((number) => plain.calls(call, number))).toEqual([true, false]);
  });

  it("is asked of calls alone: any other exit has its first argument, and is no call", () => {
    expect(packed.numberOf(frameOf(MMIO, INPUT))).toBe(INPUT);
    expect(packed.calls(frameOf(MMIO, INPUT), INPUT)).toBe(false);
    expect(packed.calls(frameOf(MMIO, INPUT, KvmExit.hypercall), INPUT)).toBe(true);
  });
});
