/** What string instructions have in common: rSI, rDI and rCX in the width of the address, and the step between elements. */
import type { Stage, Value } from "@hvjournal/engine";
import { bytesOf, generalRegister, type OperandSize, writeRegister } from "./general-registers.js";
import { Flag } from "./registers.js";
import { rflags } from "./state.js";

export interface StringForm {
  readonly size: number;
  readonly addressSize: number;
}

/** The part of a register that an address size has. */
export function indexValue(stage: Stage, form: StringForm, register: number): Value<64> {
  return stage.zeroExtendFrom(8 << form.addressSize, stage.read(generalRegister(register)));
}

export function writeIndex(stage: Stage, form: StringForm, register: number, value: Value<64>): void {
  const size = form.addressSize as 1 | 2 | 3;
  const offset = stage.constant32(generalRegister(register).offset);
  writeRegister(stage, size, offset, size === 3 ? value : stage.truncate32(value));
}

/** The size of an element, or minus it where DF is set. */
export function stringStep(stage: Stage, size: OperandSize): Value<64> {
  const bytes = bytesOf(size);
  const down = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.DF));
  return stage.select(down, stage.constant64(-bytes), stage.constant64(bytes));
}
