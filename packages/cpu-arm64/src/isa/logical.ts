/** AND, BIC, ORR, ORN, EOR, EON, ANDS, BICS: what their immediate and register forms share. */
import type { Stage, Value } from "@hvjournal/engine";
import { setFlagsLogical } from "./flags.js";
import { type RegisterWidth, writeResult } from "./general-registers.js";

export interface Logical {
  readonly mnemonic: "AND" | "BIC" | "ORR" | "ORN" | "EOR" | "EON" | "ANDS" | "BICS";
  /** Bits 30 and 29. */
  readonly opcode: "00" | "01" | "10" | "11";
  /** Bit 21 of the register form: the second operand is inverted. */
  readonly inverts: "0" | "1";
  readonly operation: "and" | "or" | "xor";
  readonly setsFlags: boolean;
}

export const LOGICAL: readonly Logical[] = [
  { mnemonic: "AND", opcode: "00", inverts: "0", operation: "and", setsFlags: false },
  { mnemonic: "BIC", opcode: "00", inverts: "1", operation: "and", setsFlags: false },
  { mnemonic: "ORR", opcode: "01", inverts: "0", operation: "or", setsFlags: false },
  { mnemonic: "ORN", opcode: "01", inverts: "1", operation: "or", setsFlags: false },
  { mnemonic: "EOR", opcode: "10", inverts: "0", operation: "xor", setsFlags: false },
  { mnemonic: "EON", opcode: "10", inverts: "1", operation: "xor", setsFlags: false },
  { mnemonic: "ANDS", opcode: "11", inverts: "0", operation: "and", setsFlags: true },
  { mnemonic: "BICS", opcode: "11", inverts: "1", operation: "and", setsFlags: true },
];

/** `right` is inverted already where the instruction does so. Without `destination` only the flags are written. */
export function logical(
  stage: Stage,
  { operation, setsFlags }: Logical,
  width: RegisterWidth,
  left: Value<RegisterWidth>,
  right: Value<RegisterWidth>,
  destination?: Value<32>,
): void {
  const result = stage.binary(operation, left, right);
  if (setsFlags) setFlagsLogical(stage, width, result);
  if (destination !== undefined) writeResult(stage, width, destination, result);
}
