/** Binary arithmetic and shifts. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import { carryFlag, setFlags } from "../flags.js";
import {
  constant,
  cut,
  immediate as immediateValue,
  low32,
  type OperandSize,
  type OperandWidth,
  sizeOf,
  widen,
} from "../general-registers.js";
import { immediate, memoryOperand, register, registerOffset } from "../operands.js";
import { modrmPlace, type Place, registerPlace } from "../places.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { generalRegister } from "../general-registers.js";
import { Register } from "../state.js";

/** Computes, and writes the destination and flags. */
type Operation = (stage: Stage, size: OperandSize, destination: Place, source: Value<OperandWidth>) => void;

const add: Operation = (stage, size, destination, right) => {
  const left = destination.read();
  const result = cut(stage, size, stage.add(left, right));
  destination.write(result);
  setFlags(stage, { kind: "add", size, left, right, result });
};

const addWithCarry: Operation = (stage, size, destination, right) => {
  const left = destination.read();
  const carry = widen(stage, size, carryFlag(stage));
  const result = cut(stage, size, stage.add(stage.add(left, right), carry));
  destination.write(result);
  setFlags(stage, { kind: "addWithCarry", size, left, right, result });
};

interface Group {
  readonly name: string;
  readonly reference: string;
  /** The first of its eight opcodes, and its digit in opcodes 80 to 83. */
  readonly opcode: number;
  readonly digit: number;
  readonly operation: Operation;
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, "0");

/** op r/m, r: "01 /r". */
function toModrm({ name, reference, opcode, operation }: Group, byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r/m8, r8" : "r/m, r"})`,
    reference,
    pattern: byte ? `lock ${hex(opcode)} /r byte` : `lock ${hex(opcode + 1)} /r`,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), source: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), modrmText(fields), registerName(fields.reg, fields.size, fields.rex)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      operation(stage, size, destination, registerPlace(stage, size, operands.source).read());
    },
  });
}

