import { describe, expect, it } from "@jest/globals";
import { createVirtBoard, type VirtBoard } from "../../board/virt.js";
import { TestGuest, countingEntropy } from "../../testing/test-guest.js";
import { Pl031Register as Register } from "./registers.js";

const RTC = 0x0901_0000;
const SPI = 2;
/** 2026-11-21T09:00:00.5Z */
const BASE_NS = 1_795_251_600_500_000_000n;
const BASE_SECOND = 1_795_251_600;

function machine(): {
  guest: TestGuest;
  board: VirtBoard;
  read: (r: number) => number;
  write: (r: number, v: number) => void;
} {
  const guest = new TestGuest();
  const board = createVirtBoard({
    memoryBytes: 4 << 20,
    vcpuCount: 1,
    drives: [],
    rtcBaseNs: BASE_NS,
    entropy: countingEntropy(),
  });
  return {
    guest,
    board,
    read: (register) => guest.read(board, RTC + register),
    write: (register, value) => guest.write(board, RTC + register, value),
  };
}

describe("PL031", () => {
  it("shows the recorded wall clock plus guest time, in seconds", () => {
    const { guest, read } = machine();
    expect(read(Register.data)).toBe(BASE_SECOND);
    guest.guestTimeNs = 499_999_999;
    expect(read(Register.data)).toBe(BASE_SECOND);
    guest.guestTimeNs = 500_000_000;
    expect(read(Register.data)).toBe(BASE_SECOND + 1);
    expect([read(0xfe0), read(0xff0), read(Register.control)]).toEqual([0x31, 0x0d, 1]);
  });

  it("counts on from what the guest loads", () => {
    const { guest, read, write } = machine();
    write(Register.load, 0xffff_ffff);
    expect(read(Register.load)).toBe(0xffff_ffff);
    expect(read(Register.data)).toBe(0xffff_ffff);
    guest.guestTimeNs = 500_000_000;
    expect(read(Register.data)).toBe(0);
  });

  it("interrupts at the second of the match, and asks to be woken then", () => {
    const { guest, board, read, write } = machine();
    expect(board.deadlineNs).toBeUndefined();
    write(Register.match, BASE_SECOND + 3);
    expect(board.deadlineNs).toBeUndefined();
    write(Register.interruptMask, 1);
    expect(board.deadlineNs).toBe(2_500_000_000);
    guest.guestTimeNs = 2_499_999_999;
    expect(read(Register.rawInterruptStatus)).toBe(0);
    guest.guestTimeNs = 2_500_000_000;
    board.reachDeadline(guest);
    expect(guest.irq(SPI)).toBe(1);
    expect(read(Register.maskedInterruptStatus)).toBe(1);
    expect(board.deadlineNs).toBeUndefined();
    write(Register.interruptClear, 1);
    expect(guest.irq(SPI)).toBe(0);
    // The next match is one period of 2^32 s away, later than guest time can count.
    expect(board.deadlineNs).toBeUndefined();
  });

  it("finds a match that passed while it was masked", () => {
    const { guest, read, write } = machine();
    write(Register.match, BASE_SECOND + 1);
    guest.guestTimeNs = 5_000_000_000;
    expect(read(Register.rawInterruptStatus)).toBe(1);
    expect(guest.irq(SPI)).toBe(0);
    write(Register.interruptMask, 1);
    expect(guest.irq(SPI)).toBe(1);
  });

  it("interrupts at once when the match is now", () => {
    const { guest, write } = machine();
    write(Register.interruptMask, 1);
    write(Register.match, BASE_SECOND);
    expect(guest.irq(SPI)).toBe(1);
  });
});
