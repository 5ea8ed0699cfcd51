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

/** A loop of two instructions that does nothing, `count` times round; in X9. */
export function spin(count: bigint): number[] {
  // SUBS X9, X9, #1; B.NE .-4
  return [...moveImmediate(9, count), 0xf100_0529, 0x54ff_ffe1];
}

/** MRS Xt of a register by op0, op1, CRn, CRm and op2, packed as in KVM_REG_ARM64_SYSREG; MSR to it. */
export function mrs(rt: number, selector: number): number {
  return (0xd520_0000 | (selector << 5) | rt) >>> 0;
}

export function msr(selector: number, rt: number): number {
  return (0xd500_0000 | (selector << 5) | rt) >>> 0;
}

/** STR Wt, [Xn]. */
export function store32(rt: number, rn: number): number {
  return (0xb900_0000 | (rn << 5) | rt) >>> 0;
}

/** A word into memory or a device; X1 and X2 are lost. */
export function poke32(address: number, value: number): number[] {
  return [...moveImmediate(1, BigInt(address)), ...moveImmediate(2, BigInt(value)), store32(2, 1)];
}

/** SUBS Xd, Xd, #1. */
export function decrement(rd: number): number {
  return (0xf100_0400 | (rd << 5) | rd) >>> 0;
}
