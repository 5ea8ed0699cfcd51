/** Bits of control registers and RFLAGS. Intel SDM volume 3, 2.3, 2.5, 2.2.1. */

export const Flag = {
  CF: 1 << 0,
  /** Always 1. */
  fixed: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  /** Two bits. */
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

export const IOPL_SHIFT = 12;

/** The flags that arithmetic writes. */
export const STATUS_FLAGS: number = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

export const Cr0 = {
  PE: 1 << 0,
  MP: 1 << 1,
  EM: 1 << 2,
  TS: 1 << 3,
  /** Always 1. */
  ET: 1 << 4,
  NE: 1 << 5,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
} as const;
/** Bit 31, which has no number of its own sign in `Cr0`. */
export const CR0_PG = 0x8000_0000n;
export const CR0_PG_BIT = 31;

export const Cr4 = {
  VME: 1 << 0,
  PVI: 1 << 1,
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  MCE: 1 << 6,
  PGE: 1 << 7,
  PCE: 1 << 8,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  UMIP: 1 << 11,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
} as const;
/** Bits of CR4 that this CPU has: virtual-8086 extensions (VME, PVI), 5-level paging and protection keys are not offered. */
export const CR4_BITS: number =
  Cr4.TSD |
  Cr4.DE |
  Cr4.PSE |
  Cr4.PAE |
  Cr4.MCE |
  Cr4.PGE |
  Cr4.PCE |
  Cr4.OSFXSR |
  Cr4.OSXMMEXCPT |
  Cr4.UMIP |
  Cr4.FSGSBASE |
  Cr4.PCIDE |
  Cr4.OSXSAVE |
  Cr4.SMEP |
  Cr4.SMAP;

export const Efer = { SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

/** Bits of DR6. B0 to B3, the breakpoints that were met, are bits 0 to 3. */
export const Dr6 = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15 } as const;
/** Bits that read as 1. */
export const DR6_FIXED = 0xffff_0ff0n;
/** L0, G0 to L3, G3 of DR7. */
export const DR7_ENABLES = 0xff;
export const Dr7 = { GD: 1 << 13 } as const;
export const DR7_FIXED = 0x400n;
