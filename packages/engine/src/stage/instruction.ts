/** How one instruction is written down: its encoding as the manual prints it, its operands, its meaning. */
import type { Stage, Value } from "./stage.js";

type FieldName<Token extends string> = Token extends `${infer Name}:${number}` ? Name : never;

/** The named fields of a bit pattern: `"sf:1 0010001 Rd:5"` has `sf` and `Rd`. */
export type FieldsOf<Pattern extends string> = Pattern extends `${infer Token} ${infer Rest}`
  ? FieldName<Token> | FieldsOf<Rest>
  : FieldName<Pattern>;

export type Fields<Names extends string> = Readonly<Record<Names, number>>;

/**
 * A value taken from the encoding when it is decoded, and a `Value` in the definition:
 * read from the decoded record by the interpreter, a constant in compiled code.
 * `u16` and `i32` (sign and all) give a `Value<32>`, `i64` a `Value<64>`. A record holds
 * three u16 and beside them one i64, or two i32, or an i32 and two u16, or four more u16.
 */
export type OperandSource<Names extends string> =
  | { readonly u16: (fields: Fields<Names>) => number }
  | { readonly i32: (fields: Fields<Names>) => number }
  | { readonly i64: (fields: Fields<Names>) => bigint };

type OperandValue<Source> = Source extends { readonly i64: unknown } ? Value<64> : Value<32>;

export type OperandSources<Names extends string> = Readonly<Record<string, OperandSource<Names>>>;

export interface Instruction<
  Pattern extends string = string,
  FormField extends string = string,
  Operands extends OperandSources<string> = OperandSources<string>,
> {
  /** As the manual's heading names it: "ADD (immediate)". Unique within an architecture. */
  readonly mnemonic: string;
  /** Section of the manual: "C6.2.5". */
  readonly reference: string;
  /**
   * Bits from the most significant; spaces between tokens; `x` is a bit that does not matter. Where the architecture
   * has a decoder of its own (`CpuDefinition.variableLength`), whatever that reads.
   */
  readonly pattern: Pattern;
  /** With a decoder of its own: widths of the fields in bits. */
  readonly fieldBits?: Readonly<Record<string, number>>;
  /** Fields whose every value gets code of its own: plain numbers in `execute`. */
  readonly formFields: readonly FormField[];
  /** An encoding that matches the pattern but not this is not this instruction. Default: always. */
  readonly where?: (fields: Fields<FieldsOf<Pattern>>) => boolean;
  readonly operands: Operands;
  /** Assembly text for people; `pc` is the instruction's address. */
  readonly text: (fields: Fields<FieldsOf<Pattern>>, pc: bigint) => string;
  readonly execute: (
    form: Fields<FormField>,
    operands: { readonly [Name in keyof Operands]: OperandValue<Operands[Name]> },
    stage: Stage,
  ) => void;
}

/**
 * A definition whose types are checked against its own pattern, then widened
 * so that a chapter can be one list.
 */
export function defineInstruction<
  const Pattern extends string,
  const FormField extends FieldsOf<Pattern>,
  const Operands extends OperandSources<FieldsOf<Pattern>>,
>(instruction: Instruction<Pattern, FormField, Operands>): Instruction {
  return instruction as unknown as Instruction;
}
