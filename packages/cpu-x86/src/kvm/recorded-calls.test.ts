import { EXIT_WORD_COUNT, type ExitFrame, ExitWord, KvmExit, setFrameU64 } from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import { hypervCallText, recordedHypervCall } from "./recorded-calls.js";

function frameOf(value: bigint, kvmExit = 0): ExitFrame {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  frame[ExitWord.kvmExit] = kvmExit;
  setFrameU64(frame, ExitWord.arg0Low, value);
  return frame;
}

describe("the input value of a Hyper-V call", () => {
  it.each([
    [0x0003_0005_0000_0003n, "0x0003 HvCallFlushVirtualAddressList repCount=5 repStart=3"],
    [0x0000_0005_0006_0014n, "0x0014 HvCallFlushVirtualAddressListEx variableHeaderSize=3 repCount=5"],
    [0x1_0015n, "0x0015 HvCallSendSyntheticClusterIpiEx fast=1"],
    [0x2n, "0x0002 HvCallFlushVirtualAddressSpace"],
  ])("0x%s is read by its fields", (value, text) => {
    const call = recordedHypervCall(frameOf(value));
    expect(call && hypervCallText(call)).toBe(text);
  });

  it("of a code that nobody knows is one where the exit is Hyper-V's", () => {
    expect(recordedHypervCall(frameOf(0x1_8042n, KvmExit.hyperv))).toMatchObject({ code: 0x8042, fast: true });
    expect(recordedHypervCall(frameOf(0x1_8042n))).toBeUndefined();
  });

  it("of an extended code is one whoever finishes it, by the range that is Hyper-V's", () => {
    for (const code of [0x8001n, 0x8021n, 0x8041n])
      expect(recordedHypervCall(frameOf(0x1_0000n | code))).toMatchObject({ code: Number(code), fast: true });
    const [call, title] = [recordedHypervCall(frameOf(0x1_8021n)), "0x8021 fast=1"];
    expect(call && hypervCallText(call)).toBe(title);
    for (const value of [0x8000n, 0x8042n, 0x0800_8021n, 0xffff_ffff_ffff_8021n])
      expect(recordedHypervCall(frameOf(value))).toBeUndefined();
  });

  it("is no number of KVM's own, and has no reserved bit", () => {
    for (const value of [11n, 12n, 0xc600_0001n, 0xffff_ffff_ffff_0003n])
      expect(recordedHypervCall(frameOf(value))).toBeUndefined();
    expect(recordedHypervCall(frameOf(2n, KvmExit.hypercall))).toBeUndefined();
    expect(recordedHypervCall(frameOf(2n, KvmExit.xen))).toBeUndefined();
  });
});
