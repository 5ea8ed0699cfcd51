/** Between a moment and the registers that show it, in the forms that register B selects. */
import { calendarTime, dayOfWeek, secondOf } from "./calendar.js";
import { ClockControl, CmosRegister, PM_BIT } from "./registers.js";

/** Those that a guest reads and writes as one time. */
export const TIME_REGISTERS: readonly number[] = [
  CmosRegister.seconds,
  CmosRegister.minutes,
  CmosRegister.hours,
  CmosRegister.dayOfWeek,
  CmosRegister.dayOfMonth,
  CmosRegister.month,
  CmosRegister.year,
  CmosRegister.century,
];

export function encodeNumber(value: number, control: number): number {
  return control & ClockControl.binary ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

export function decodeNumber(value: number, control: number): number {
  return control & ClockControl.binary ? value : (value >> 4) * 10 + (value & 0xf);
}

export function encodeHour(hour: number, control: number): number {
  if (control & ClockControl.hours24) return encodeNumber(hour, control);
  return encodeNumber(hour % 12 === 0 ? 12 : hour % 12, control) | (hour >= 12 ? PM_BIT : 0);
}

export function decodeHour(value: number, control: number): number {
  if (control & ClockControl.hours24) return decodeNumber(value, control);
  const hour = decodeNumber(value & ~PM_BIT, control) % 12;
  return value & PM_BIT ? hour + 12 : hour;
}

/** In the order of `TIME_REGISTERS`. */
export function timeRegisters(second: number, control: number): number[] {
  const time = calendarTime(second);
  const number = (value: number): number => encodeNumber(value, control);
  return [
    number(time.second),
    number(time.minute),
    encodeHour(time.hour, control),
    number(dayOfWeek(second)),
    number(time.day),
    number(time.month),
    number(time.year % 100),
    number(Math.floor(time.year / 100) % 100),
  ];
}

/** Seconds since 1970. The day of the week is what the date says, whatever its register says. */
export function secondFromRegisters(registers: readonly number[], control: number): number {
  const [second = 0, minute = 0, hour = 0, , day = 0, month = 0, year = 0, century = 0] = registers;
  const number = (value: number): number => decodeNumber(value, control);
  return secondOf({
    year: number(century) * 100 + number(year),
    month: number(month),
    day: number(day),
    hour: decodeHour(hour, control),
    minute: number(minute),
    second: number(second),
  });
}