/** op r, r/m: "03 /r". */
function fromModrm({ name, reference, opcode, operation }: Group, byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r8, r/m8" : "r, r/m"})`,
    reference,
    pattern: byte ? `${hex(opcode + 2)} /r byte` : `${hex(opcode + 3)} /r`,
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

/** op rAX, immediate: "05 iz". */
function toAccumulator({ name, reference, opcode, operation }: Group, byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "AL, imm8" : "rAX, imm"})`,
    reference,
    pattern: byte ? `${hex(opcode + 4)} ib byte` : `${hex(opcode + 5)} iz`,
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

/** op r/m, immediate: "80 /0 ib", "81 /0 iz", "83 /0 ib". */
function withImmediate({ name, reference, digit, operation }: Group, opcode: 0x80 | 0x81 | 0x83): Instruction {
  const operandsText = { 0x80: "r/m8, imm8", 0x81: "r/m, imm", 0x83: "r/m, imm8" } as const;
  const rest = { 0x80: "ib byte", 0x81: "iz", 0x83: "ib" } as const;
  return defineEncoded({
    mnemonic: `${name} (${operandsText[opcode]})`,
    reference,
    pattern: `lock ${hex(opcode)} /${digit} ${rest[opcode]}`,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), immediate },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields), immediateText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      operation(stage, size, destination, immediateValue(stage, size, operands.immediate));
    },
  });
}

function groupOf(group: Group): readonly Instruction[] {
  return [
    ...[true, false].flatMap((byte) => [toModrm(group, byte), fromModrm(group, byte), toAccumulator(group, byte)]),
    ...([0x80, 0x81, 0x83] as const).map((opcode) => withImmediate(group, opcode)),
  ];
}

/** INC keeps CF. */
function increment(stage: Stage, size: OperandSize, destination: Place): void {
  const left = destination.read();
  const right = constant(stage, size, 1);
  const result = cut(stage, size, stage.add(left, right));
  destination.write(result);
  setFlags(stage, { kind: "add", size, left, right, result, written: STATUS_FLAGS & ~Flag.CF });
}

const INC_REFERENCE = "3.3 INC";

function incModrm(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `INC (${byte ? "r/m8" : "r/m"})`,
    reference: INC_REFERENCE,
    pattern: byte ? "lock FE /0 byte" : "lock FF /0",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, "inc", modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      increment(stage, size, modrmPlace(stage, form, size, operands, "readWrite"));
    },
  });
}

/** In 64-bit mode these opcodes are REX. */
const incRegister = defineEncoded({
  mnemonic: "INC (r)",
  reference: INC_REFERENCE,
  pattern: "compat 40+r",
  formFields: ["size"],
  operands: { rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "inc", registerName(fields.rm, fields.size)),
  execute(form, { rm }, stage) {
    increment(stage, sizeOf(form), registerPlace(stage, sizeOf(form), rm));
  },
});

/** A shift by 0 writes no flags; but a doubleword register still loses its upper half. */
function shiftLeft(stage: Stage, size: OperandSize, destination: Place, count: Value<32>): void {
  const left = destination.read();
  const result =
    size === 3
      ? stage.binary("shl", left as Value<64>, stage.zeroExtend64(count))
      : cut(stage, size, stage.binary("shl", left as Value<32>, count));
  destination.write(result);
  stage.if(count, () => {
    setFlags(stage, { kind: "shiftLeft", size, left, right: widen(stage, size, count), result });
  });
}

type CountSource = "1" | "CL" | "imm8";

function countMask(size: OperandSize): number {
  return size === 3 ? 63 : 31;
}

const SHL_REFERENCE = "4.3 SAL/SAR/SHL/SHR";
const SHL_OPCODES: Readonly<Record<CountSource, readonly [byte: string, wide: string]>> = {
  "1": ["D0", "D1"],
  CL: ["D2", "D3"],
  imm8: ["C0", "C1"],
};

/** /4 is SHL; /6 is an alias that Intel does not print. */
function shl(source: CountSource, byte: boolean, digit: 4 | 6): Instruction {
  const [byteOpcode, wideOpcode] = SHL_OPCODES[source];
  const opcode = byte ? byteOpcode : wideOpcode;
  const countText = (fields: DecodedFields): string =>
    source === "imm8" ? immediateText(fields) : source.toLowerCase();
  return defineEncoded({
    mnemonic: `SHL (${byte ? "r/m8" : "r/m"}, ${source}${digit === 4 ? "" : "; alias"})`,
    reference: SHL_REFERENCE,
    pattern: `${opcode} /${digit}${source === "imm8" ? " ib" : ""}${byte ? " byte" : ""}`,
    undefinedFlags: source === "1" ? Flag.AF : Flag.AF | Flag.OF | Flag.CF,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), immediate },
    text: (fields, pc) => assembly(fields, pc, "shl", modrmText(fields), countText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const mask = stage.constant32(countMask(size));
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      const count = {
        "1": () => stage.constant32(1),
        CL: () => stage.and(low32(stage, 3, stage.read(generalRegister(Register.rcx))), mask),
        imm8: () => stage.and(operands.immediate, mask),
      };
      shiftLeft(stage, size, destination, count[source]());
    },
  });
}

export const arithmeticInstructions: readonly Instruction[] = [
  ...groupOf({ name: "ADD", reference: "3.3 ADD", opcode: 0x00, digit: 0, operation: add }),
  ...groupOf({ name: "ADC", reference: "3.3 ADC", opcode: 0x10, digit: 2, operation: addWithCarry }),
  incModrm(true),
  incModrm(false),
  incRegister,
  ...(["1", "CL", "imm8"] as const).flatMap((source) =>
    [true, false].flatMap((byte) => ([4, 6] as const).map((digit) => shl(source, byte, digit))),
  ),
];
