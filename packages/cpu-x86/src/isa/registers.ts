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

export const Cr0 = { PE: 1 << 0, EM: 1 << 2, TS: 1 << 3, NE: 1 << 5, WP: 1 << 16, AM: 1 << 18 } as const;
/** Bit 31, which has no number of its own sign in `Cr0`. */
export const CR0_PG = 0x8000_0000n;
export const Cr4 = { TSD: 1 << 2, PAE: 1 << 5, OSFXSR: 1 << 9 } as const;
export const Efer = { LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;
