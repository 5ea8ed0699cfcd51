/** ADD, ADDS, SUB and SUBS: what their immediate, shifted and extended forms share. Arm ARM: shared pseudocode AddWithCarry. */
import type { Stage, Value } from "@hvjournal/engine";
import { setFlagsAdd, setFlagsSubtract } from "./flags.js";
import { type RegisterWidth, writeResult } from "./general-registers.js";

export interface AddSubtract {
  readonly mnemonic: "ADD" | "ADDS" | "SUB" | "SUBS";
  /** Bits 30 and 29. */
  readonly opcode: "00" | "01" | "10" | "11";
  readonly subtracts: boolean;
  readonly setsFlags: boolean;
}

export const ADD_SUBTRACT: readonly AddSubtract[] = [
  { mnemonic: "ADD", opcode: "00", subtracts: false, setsFlags: false },
  { mnemonic: "ADDS", opcode: "01", subtracts: false, setsFlags: true },
  { mnemonic: "SUB", opcode: "10", subtracts: true, setsFlags: false },
  { mnemonic: "SUBS", opcode: "11", subtracts: true, setsFlags: true },
];

export const ADD_SUBTRACT_WITH_FLAGS: readonly AddSubtract[] = ADD_SUBTRACT.filter(({ setsFlags }) => setsFlags);

/** CMN and CMP: the names of ADDS and SUBS that discard their result. */
export function comparisonName({ subtracts }: AddSubtract): "CMN" | "CMP" {
  return subtracts ? "CMP" : "CMN";
}

/** Without `destination` only the flags are written. */
export function addOrSubtract(
  stage: Stage,
  { subtracts, setsFlags }: AddSubtract,
  width: RegisterWidth,
  left: Value<RegisterWidth>,
  right: Value<RegisterWidth>,
  destination?: Value<32>,
): void {
  const result = subtracts ? stage.sub(left, right) : stage.add(left, right);
  if (setsFlags && subtracts) setFlagsSubtract(stage, width, left, right, result);
  else if (setsFlags) setFlagsAdd(stage, width, left, right, result);
  if (destination !== undefined) writeResult(stage, width, destination, result);
}
