/** What a decoded instruction consists of: prefixes, ModRM, SIB, displacement and immediate as numbers. */

/** Widths in bits: `Instruction.fieldBits` of every definition. */
export const FIELD_BITS = {
  /** A `Mode`: what CS says of operands and addresses. */
  mode: 2,
  /** log2 of the stack pointer's bytes: 3 in 64-bit mode, else 2 or 1 by SS.B. */
  stackSize: 2,
  /** 1: accesses are checked against the limits and rights of their segments, which have bases (`segment-access.ts`). */
  segmented: 1,
  /** log2 of the operand's bytes. */
  size: 2,
  /** log2 of an address's bytes: 1 to 3. */
  addressSize: 2,
  /** 1: ModRM names memory, 0: it names a register (`rm`), or there is none. */
  memory: 1,
  /** A `RepeatPrefix`. */
  rep: 2,
  lock: 1,
  /** 1: there is a REX prefix, so that byte registers 4 to 7 are SPL to DIL. */
  rex: 1,
  /** The whole byte, which the x87 keeps of its last instruction. */
  modrm: 8,
  /** ModRM.reg with REX.R. */
  reg: 4,
  /** ModRM.rm, or the register in the opcode, with REX.B. */
  rm: 4,
  /** Registers of an address, or `NO_REGISTER`. */
  base: 5,
  index: 5,
  /** log2 of the index's factor. */
  scale: 2,
  /** Sign and all. */
  displacement: 32,
  /** 1: the address counts from the next instruction. */
  relative: 1,
  /** The segment register of the address. */
  segment: 3,
  /** Sign and all. */
  immediate: 32,
  /** The upper half of an immediate of 64 bits, or a second one. */
  immediateHigh: 32,
  /** Bytes of the instruction. */
  length: 4,
} as const;

export type FieldName = keyof typeof FIELD_BITS;

export type DecodedFields = Readonly<Record<FieldName, number>>;

/** Values of `mode`: 64-bit mode; code of 32 and of 16 bits, in compatibility mode as in legacy and real mode. */
export const Mode = { long: 0, code32: 1, code16: 2 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];

export const NO_REGISTER = 16;

export const RepeatPrefix = { none: 0, repne: 2, rep: 3 } as const;

/** The fields of an instruction without any of these parts, in 64-bit mode. */
export const EMPTY_FIELDS: DecodedFields = {
  mode: 0,
  stackSize: 3,
  segmented: 0,
  size: 2,
  addressSize: 3,
  memory: 0,
  rep: RepeatPrefix.none,
  lock: 0,
  rex: 0,
  modrm: 0,
  reg: 0,
  rm: 0,
  base: NO_REGISTER,
  index: NO_REGISTER,
  scale: 0,
  displacement: 0,
  relative: 0,
  segment: 3,
  immediate: 0,
  immediateHigh: 0,
  length: 0,
};
