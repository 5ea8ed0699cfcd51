/** ACPI's fixed hardware: PM1a event and control blocks (ACPI 6.5, 4.8.3). */

/** In bytes from the event block's start; the status register comes first, the enable register behind it. */
export const PM1_EVENT_BYTES = 4;
export const PM1_CONTROL_BYTES = 2;

export const Pm1Control = {
  /** The chipset sends its events to the operating system and not to firmware: always. */
  sciEnable: 1 << 0,
  sleepType: 7 << 10,
  sleepEnable: 1 << 13,
} as const;
export const SLEEP_TYPE_SHIFT = 10;

/** SLP_TYP of soft-off, as the DSDT's \_S5 says. */
export const SLEEP_TYPE_S5 = 0;
