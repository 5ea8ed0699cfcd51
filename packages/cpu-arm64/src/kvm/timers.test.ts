import { describe, expect, it } from "@jest/globals";
import { selectorOf } from "../isa/system-registers.js";
import { RegisterValue } from "./register-value.js";
import { counterAt, COUNTER_HZ, timerRegisterAt, timerRegisterTraps, unitsUntil, VcpuTimers } from "./timers.js";

const CNTFRQ = selectorOf(3, 3, 14, 0, 0);
const CNTVCT = selectorOf(3, 3, 14, 0, 2);
const CNTV_TVAL = selectorOf(3, 3, 14, 3, 0);
const CNTV_CTL = selectorOf(3, 3, 14, 3, 1);
const CNTV_CVAL = selectorOf(3, 3, 14, 3, 2);
const CNTP_CTL = selectorOf(3, 3, 14, 2, 1);
const CNTP_CVAL = selectorOf(3, 3, 14, 2, 2);

function readTimerRegister(timers: VcpuTimers, selector: number, guestTimeNs: number): bigint {
  const value = new RegisterValue();
  timerRegisterAt(selector)?.read(timers, counterAt(guestTimeNs), value);
  return value.bigint;
}

/** False: it can't be written. */
function writeTimerRegister(timers: VcpuTimers, selector: number, guestTimeNs: number, written: bigint): boolean {
  const value = new RegisterValue();
  value.setBigint(written);
  const write = timerRegisterAt(selector)?.write;
  write?.(timers, counterAt(guestTimeNs), value);
  return write !== undefined;
}

describe("the generic timers", () => {
  it("count one tick in 16 ns of guest time", () => {
    const timers = new VcpuTimers();
    expect(readTimerRegister(timers, CNTFRQ, 0)).toBe(BigInt(COUNTER_HZ));
    expect(readTimerRegister(timers, CNTVCT, 15)).toBe(0n);
    expect(readTimerRegister(timers, CNTVCT, 16)).toBe(1n);
    expect(readTimerRegister(timers, CNTVCT, 1_000_000_000)).toBe(BigInt(COUNTER_HZ));
  });

  it("expire when the counter reaches the compare value, and say so in the control register", () => {
    const timers = new VcpuTimers();
    writeTimerRegister(timers, CNTV_CVAL, 0, 10n);
    expect(readTimerRegister(timers, CNTV_CTL, 200)).toBe(0n);
    writeTimerRegister(timers, CNTV_CTL, 0, 1n);
    expect(timers.deadlineNs(0)).toBe(160);
    expect(readTimerRegister(timers, CNTV_CTL, 159)).toBe(1n);
    expect(timers.virtual.level(9)).toBe(0);
    expect(readTimerRegister(timers, CNTV_CTL, 160)).toBe(5n);
    expect(timers.virtual.level(10)).toBe(1);
    expect(timers.deadlineNs(10)).toBeUndefined();
    writeTimerRegister(timers, CNTV_CTL, 160, 3n);
    expect(timers.virtual.level(10)).toBe(0);
    expect(readTimerRegister(timers, CNTV_CTL, 160)).toBe(7n);
  });

  it("take and show a signed distance in TVAL", () => {
    const timers = new VcpuTimers();
    writeTimerRegister(timers, CNTV_TVAL, 1600, 50n);
    expect(readTimerRegister(timers, CNTV_CVAL, 1600)).toBe(150n);
    expect(readTimerRegister(timers, CNTV_TVAL, 1600)).toBe(50n);
    expect(readTimerRegister(timers, CNTV_TVAL, 3200)).toBe(0xffff_ffcen);
    writeTimerRegister(timers, CNTV_TVAL, 1600, 0xffff_fff6n);
    expect(readTimerRegister(timers, CNTV_CVAL, 1600)).toBe(90n);
    writeTimerRegister(timers, CNTV_TVAL, 16, 0xffff_fff6n);
    expect(readTimerRegister(timers, CNTV_CVAL, 16)).toBe(2n ** 64n - 9n);
    expect(readTimerRegister(timers, CNTV_TVAL, 16)).toBe(0xffff_fff6n);
  });

  it("have the earlier of two deadlines, and none beyond all time", () => {
    const timers = new VcpuTimers();
    writeTimerRegister(timers, CNTV_CVAL, 0, 100n);
    writeTimerRegister(timers, CNTV_CTL, 0, 1n);
    writeTimerRegister(timers, CNTP_CVAL, 0, 50n);
    writeTimerRegister(timers, CNTP_CTL, 0, 1n);
    expect(timers.deadlineNs(0)).toBe(800);
    expect(timers.deadlineNs(60)).toBe(1600);
    writeTimerRegister(timers, CNTV_CVAL, 0, 0xffff_ffff_ffff_ffffn);
    expect(timers.deadlineNs(60)).toBeUndefined();
  });

  it("reach a deadline at the first unit whose guest time is not before it", () => {
    expect(unitsUntil(160, 0, 0)).toBe(80);
    expect(unitsUntil(161, 0, 0)).toBe(81);
    expect(unitsUntil(160, 30, 100)).toBe(0);
    expect(unitsUntil(160, 20, 101)).toBe(10);
  });

  it("trap for the physical timer alone, and can't have their frequency or counters written", () => {
    expect([CNTP_CTL, CNTP_CVAL, CNTV_CTL, CNTVCT, CNTFRQ].map(timerRegisterTraps)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(writeTimerRegister(new VcpuTimers(), CNTFRQ, 0, 1n)).toBe(false);
    expect(writeTimerRegister(new VcpuTimers(), CNTVCT, 0, 1n)).toBe(false);
    expect(timerRegisterAt(selectorOf(3, 0, 14, 1, 0))).toBeUndefined();
  });
});
