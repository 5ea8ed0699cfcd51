/** The few A64 encodings that the conformance harness is made of. Arm ARM C6.2. */

/** Register number of SP and XZR. */
export const SP = 31;

export const SVC_0 = 0xd400_0001;
export const RET = 0xd65f_03c0;
/** A branch to itself. */
export const STOP = 0x1400_0000;

/** MOVZ and MOVK of an address of 32 bits. */
export function moveAddress(rd: number, address: number): number[] {
  return [
    (0xd280_0000 | ((address & 0xffff) << 5) | rd) >>> 0,
    (0xf2a0_0000 | (((address >>> 16) & 0xffff) << 5) | rd) >>> 0,
  ];
}

/** `bytes` is a multiple of 8 below 32 KiB. */
export function loadX(rt: number, rn: number, bytes: number): number {
  return (0xf940_0000 | ((bytes / 8) << 10) | (rn << 5) | rt) >>> 0;
}

export function storeX(rt: number, rn: number, bytes: number): number {
  return (0xf900_0000 | ((bytes / 8) << 10) | (rn << 5) | rt) >>> 0;
}

/** `bytes` is a multiple of 16 below 64 KiB. */
export function loadQ(rt: number, rn: number, bytes: number): number {
  return (0x3dc0_0000 | ((bytes / 16) << 10) | (rn << 5) | rt) >>> 0;
}

export function storeQ(rt: number, rn: number, bytes: number): number {
  return (0x3d80_0000 | ((bytes / 16) << 10) | (rn << 5) | rt) >>> 0;
}

/** `LDP Xt1, Xt2, [Xn], #16` and its store: for copying. */
export function loadPairPost(rt: number, rt2: number, rn: number): number {
  return (0xa8c1_0000 | (rt2 << 10) | (rn << 5) | rt) >>> 0;
}

export function storePairPost(rt: number, rt2: number, rn: number): number {
  return (0xa881_0000 | (rt2 << 10) | (rn << 5) | rt) >>> 0;
}

/** `ADD Xd|SP, Xn|SP, #imm`. */
export function addImmediate(rd: number, rn: number, immediate: number): number {
  return (0x9100_0000 | (immediate << 10) | (rn << 5) | rd) >>> 0;
}

/** `SUBS Xd, Xn, #imm`. */
export function subtractWithFlags(rd: number, rn: number, immediate: number): number {
  return (0xf100_0000 | (immediate << 10) | (rn << 5) | rd) >>> 0;
}

export function subtractRegister(rd: number, rn: number, rm: number): number {
  return (0xcb00_0000 | (rm << 16) | (rn << 5) | rd) >>> 0;
}

export function moveImmediate16(rd: number, immediate: number): number {
  return (0xd280_0000 | (immediate << 5) | rd) >>> 0;
}

/** Registers that user code may reach, as op0, op1, CRn, CRm, op2 in bits 20 to 5. */
export const SystemRegister = { nzcv: 0x1b_4200, fpcr: 0x1b_4400, fpsr: 0x1b_4420, tpidrEl0: 0x1b_d040 } as const;

export function readSystemRegister(rt: number, register: number): number {
  return (0xd520_0000 | register | rt) >>> 0;
}

export function writeSystemRegister(register: number, rt: number): number {
  return (0xd500_0000 | register | rt) >>> 0;
}

export function branch(from: number, to: number): number {
  return (0x1400_0000 | (((to - from) / 4) & 0x03ff_ffff)) >>> 0;
}

export function branchWithLink(from: number, to: number): number {
  return (0x9400_0000 | (((to - from) / 4) & 0x03ff_ffff)) >>> 0;
}

/** `words` may be negative. */
export function branchIfNotZero(rt: number, words: number): number {
  return (0xb500_0000 | ((words & 0x7_ffff) << 5) | rt) >>> 0;
}

export function branchToRegister(rn: number): number {
  return (0xd61f_0000 | (rn << 5)) >>> 0;
}

export function addRegister(rd: number, rn: number, rm: number): number {
  return (0x8b00_0000 | (rm << 16) | (rn << 5) | rd) >>> 0;
}
