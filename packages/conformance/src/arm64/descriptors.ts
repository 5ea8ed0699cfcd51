/** Attributes of VMSAv8-64 descriptors with 4 KiB pages (Arm ARM D5.3), and the registers that put such tables to use. */

/** A table, or at the last level a page. */
export const TABLE = 3n;
export const ACCESSED = 1n << 10n;
export const ALSO_EL0 = 1n << 6n;
export const NOT_WRITABLE = 1n << 7n;
/** For EL1 and EL0. */
export const NOT_EXECUTABLE: bigint = (1n << 54n) | (1n << 53n);
/** TCR_EL1: T0SZ 25 (39 bits of address in three levels), TTBR1 off, 40 bits of output. */
export const TCR: bigint = 25n | (1n << 23n) | (2n << 32n);
/** SCTLR_EL1: the reset value with M, C and I. */
export const SCTLR = 0x30d0_1905n;
/** CPACR_EL1. */
export const FPEN_NO_TRAP: bigint = 3n << 20n;
