/** The A64 instructions that the guests of the tables are made of (Arm ARM C6.2). */
export function hvc(immediate: number): number {
  return (0xd400_0002 | (immediate << 5)) >>> 0;
}

export function smc(immediate: number): number {
  return (0xd400_0003 | (immediate << 5)) >>> 0;
}

export const nop = 0xd503_201f;
export const wfi = 0xd503_207f;
/** A branch to itself. */
export const stop = 0x1400_0000;

/** MOVZ and MOVK: any 64-bit number. */
export function moveImmediate(rd: number, value: bigint): number[] {
  const words: number[] = [];
  for (let part = 0; part < 4; part++) {
    const bits = Number((value >> BigInt(16 * part)) & 0xffffn);
    if (bits === 0 && part !== 0) continue;
    words.push(((words.length === 0 ? 0xd280_0000 : 0xf280_0000) | (part << 21) | (bits << 5) | rd) >>> 0);
  }
  return words;
}
