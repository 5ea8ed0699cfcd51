/** x87: the basic arithmetic, on registers and memory. References: Intel SDM volume 2; exceptions volume 1, 8.5. */
import { ExtendedOperand, ExtendedOperation, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import {
  compute,
  type ExtendedValue,
  fill,
  indefinite,
  perform,
  pop,
  readFloat,
  stackRegister,
  top,
  underflowOf,
} from "../../float-unit.js";
import { memoryInstruction, registerInstruction, stackText } from "./definition.js";

interface Operation {
  readonly name: string;
  /** ModRM.reg: 4 to 7 are as on ST(0), which is `a`; with ST(i) as destination the names are exchanged. */
  readonly digit: number;
  readonly reversed?: string;
  readonly code: number;
}

const OPERATIONS: readonly Operation[] = [
  { name: "add", digit: 0, code: ExtendedOperation.add },
  { name: "mul", digit: 1, code: ExtendedOperation.multiply },
  { name: "sub", digit: 4, reversed: "subr", code: ExtendedOperation.subtract },
  { name: "subr", digit: 5, reversed: "sub", code: ExtendedOperation.subtractFrom },
  { name: "div", digit: 6, reversed: "divr", code: ExtendedOperation.divide },
  { name: "divr", digit: 7, reversed: "div", code: ExtendedOperation.divideInto },
];

type RegisterForm = "ST(0), ST(i)" | "ST(i), ST(0)" | "pop";
const OPCODES: Readonly<Record<RegisterForm, number>> = { "ST(0), ST(i)": 0xd8, "ST(i), ST(0)": 0xdc, pop: 0xde };

/** ST(0) op ST(i), into either. */
function onRegisters({ name, digit, reversed = name, code }: Operation, form: RegisterForm): Instruction {
  const toTop = form === "ST(0), ST(i)";
  const pops = form === "pop";
  const mnemonic = `f${toTop ? name : reversed}${pops ? "p" : ""}`;
  return registerInstruction(
    {
      name: mnemonic,
      opcode: OPCODES[form],
      digit,
      ...(pops ? {} : { form }),
      operands: (fields) => (toTop ? ["st", stackText(fields)] : [stackText(fields), "st"]),
    },
    (stage, index) => {
      const first = top(stage);
      const other = stackRegister(stage, index);
      const store = (value: ExtendedValue): void => {
        fill(stage, toTop ? first : other, value);
        if (pops) pop(stage, first);
      };
      perform(
        stage,
        underflowOf(stage, first, other),
        () => store(indefinite(stage)),
        () => {
          const { value, status } = compute(stage, code, readFloat(stage, first), readFloat(stage, other));
          return { status, commit: () => store(value) };
        },
      );
    },
  );
}

/** Numbers in memory that are operands of arithmetic and comparison, by the opcode that has them. */
export const MEMORY_OPERANDS = [
  { opcode: 0xd8, infix: "", bits: 32, kind: ExtendedOperand.binary32, form: "m32fp" },
  { opcode: 0xda, infix: "i", bits: 32, kind: ExtendedOperand.integer, form: "m32int" },
  { opcode: 0xdc, infix: "", bits: 64, kind: ExtendedOperand.binary64, form: "m64fp" },
  { opcode: 0xde, infix: "i", bits: 16, kind: ExtendedOperand.integer, form: "m16int" },
] as const;

export type NumberInMemory = (typeof MEMORY_OPERANDS)[number];

/** The operand as `b` of the software floats: integers with their sign. */
export function loadNumber(
  stage: Stage,
  access: ReturnType<Stage["access"]>,
  bits: 16 | 32 | 64,
  isInteger: boolean,
): ExtendedValue {
  const loaded = stage.load(64, access, 0, bits);
  const low: Value<64> = isInteger && bits !== 64 ? stage.signExtendFrom(bits, loaded) : loaded;
  return { low, high: stage.constant64(0) };
}

function onMemory({ name, digit, code }: Operation, { opcode, infix, bits, kind, form }: NumberInMemory): Instruction {
  return memoryInstruction(
    { name: `f${infix}${name}`, opcode, digit, bytes: bits / 8, form },
    "read",
    (stage, access) => {
      const number = loadNumber(stage, access, bits, kind === ExtendedOperand.integer);
      const destination = top(stage);
      perform(
        stage,
        underflowOf(stage, destination),
        () => fill(stage, destination, indefinite(stage)),
        () => {
          const { value, status } = compute(stage, code | kind, readFloat(stage, destination), number);
          return { status, commit: () => fill(stage, destination, value) };
        },
      );
    },
  );
}

export const x87ArithmeticInstructions: readonly Instruction[] = OPERATIONS.flatMap((operation) => [
  ...(["ST(0), ST(i)", "ST(i), ST(0)", "pop"] as const).map((form) => onRegisters(operation, form)),
  ...MEMORY_OPERANDS.map((number) => onMemory(operation, number)),
]);
