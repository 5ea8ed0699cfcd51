/** Operands: where the fields of an encoding find a register in the state, or the parts of an address. */
import { type DecodedFields, NO_REGISTER } from "./fields.js";
import { segmentBaseOffset } from "./segment-access.js";
import { fpr, gpr, zeroSource } from "./state.js";

type Name = "reg" | "rm";

/** The byte offset of a general register; of a byte operand, that of its byte: AH, CH, DH, BH without REX are 4 to 7. */
export function registerOffset({ size, rex }: Pick<DecodedFields, "size" | "rex">, number: number): number {
  const highByte = size === 0 && rex === 0 && number >= 4;
  return highByte ? gpr.offset + 8 * (number - 4) + 1 : gpr.offset + 8 * number;
}

/** A general register of the operand's size. */
export function register<const Field extends Name>(name: Field): { readonly u16: (fields: DecodedFields) => number } {
  return { u16: (fields) => registerOffset(fields, fields[name]) };
}

export const immediate = { i32: ({ immediate: value }: DecodedFields): number => value } as const;

/** The number i of a stack register ST(i), times the bytes between two of them. */
export const stackIndex = { u16: ({ rm }: DecodedFields): number => rm & 7 } as const;

/** Bytes between two x87 registers. */
export const FPR_BYTES: number = fpr.width / 8;

function addressRegister(number: number): number {
  return number === NO_REGISTER ? zeroSource.offset : gpr.offset + 8 * number;
}

/**
 * The parts of an address, which `effective-address.ts` puts together. `segment` is the offset of the segment's base; a
 * flat SS has one of its own, so that a fault can tell.
 */
export const memoryOperand = {
  base: { u16: ({ base }: DecodedFields): number => addressRegister(base) },
  index: { u16: ({ index }: DecodedFields): number => addressRegister(index) },
  scale: { u16: ({ scale }: DecodedFields): number => scale },
  displacement: { i32: ({ displacement }: DecodedFields): number => displacement },
  relative: { u16: ({ relative }: DecodedFields): number => relative },
  /** How many of 64 bits the address does without. */
  unused: { u16: ({ addressSize }: DecodedFields): number => 64 - (8 << addressSize) },
  segment: {
    u16: ({ segment, segmented }: DecodedFields): number => segmentBaseOffset(segment, segmented === 1),
  },
} as const;

/** The address of an instruction that holds it whole (`moffs`). */
export const absoluteOperand = {
  address: {
    i64: ({ addressSize, immediate: low, immediateHigh }: DecodedFields): bigint =>
      addressSize === 3
        ? (BigInt(immediateHigh) << 32n) | BigInt(low >>> 0)
        : BigInt.asUintN(8 << addressSize, BigInt(low)),
  },
  segment: memoryOperand.segment,
} as const;

/** An immediate of the operand's size, of 64 bits too (`io`). */
export const wholeImmediate = {
  i64: ({ size, immediate: low, immediateHigh }: DecodedFields): bigint =>
    size === 3 ? (BigInt(immediateHigh) << 32n) | BigInt(low >>> 0) : BigInt(low),
} as const;
