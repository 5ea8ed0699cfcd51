/** The proleptic Gregorian calendar in UTC, for a clock that has registers for its fields. */

export interface CalendarTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** 1 to 31. */
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

const SECONDS_PER_DAY = 86_400;
const DAYS_PER_ERA = 146_097;
const YEARS_PER_ERA = 400;
/** From 0000-03-01 to 1970-01-01. Years that begin in March have the leap day at their end. */
const DAYS_TO_1970 = 719_468;

function daysBeforeMonth(monthFromMarch: number): number {
  return Math.floor((153 * monthFromMarch + 2) / 5);
}

/** Seconds since 1970-01-01T00:00Z. Fields out of their range are carried. */
export function secondOf({ year, month, day, hour, minute, second }: CalendarTime): number {
  const marchYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(marchYear / YEARS_PER_ERA);
  const yearOfEra = marchYear - era * YEARS_PER_ERA;
  const dayOfYear = daysBeforeMonth((month + 9) % 12) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  const days = era * DAYS_PER_ERA + dayOfEra - DAYS_TO_1970;
  return days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
}

export function calendarTime(second: number): CalendarTime {
  const days = Math.floor(second / SECONDS_PER_DAY);
  const left = second - days * SECONDS_PER_DAY;
  const era = Math.floor((days + DAYS_TO_1970) / DAYS_PER_ERA);
  const dayOfEra = days + DAYS_TO_1970 - era * DAYS_PER_ERA;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  return {
    year: era * YEARS_PER_ERA + yearOfEra + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - daysBeforeMonth(monthFromMarch) + 1,
    hour: Math.floor(left / 3600),
    minute: Math.floor(left / 60) % 60,
    second: left % 60,
  };
}

/** 1 is Sunday. */
export function dayOfWeek(second: number): number {
  const days = Math.floor(second / SECONDS_PER_DAY);
  // 1970-01-01 was a Thursday.
  return ((((days + 4) % 7) + 7) % 7) + 1;
}
