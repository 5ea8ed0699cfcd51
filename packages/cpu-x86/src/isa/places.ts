/** Operands that an instruction reads and writes: a register, or checked memory. */
import type { AccessMode, Stage, Value } from "@hvjournal/engine";
import { accessMemory, type MemoryOperands } from "./effective-address.js";
import {
  bytesOf,
  loadOperand,
  type OperandSize,
  type OperandWidth,
  readRegister,
  storeOperand,
  writeRegister,
} from "./general-registers.js";

export interface Place {
  read(): Value<OperandWidth>;
  write(value: Value<OperandWidth>): void;
}

export function registerPlace(stage: Stage, size: OperandSize, register: Value<32>): Place {
  return {
    read: () => readRegister(stage, size, register),
    write: (value) => writeRegister(stage, size, register, value),
  };
}

/** What ModRM names. Memory is checked here, for what `mode` says. */
export function modrmPlace(
  stage: Stage,
  form: { readonly memory: number },
  size: OperandSize,
  operands: MemoryOperands & { readonly rm: Value<32> },
  mode: AccessMode,
): Place {
  if (form.memory === 0) return registerPlace(stage, size, operands.rm);
  const handle = accessMemory(stage, operands, bytesOf(size), mode);
  return {
    read: () => loadOperand(stage, size, handle),
    write: (value) => storeOperand(stage, size, handle, value),
  };
}
