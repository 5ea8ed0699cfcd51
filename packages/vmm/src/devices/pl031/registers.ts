/** PL031 real time clock: register map (Arm DDI 0224, chapter 3). */

export const Pl031Register = {
  data: 0x000,
  match: 0x004,
  load: 0x008,
  control: 0x00c,
  interruptMask: 0x010,
  rawInterruptStatus: 0x014,
  maskedInterruptStatus: 0x018,
  interruptClear: 0x01c,
} as const;

/** RTCCR.start: the clock runs from reset and can't be stopped. */
export const CONTROL_STARTED = 1;

/** Part 0x031, designer 0x41 (Arm), revision 0. */
export const PL031_PERIPHERAL_ID = [0x31, 0x10, 0x04, 0x00] as const;

/** Counter, match and load are 32-bit seconds. */
export const COUNTER_PERIOD_SECONDS = 0x1_0000_0000;
