/** The encodings that the operations of opcodes 00 to 3F share. Intel SDM volume 2, appendix A.3. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { immediate as immediateValue, type OperandSize, type OperandWidth, sizeOf } from "../general-registers.js";
import { immediate, memoryOperand, register, registerOffset } from "../operands.js";
import { modrmPlace, type Place, registerPlace } from "../places.js";
import { Register } from "../state.js";

/** Computes, and writes the destination and flags. */
export type BinaryOperation = (
  stage: Stage,
  size: OperandSize,
  destination: Place,
  source: Value<OperandWidth>,
) => void;

export interface BinaryGroup {
  readonly name: string;
  /** The first of its eight opcodes; its digit in opcodes 80 to 83 is an eighth of it. */
  readonly opcode: number;
  readonly operation: BinaryOperation;
  /** It does not write its destination. */
  readonly readsOnly?: boolean;
  readonly undefinedFlags?: number;
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, "0");

function referenceOf(name: string): string {
  return `${name < "N" ? "3.3" : "4.3"} ${name}`;
}

const lockOf = ({ readsOnly = false }: Pick<BinaryGroup, "readsOnly">): string => (readsOnly ? "" : "lock ");

/** op r/m, r: "01 /r". */
export function toModrm(group: BinaryGroup, byte: boolean): Instruction {
  const { name, opcode, operation, readsOnly = false, undefinedFlags = 0 } = group;
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference: referenceOf(name),
    pattern: `${lockOf(group)}${byte ? `${hex(opcode)} /r byte` : `${hex(opcode + 1)} /r`}`,
    undefinedFlags,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), source: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, readsOnly ? "read" : "readWrite");
      operation(stage, size, destination, registerPlace(stage, size, operands.source).read());
    },
  });
}

/** op r, r/m: "03 /r". */
function fromModrm({ name, opcode, operation, undefinedFlags = 0 }: BinaryGroup, byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r8, r/m8" : "r, r/m"})`,
    reference: referenceOf(name),
    pattern: byte ? `${hex(opcode + 2)} /r byte` : `${hex(opcode + 3)} /r`,
    undefinedFlags,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), registerName(fields.reg, fields.size, fields.rex), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const source = modrmPlace(stage, form, size, operands, "read").read();
      operation(stage, size, registerPlace(stage, size, operands.destination), source);
    },
  });
}

/** op rAX, immediate; `opcode` with the byte's: "04 ib", "05 iz". */
export function toAccumulator(
  { name, operation, undefinedFlags = 0 }: Omit<BinaryGroup, "opcode">,
  opcode: number,
  byte: boolean,
): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "AL, imm8" : "rAX, imm"})`,
    reference: referenceOf(name),
    pattern: byte ? `${hex(opcode)} ib byte` : `${hex(opcode + 1)} iz`,
    undefinedFlags,
    formFields: ["size"],
    operands: { accumulator: { u16: (fields) => registerOffset(fields, Register.rax) }, immediate },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), registerName(Register.rax, fields.size), immediateText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const source = immediateValue(stage, size, operands.immediate);
      operation(stage, size, registerPlace(stage, size, operands.accumulator), source);
    },
  });
}

/** op r/m, immediate: "80 /0 ib byte", "81 /0 iz", "83 /0 ib". */
export function withImmediate(
  group: Omit<BinaryGroup, "opcode">,
  operandsText: string,
  pattern: string,
  textOf: typeof immediateText = immediateText,
): Instruction {
  const { name, operation, readsOnly = false, undefinedFlags = 0 } = group;
  return defineEncoded({
    mnemonic: `${name} (${operandsText})`,
    reference: referenceOf(name),
    pattern: `${lockOf(group)}${pattern}`,
    undefinedFlags,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), immediate },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields), textOf(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, readsOnly ? "read" : "readWrite");
      operation(stage, size, destination, immediateValue(stage, size, operands.immediate));
    },
  });
}

/** Opcode 82 is 80 outside 64-bit mode. */
export function eightOpcodes(group: BinaryGroup): readonly Instruction[] {
  const digit = group.opcode >> 3;
  return [
    ...[true, false].flatMap((byte) => [
      toModrm(group, byte),
      fromModrm(group, byte),
      toAccumulator(group, group.opcode + 4, byte),
    ]),
    withImmediate(group, "r/m8, imm8", `80 /${digit} ib byte`),
    withImmediate(group, "r/m8, imm8; alias", `compat 82 /${digit} ib byte`),
    withImmediate(group, "r/m, imm", `81 /${digit} iz`),
    withImmediate(group, "r/m, imm8", `83 /${digit} ib`),
  ];
}
