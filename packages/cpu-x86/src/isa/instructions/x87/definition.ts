/** How definitions of x87 instructions are written. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly } from "../../assembly-text.js";
import { accessMemory, effectiveAddress } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import type { DecodedFields } from "../../fields.js";
import { recordPointers, waitForFloatUnit } from "../../float-unit.js";
import { memoryOperand, stackIndex } from "../../operands.js";

/** FOP: the low three bits of the opcode's first byte, and ModRM. */
export function opcodeOf(first: number): { readonly u16: (fields: DecodedFields) => number } {
  return { u16: ({ modrm }) => ((first & 7) << 8) | modrm };
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase();
}

export function referenceOf(name: string): string {
  return `3.3 ${name.toUpperCase()}`;
}

export function stackText({ rm }: DecodedFields): string {
  return `st(${rm & 7})`;
}

interface RegisterEncoding {
  readonly name: string;
  readonly opcode: number;
  /** ModRM.reg. */
  readonly digit: number;
  /** ModRM.rm, where the opcode goes on there; else it is the i of ST(i). */
  readonly rm?: number;
  /** What distinguishes the definition from others of this name. */
  readonly form?: string;
  /** Operands as assembly text; default: none. */
  readonly operands?: (fields: DecodedFields) => readonly string[];
}

/** An instruction whose operands are registers. `index`: the i of ST(i). */
export function registerInstruction(
  { name, opcode, digit, rm, form, operands = () => [] }: RegisterEncoding,
  execute: (stage: Stage, index: Value<32>) => void,
): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()}${form === undefined ? "" : ` (${form})`}`,
    reference: referenceOf(name),
    pattern: `${hex(opcode)} /${digit} reg`,
    ...(rm === undefined ? {} : { where: ({ rm: register }) => (register & 7) === rm }),
    formFields: [],
    operands: { index: stackIndex, opcode: opcodeOf(opcode) },
    text: (fields, pc) => assembly(fields, pc, name, ...operands(fields)),
    execute(_form, values, stage) {
      waitForFloatUnit(stage);
      recordPointers(stage, values.opcode, undefined);
      execute(stage, values.index);
    },
  });
}

export const FLOAT_POINTERS: Readonly<Record<number, string>> = {
  2: "WORD PTR ",
  4: "DWORD PTR ",
  8: "QWORD PTR ",
  10: "TBYTE PTR ",
};

interface MemoryEncoding {
  readonly name: string;
  readonly opcode: number;
  readonly digit: number;
  readonly bytes: number;
  /** What distinguishes the definition from others of this name. */
  readonly form: string;
}

type Access = ReturnType<Stage["access"]>;

/** An instruction with an operand in memory, which is checked first. */
export function memoryInstruction(
  { name, opcode, digit, bytes, form }: MemoryEncoding,
  mode: "read" | "write",
  execute: (stage: Stage, access: Access) => void,
): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${form})`,
    reference: referenceOf(name),
    pattern: `${hex(opcode)} /${digit} mem`,
    formFields: [],
    operands: { ...memoryOperand, opcode: opcodeOf(opcode) },
    text: (fields, pc) => assembly(fields, pc, name, `${FLOAT_POINTERS[bytes] ?? ""}${addressText(fields)}`),
    execute(_form, operands, stage) {
      waitForFloatUnit(stage);
      const access = accessMemory(stage, operands, bytes, mode);
      recordPointers(stage, operands.opcode, effectiveAddress(stage, operands));
      execute(stage, access);
    },
  });
}
