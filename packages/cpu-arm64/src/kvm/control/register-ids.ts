/** Ids of KVM_{GET,SET}_ONE_REG on arm64 (Documentation/virt/kvm/api.rst, 4.68). */

const ARM64 = 0x6000_0000_0000_0000n;
const SIZE_U32 = 0x0020_0000_0000_0000n;
const SIZE_U64 = 0x0030_0000_0000_0000n;
const SIZE_U128 = 0x0040_0000_0000_0000n;
const CORE = 0x0010_0000n;
const DEMUX = 0x0011_0000n;
const SYSREG = 0x0013_0000n;

/** KVM_REG_ARM64_SYSREG: `selector` is op0, op1, CRn, CRm and op2, packed. */
export function systemRegisterId(selector: number): bigint {
  return ARM64 | SIZE_U64 | SYSREG | BigInt(selector);
}

/** An offset into `struct kvm_regs` in bytes; the id counts words of 32 bits. */
function coreId(size: bigint, offset: number): bigint {
  return ARM64 | size | CORE | BigInt(offset / 4);
}

const X_COUNT = 31;
const REGISTER_BYTES = 8;
const SP = X_COUNT * REGISTER_BYTES;
const PC = SP + 8;
const PSTATE = PC + 8;
const SP_EL1 = PSTATE + 8;
const ELR_EL1 = SP_EL1 + 8;
const SPSR = ELR_EL1 + 8;
const SPSR_COUNT = 5;
/** The vector registers are aligned to 16 bytes. */
const VREGS = Math.ceil((SPSR + SPSR_COUNT * 8) / 16) * 16;
const V_COUNT = 32;
const FPSR = VREGS + V_COUNT * 16;
const FPCR = FPSR + 4;

/** Core registers by the names that the kernel half knows them by. SP is SP_EL0's, as in the guest's user mode. */
export const CORE_REGISTERS: readonly (readonly [id: bigint, name: string])[] = [
  ...Array.from({ length: X_COUNT }, (_, index) => [coreId(SIZE_U64, index * REGISTER_BYTES), `x${index}`] as const),
  [coreId(SIZE_U64, SP), "sp_el0"],
  [coreId(SIZE_U64, PC), "pc"],
  [coreId(SIZE_U64, PSTATE), "pstate"],
  [coreId(SIZE_U64, SP_EL1), "sp_el1"],
  [coreId(SIZE_U64, ELR_EL1), "elr_el1"],
  [coreId(SIZE_U64, SPSR), "spsr_el1"],
  ...Array.from({ length: V_COUNT }, (_, index) => [coreId(SIZE_U128, VREGS + index * 16), `v${index}`] as const),
  [coreId(SIZE_U32, FPSR), "fpsr"],
  [coreId(SIZE_U32, FPCR), "fpcr"],
];

/** KVM_REG_ARM_DEMUX_ID_CCSIDR of cache level and type `csselr`. */
export function cacheSizeId(csselr: number): bigint {
  return ARM64 | SIZE_U32 | DEMUX | BigInt(csselr);
}

const SIZE_MASK = 0x00f0_0000_0000_0000n;

/** Bits of the register that an id names. */
export function registerBits(id: bigint): number {
  return 8 << Number((id & SIZE_MASK) >> 52n);
}

/** All above the low word but the size says which architecture a register is of (`kvm_arm_set_reg`). */
export function isArm64(id: bigint): boolean {
  return (id & ~SIZE_MASK) >> 32n === ARM64 >> 32n;
}
