/** MC146818 real-time clock and its CMOS memory (Motorola MC146818 data sheet; Intel ICH, "Real Time Clock"). */

/** By offset from the first port. */
export const CmosPort = { index: 0, data: 1 } as const;
/** Bit 7 of what is written to the index port masks the NMI. */
export const INDEX_MASK = 0x7f;
export const CMOS_BYTES = 128;

export const CmosRegister = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  dayOfWeek: 0x06,
  dayOfMonth: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  /** Not the chip's: ACPI's FADT says that it is here. */
  century: 0x32,
} as const;

/** Register A: the divider and the rate of the periodic interrupt. Bit 7, update in progress, is never seen: an update takes no time. */
export const REGISTER_A_BITS = 0x7f;
export const RATE_MASK = 0x0f;
/** 32768 Hz, 1024 interrupts a second. */
export const REGISTER_A_RESET = 0x26;

/** Register B. */
export const ClockControl = {
  /** 24 hours; clear: 12, with PM in bit 7. */
  hours24: 0x02,
  /** Binary; clear: BCD. */
  binary: 0x04,
  updateEnded: 0x10,
  alarm: 0x20,
  periodic: 0x40,
  /** The clock stands while it is set. */
  set: 0x80,
} as const;
export const REGISTER_B_BITS = 0xff;
export const INTERRUPT_BITS = ClockControl.updateEnded | ClockControl.alarm | ClockControl.periodic;
/** Register C: the same bits, and this one while any enabled one is set. */
export const INTERRUPT_REQUEST = 0x80;

/** Register D: the battery is good. */
export const VALID_RAM = 0x80;
/** An alarm register from here up matches anything. */
export const ALARM_ANY = 0xc0;
export const PM_BIT = 0x80;
