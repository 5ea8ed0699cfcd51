/** Sums and differences: ADD, ADC, SUB, SBB, CMP, INC, DEC, NEG. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { carryFlag, setFlags } from "../flags.js";
import { constant, cut, type OperandSize, sizeOf, widen } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { modrmPlace, type Place, registerPlace } from "../places.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { type BinaryOperation, eightOpcodes } from "./binary-forms.js";

const add: BinaryOperation = (stage, size, destination, right) => {
  const left = destination.read();
  const result = cut(stage, size, stage.add(left, right));
  destination.write(result);
  setFlags(stage, { kind: "add", size, left, right, result });
};

const addWithCarry: BinaryOperation = (stage, size, destination, right) => {
  const left = destination.read();
  const carry = widen(stage, size, carryFlag(stage));
  const result = cut(stage, size, stage.add(stage.add(left, right), carry));
  destination.write(result);
  setFlags(stage, { kind: "addWithCarry", size, left, right, result });
};

const subtract: BinaryOperation = (stage, size, destination, right) => {
  const left = destination.read();
  const result = cut(stage, size, stage.sub(left, right));
  destination.write(result);
  setFlags(stage, { kind: "subtract", size, left, right, result });
};

const subtractWithBorrow: BinaryOperation = (stage, size, destination, right) => {
  const left = destination.read();
  const carry = widen(stage, size, carryFlag(stage));
  const result = cut(stage, size, stage.sub(stage.sub(left, right), carry));
  destination.write(result);
  setFlags(stage, { kind: "subtractWithBorrow", size, left, right, result });
};

const compare: BinaryOperation = (stage, size, destination, right) => {
  const left = destination.read();
  setFlags(stage, { kind: "subtract", size, left, right, result: cut(stage, size, stage.sub(left, right)) });
};

type UnaryOperation = (stage: Stage, size: OperandSize, destination: Place) => void;

/** INC and DEC keep CF. */
const step =
  (kind: "add" | "subtract"): UnaryOperation =>
  (stage, size, destination) => {
    const left = destination.read();
    const right = constant(stage, size, 1);
    const result = cut(stage, size, kind === "add" ? stage.add(left, right) : stage.sub(left, right));
    destination.write(result);
    setFlags(stage, { kind, size, left, right, result, written: STATUS_FLAGS & ~Flag.CF });
  };

const negate: UnaryOperation = (stage, size, destination) => {
  const [left, right] = [constant(stage, size, 0), destination.read()];
  const result = cut(stage, size, stage.sub(left, right));
  destination.write(result);
  setFlags(stage, { kind: "subtract", size, left, right, result });
};

interface UnaryGroup {
  readonly name: string;
  readonly byteOpcode: string;
  readonly opcode: string;
  readonly operation: UnaryOperation;
}

function unary({ name, byteOpcode, opcode, operation }: UnaryGroup): readonly Instruction[] {
  return [true, false].map((byte) =>
    defineEncoded({
      mnemonic: `${name} (${byte ? "r/m8" : "r/m"})`,
      reference: `3.3, 4.3 ${name}`,
      pattern: byte ? `lock ${byteOpcode} byte` : `lock ${opcode}`,
      formFields: ["size", "memory"],
      operands: { ...memoryOperand, rm: register("rm") },
      text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields)),
      execute(form, operands, stage) {
        const size = sizeOf(form);
        operation(stage, size, modrmPlace(stage, form, size, operands, "readWrite"));
      },
    }),
  );
}

/** In 64-bit mode these opcodes are REX. */
function stepRegister(name: string, pattern: string, operation: UnaryOperation): Instruction {
  return defineEncoded({
    mnemonic: `${name} (r)`,
    reference: `3.3 ${name}`,
    pattern,
    formFields: ["size"],
    operands: { rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), registerName(fields.rm, fields.size)),
    execute(form, { rm }: { readonly rm: Value<32> }, stage) {
      operation(stage, sizeOf(form), registerPlace(stage, sizeOf(form), rm));
    },
  });
}

export const arithmeticInstructions: readonly Instruction[] = [
  ...eightOpcodes({ name: "ADD", opcode: 0x00, operation: add }),
  ...eightOpcodes({ name: "ADC", opcode: 0x10, operation: addWithCarry }),
  ...eightOpcodes({ name: "SBB", opcode: 0x18, operation: subtractWithBorrow }),
  ...eightOpcodes({ name: "SUB", opcode: 0x28, operation: subtract }),
  ...eightOpcodes({ name: "CMP", opcode: 0x38, operation: compare, readsOnly: true }),
  ...unary({ name: "INC", byteOpcode: "FE /0", opcode: "FF /0", operation: step("add") }),
  ...unary({ name: "DEC", byteOpcode: "FE /1", opcode: "FF /1", operation: step("subtract") }),
  ...unary({ name: "NEG", byteOpcode: "F6 /3", opcode: "F7 /3", operation: negate }),
  stepRegister("INC", "compat 40+r", step("add")),
  stepRegister("DEC", "compat 48+r", step("subtract")),
];
