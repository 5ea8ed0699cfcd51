/** Instructions of a variable number of bytes: what an architecture gives that has them. */
import type { Instruction } from "../stage/instruction.js";

/** A number in an instruction's bytes: signed, little-endian, of 1, 2 or 4 bytes. */
export interface TailNumber {
  /** The field that it is. */
  readonly field: string;
  /** From the first byte of the instruction. */
  readonly at: number;
  readonly bytes: number;
}

/** What a run of bytes starts with. */
export interface DecodedBytes {
  /** Undefined: no definition has these bytes. */
  readonly instruction: Instruction | undefined;
  readonly fields: Readonly<Record<string, number>>;
  /** Bytes of the instruction; of an undefined one, those that say so. */
  readonly length: number;
  /**
   * The numbers that the instruction ends in, in their order and without a gap. All bytes in front of them that are the same
   * give the same instruction of the same length, with the same fields but for these. Undefined: nothing of the kind is so.
   */
  readonly tail?: readonly TailNumber[] | undefined;
}

export interface VariableLengthDecoder {
  /** What `bytes` start with, or undefined when that can't be told without more bytes. `lengthMax` bytes always suffice. */
  decode(bytes: Uint8Array): DecodedBytes | undefined;
}

export interface VariableLength {
  /** Bytes of the longest instruction. */
  readonly lengthMax: number;
  /** Asked once for each list of `CpuDefinition.instructionsFor`, with the first context that has it. */
  decoderFor(instructions: readonly Instruction[], context: number): VariableLengthDecoder;
}
