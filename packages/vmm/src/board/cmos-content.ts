/** What firmware would have left in a PC's CMOS memory, as far as anybody still looks (Ralf Brown, CMOS memory map). */

const KIBIBYTE = 1024;
const CONVENTIONAL_KIBIBYTES = 640;
const EXTENDED_BASE = 1024 * KIBIBYTE;
const EXTENDED_KIBIBYTES_MAX = 0xffff;
const ABOVE_16M_BASE = 16 * 1024 * KIBIBYTE;
const ABOVE_16M_UNIT = 64 * KIBIBYTE;
const ABOVE_16M_UNITS_MAX = 0xffff;

/** Low byte first; the registers follow each other, but for a second copy of the extended memory. */
const Register = { conventional: 0x15, extended: 0x17, extendedCopy: 0x30, above16M: 0x34 } as const;

/** By register. */
export function firmwareCmos(memoryBytes: number): Map<number, number> {
  const extended = Math.min(Math.max(memoryBytes - EXTENDED_BASE, 0) / KIBIBYTE, EXTENDED_KIBIBYTES_MAX);
  const above16M = Math.min(Math.max(memoryBytes - ABOVE_16M_BASE, 0) / ABOVE_16M_UNIT, ABOVE_16M_UNITS_MAX);
  const words: readonly (readonly [number, number])[] = [
    [Register.conventional, CONVENTIONAL_KIBIBYTES],
    [Register.extended, extended],
    [Register.extendedCopy, extended],
    [Register.above16M, above16M],
  ];
  return new Map(
    words.flatMap(([register, value]) => [
      [register, Math.floor(value) & 0xff],
      [register + 1, Math.floor(value) >> 8],
    ]),
  );
}
