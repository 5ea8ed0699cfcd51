import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { testPc, type TestPc } from "../../testing/test-board.js";
import { calendarTime, dayOfWeek, secondOf } from "./calendar.js";
import { ClockControl, CmosRegister as Register } from "./registers.js";

const IRQ = 8;
/** 2026-11-21T23:59:58.5Z, a Saturday. */
const BASE_NS = 1_795_305_598_500_000_000n;
const SECOND_NS = 1_000_000_000;

interface Machine extends TestPc {
  read(register: number): number;
  write(register: number, value: number): void;
  /** As Linux reads it: seconds to century. */
  time(): number[];
}

function machine(): Machine {
  const pc = testPc({ rtcBaseNs: BASE_NS });
  const read = (register: number): number => {
    pc.out(0x70, register);
    return pc.in(0x71);
  };
  const shown = [
    Register.seconds,
    Register.minutes,
    Register.hours,
    Register.dayOfWeek,
    Register.dayOfMonth,
    Register.month,
    Register.year,
    Register.century,
  ];
  return {
    ...pc,
    read,
    write: (register, value) => {
      pc.out(0x70, register);
      pc.out(0x71, value);
    },
    time: () => shown.map(read),
  };
}

describe("CMOS clock", () => {
  it("shows the recorded wall clock plus guest time, in BCD, and is never in the middle of an update", () => {
    const { guest, read, time } = machine();
    expect(time()).toEqual([0x58, 0x59, 0x23, 7, 0x21, 0x11, 0x26, 0x20]);
    guest.guestTimeNs = 1_499_999_999;
    expect(time()[0]).toBe(0x59);
    guest.guestTimeNs = 1_500_000_000;
    expect(time()).toEqual([0, 0, 0, 1, 0x22, 0x11, 0x26, 0x20]);
    expect([read(Register.a), read(Register.b), read(Register.d)]).toEqual([0x26, 0x02, 0x80]);
  });

  it("shows binary and 12 hours where register B says so", () => {
    const { read, write } = machine();
    write(Register.b, ClockControl.binary);
    expect([read(Register.seconds), read(Register.hours), read(Register.year)]).toEqual([58, 0x80 | 11, 26]);
  });

  it("is set as Linux sets it: stopped, written, started", () => {
    const { guest, write, time } = machine();
    write(Register.b, ClockControl.hours24 | ClockControl.set);
    guest.guestTimeNs = 10 * SECOND_NS;
    const values = [0x30, 0x15, 0x08, 5, 0x29, 0x02, 0x24, 0x20];
    for (const [index, register] of [0, 2, 4, 6, 7, 8, 9, 0x32].entries()) write(register, values[index] ?? 0);
    expect(time()).toEqual(values);
    write(Register.b, ClockControl.hours24);
    guest.guestTimeNs = 11 * SECOND_NS;
    expect(time()).toEqual([0x31, 0x15, 0x08, 5, 0x29, 0x02, 0x24, 0x20]);
  });

  it("interrupts at its alarm, and asks to be woken then", () => {
    const { guest, board, read, write } = machine();
    for (const [register, value] of [
      [Register.hoursAlarm, 0x00],
      [Register.minutesAlarm, 0x01],
      [Register.secondsAlarm, 0x02],
    ] as const)
      write(register, value);
    expect(board.deadlineNs).toBeUndefined();
    write(Register.b, ClockControl.hours24 | ClockControl.alarm);
    expect(board.deadlineNs).toBe(63_500_000_000);
    guest.guestTimeNs = 63_500_000_000;
    board.reachDeadline(guest);
    expect(guest.irq(IRQ)).toBe(1);
    expect(board.deadlineNs).toBeUndefined();
    expect(read(Register.c)).toBe(0x80 | ClockControl.alarm | ClockControl.updateEnded | ClockControl.periodic);
    expect(guest.irq(IRQ)).toBe(0);
    expect(read(Register.c)).toBe(0);
    // The same time tomorrow.
    expect(board.deadlineNs).toBe(63_500_000_000 + 86_400 * SECOND_NS);
  });

  it("has alarms at any hour, minute or second", () => {
    const { board, write } = machine();
    for (const register of [Register.hoursAlarm, Register.minutesAlarm]) write(register, 0xff);
    write(Register.secondsAlarm, 0x05);
    write(Register.b, ClockControl.hours24 | ClockControl.alarm);
    expect(board.deadlineNs).toBe(6_500_000_000);
  });

  it("interrupts each second, and at the rate of register A", () => {
    const { guest, board, read, write } = machine();
    write(Register.b, ClockControl.hours24 | ClockControl.updateEnded);
    expect(board.deadlineNs).toBe(500_000_000);
    write(Register.b, ClockControl.hours24 | ClockControl.periodic);
    expect(board.deadlineNs).toBe(976_563);
    guest.guestTimeNs = 976_563;
    board.reachDeadline(guest);
    expect(read(Register.c)).toBe(0x80 | ClockControl.periodic);
    expect(board.deadlineNs).toBe(1_953_125);
    write(Register.a, 0x20);
    expect(board.deadlineNs).toBeUndefined();
  });

  it("keeps CMOS memory, in which firmware would have left the size of RAM", () => {
    const { read, write } = machine();
    expect([read(0x15), read(0x16)]).toEqual([0x80, 0x02]);
    expect([read(0x17), read(0x18)]).toEqual([0x00, 0x0c]);
    write(0x0f, 0x0a);
    expect(read(0x8f)).toBe(0x0a);
  });

  it("saves all that it remembers", () => {
    const { board, write } = machine();
    write(Register.b, ClockControl.set);
    const saved = board.save();
    const other = machine();
    other.board.restore(saved);
    expect(other.board.save()).toEqual(saved);
  });
});

describe("calendar", () => {
  it.each([
    [0, [1970, 1, 1, 0, 0, 0], 5],
    [951_782_399, [2000, 2, 28, 23, 59, 59], 2],
    [951_782_400, [2000, 2, 29, 0, 0, 0], 3],
    [1_709_251_200, [2024, 3, 1, 0, 0, 0], 6],
    [4_107_542_400, [2100, 3, 1, 0, 0, 0], 2],
    [-1, [1969, 12, 31, 23, 59, 59], 4],
    [-2_203_891_200, [1900, 3, 1, 0, 0, 0], 5],
  ])("knows the day of second %d", (second, [year, month, day, hour, minute, of], weekday) => {
    expect(calendarTime(second)).toEqual({ year, month, day, hour, minute, second: of });
    expect(dayOfWeek(second)).toBe(weekday);
  });

  it("comes back from every second, and goes on day by day", () => {
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 36), max: 2 ** 36 }), (second) => {
        expect(secondOf(calendarTime(second))).toBe(second);
        const [today, tomorrow] = [calendarTime(second), calendarTime(second + 86_400)];
        expect(tomorrow.day === today.day + 1 || tomorrow.day === 1).toBe(true);
      }),
    );
  });
});
