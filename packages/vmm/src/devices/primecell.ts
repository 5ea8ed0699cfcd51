/** PrimeCell identification registers, the last 32 bytes of a 4 KiB frame (Arm IHI 0029, and each peripheral's manual). */

const IDENTIFICATION_BASE = 0xfe0;
/** PCellID0-3: the same on every PrimeCell. */
const PCELL_ID = [0x0d, 0xf0, 0x05, 0xb1] as const;

/** The register at `offset`, one byte in a word; undefined below the identification registers. `peripheralId`: PeriphID0-3. */
export function primecellIdentification(peripheralId: readonly number[], offset: number): number | undefined {
  return offset < IDENTIFICATION_BASE ? undefined : [...peripheralId, ...PCELL_ID][(offset - IDENTIFICATION_BASE) >> 2];
}
