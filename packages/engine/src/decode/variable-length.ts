/** Instructions of a variable number of bytes: what an architecture gives that has them. */
import type { Instruction } from "../stage/instruction.js";

/** What a run of bytes starts with. */
export interface DecodedBytes {
  /** Undefined: no definition has these bytes. */
  readonly instruction: Instruction | undefined;
  readonly fields: Readonly<Record<string, number>>;
  /** Bytes of the instruction; of an undefined one, those that say so. */
  readonly length: number;
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
