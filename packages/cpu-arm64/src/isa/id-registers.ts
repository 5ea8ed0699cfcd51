/**
 * Identification registers of a Cortex-A57 as a guest at EL1 sees it: Armv8.0-A, AArch64 at both exception levels,
 * no AArch32, EL2 or EL3, no performance monitors, no trace. Arm ARM D13; Cortex-A57 TRM (DDI 0488) 4.3.
 */

/** Cortex-A57 r1p0: implementer Arm, variant 1, part 0xd07. */
export const MIDR_CORTEX_A57 = 0x411f_d070n;
/** MPIDR_EL1 bit 31 is RES1; affinities below. */
export const MPIDR_RES1 = 0x8000_0000n;

/** EL0 and EL1 AArch64 only; FP and AdvSIMD, no half-precision arithmetic; GIC system registers (bits 27 to 24). */
const ID_AA64PFR0 = 0x0100_0011n;
/** Debug v8 (6), no PMU, 6 breakpoints of which 2 match contexts, 4 watchpoints. */
const ID_AA64DFR0 = 0x1030_5006n;
/** CRC32; no AES, SHA, atomics or RDM. */
const ID_AA64ISAR0 = 0x0001_0000n;
/** 40-bit physical addresses, 16-bit ASIDs, little-endian, 4 KiB granule; no 64 KiB (0xf) and no 16 KiB granule (0). */
const ID_AA64MMFR0 = 0x0f00_0022n;

/** Registers of op0 = 3, op1 = 0, CRn = 0: [CRm, op2] of those with names. All others of CRm 1 to 7 read as zero. */
export const idRegisters: readonly {
  readonly name: string;
  readonly crm: number;
  readonly op2: number;
  readonly value: bigint;
}[] = [
  // The AArch32 ones are zero: AArch32 is not implemented.
  { name: "ID_PFR0_EL1", crm: 1, op2: 0, value: 0n },
  { name: "ID_PFR1_EL1", crm: 1, op2: 1, value: 0n },
  { name: "ID_DFR0_EL1", crm: 1, op2: 2, value: 0n },
  { name: "ID_AFR0_EL1", crm: 1, op2: 3, value: 0n },
  { name: "ID_MMFR0_EL1", crm: 1, op2: 4, value: 0n },
  { name: "ID_MMFR1_EL1", crm: 1, op2: 5, value: 0n },
  { name: "ID_MMFR2_EL1", crm: 1, op2: 6, value: 0n },
  { name: "ID_MMFR3_EL1", crm: 1, op2: 7, value: 0n },
  { name: "ID_ISAR0_EL1", crm: 2, op2: 0, value: 0n },
  { name: "ID_ISAR1_EL1", crm: 2, op2: 1, value: 0n },
  { name: "ID_ISAR2_EL1", crm: 2, op2: 2, value: 0n },
  { name: "ID_ISAR3_EL1", crm: 2, op2: 3, value: 0n },
  { name: "ID_ISAR4_EL1", crm: 2, op2: 4, value: 0n },
  { name: "ID_ISAR5_EL1", crm: 2, op2: 5, value: 0n },
  { name: "ID_MMFR4_EL1", crm: 2, op2: 6, value: 0n },
  { name: "ID_ISAR6_EL1", crm: 2, op2: 7, value: 0n },
  { name: "MVFR0_EL1", crm: 3, op2: 0, value: 0n },
  { name: "MVFR1_EL1", crm: 3, op2: 1, value: 0n },
  { name: "MVFR2_EL1", crm: 3, op2: 2, value: 0n },
  { name: "ID_PFR2_EL1", crm: 3, op2: 4, value: 0n },
  { name: "ID_DFR1_EL1", crm: 3, op2: 5, value: 0n },
  { name: "ID_MMFR5_EL1", crm: 3, op2: 6, value: 0n },
  { name: "ID_AA64PFR0_EL1", crm: 4, op2: 0, value: ID_AA64PFR0 },
  { name: "ID_AA64PFR1_EL1", crm: 4, op2: 1, value: 0n },
  { name: "ID_AA64ZFR0_EL1", crm: 4, op2: 4, value: 0n },
  { name: "ID_AA64SMFR0_EL1", crm: 4, op2: 5, value: 0n },
  { name: "ID_AA64DFR0_EL1", crm: 5, op2: 0, value: ID_AA64DFR0 },
  { name: "ID_AA64DFR1_EL1", crm: 5, op2: 1, value: 0n },
  { name: "ID_AA64AFR0_EL1", crm: 5, op2: 4, value: 0n },
  { name: "ID_AA64AFR1_EL1", crm: 5, op2: 5, value: 0n },
  { name: "ID_AA64ISAR0_EL1", crm: 6, op2: 0, value: ID_AA64ISAR0 },
  { name: "ID_AA64ISAR1_EL1", crm: 6, op2: 1, value: 0n },
  { name: "ID_AA64ISAR2_EL1", crm: 6, op2: 2, value: 0n },
  { name: "ID_AA64MMFR0_EL1", crm: 7, op2: 0, value: ID_AA64MMFR0 },
  { name: "ID_AA64MMFR1_EL1", crm: 7, op2: 1, value: 0n },
  { name: "ID_AA64MMFR2_EL1", crm: 7, op2: 2, value: 0n },
  { name: "ID_AA64MMFR3_EL1", crm: 7, op2: 3, value: 0n },
  { name: "ID_AA64MMFR4_EL1", crm: 7, op2: 4, value: 0n },
];

/** Bits of a physical address (ID_AA64MMFR0_EL1.PARange = 2). */
export const PHYSICAL_ADDRESS_BITS = 40;
/** 6 hardware breakpoints (DFR0.BRPs + 1), 4 watchpoints (WRPs + 1). */
export const BREAKPOINT_COUNT = 6;
export const WATCHPOINT_COUNT = 4;

/** PIPT instruction cache, 64-byte lines, granules of 64 bytes; cache maintenance is required (IDC, DIC = 0). */
export const CTR_EL0_VALUE = 0x8444_c004n;
/** DC ZVA zeroes 64 bytes (log2 of words). Bit 4, DZP, is added where SCTLR_EL1.DZE forbids it. */
export const DCZID_EL0_VALUE = 4n;
export const ZERO_BLOCK_BYTES = 64;
/** Separate first-level caches, unified second level; coherency and unification at level 2 and 1. */
export const CLIDR_VALUE = 0x0a20_0023n;
/** CCSIDR_EL1 by CSSELR_EL1: L1 data 32 KiB 2-way, L1 instruction 48 KiB 3-way, L2 2 MiB 16-way. */
export const CCSIDR_VALUES: readonly bigint[] = [0x701f_e00an, 0x201f_e012n, 0x70ff_e07an];
