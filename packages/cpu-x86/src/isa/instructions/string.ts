/**
 * String instructions. References: sections of Intel SDM volume 2.
 *
 * One iteration is one unit: it is checked, done and retired as a whole and leaves rSI, rDI and rCX exact, so that a
 * fault, an interrupt or a stop comes between iterations. A repetition of none is one unit too.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly, registerName, repeatText } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { type DecodedFields, NO_REGISTER, RepeatPrefix } from "../fields.js";
import { conditionHolds, setFlags } from "../flags.js";
import {
  bytesOf,
  cut,
  generalRegister,
  loadOperand,
  type OperandWidth,
  readRegister,
  sizeOf,
  storeOperand,
  writeRegister,
} from "../general-registers.js";
import { memoryOperand } from "../operands.js";
import { accessSegment, segmentOperand } from "../segment-access.js";
import { Register, repeating, Segment } from "../state.js";
import { indexValue, type StringForm, stringStep, writeIndex } from "../string-index.js";

interface RepeatForm extends StringForm {
  readonly rep: number;
}

const ACCUMULATOR = generalRegister(Register.rax).offset;

/** Does one element: checks all first, then writes. */
type Element = (stage: Stage, form: StringForm, segment: Value<32>) => void;

/** An element at rSI (`segment`) or rDI (ES). */
function checkElement(
  stage: Stage,
  form: StringForm,
  segment: Value<32> | undefined,
  mode: "read" | "write",
): { readonly handle: ReturnType<typeof accessSegment>; readonly moveOn: () => void } {
  const register = segment === undefined ? Register.rdi : Register.rsi;
  const offset = indexValue(stage, form, register);
  const size = sizeOf(form);
  const handle = accessSegment(stage, segment ?? segmentOperand(stage, Segment.es), offset, bytesOf(size), mode);
  return { handle, moveOn: () => writeIndex(stage, form, register, stage.add(offset, stringStep(stage, size))) };
}

const move: Element = (stage, form, segment) => {
  const from = checkElement(stage, form, segment, "read");
  const to = checkElement(stage, form, undefined, "write");
  storeOperand(stage, sizeOf(form), to.handle, loadOperand(stage, sizeOf(form), from.handle));
  from.moveOn();
  to.moveOn();
};

const storeAccumulator: Element = (stage, form) => {
  const to = checkElement(stage, form, undefined, "write");
  storeOperand(stage, sizeOf(form), to.handle, readRegister(stage, sizeOf(form), stage.constant32(ACCUMULATOR)));
  to.moveOn();
};

const load: Element = (stage, form, segment) => {
  const from = checkElement(stage, form, segment, "read");
  const value = loadOperand(stage, sizeOf(form), from.handle);
  writeRegister(stage, sizeOf(form), stage.constant32(ACCUMULATOR), value);
  from.moveOn();
};

function setComparison(stage: Stage, form: StringForm, left: Value<OperandWidth>, right: Value<OperandWidth>): void {
  const size = sizeOf(form);
  setFlags(stage, { kind: "subtract", size, left, right, result: cut(stage, size, stage.sub(left, right)) });
}

const scan: Element = (stage, form) => {
  const to = checkElement(stage, form, undefined, "read");
  const value = loadOperand(stage, sizeOf(form), to.handle);
  setComparison(stage, form, readRegister(stage, sizeOf(form), stage.constant32(ACCUMULATOR)), value);
  to.moveOn();
};

/** Where both operands fault, the one at rDI is told, as AMD's family 19h does (1Ah tells the one at rSI). */
const compare: Element = (stage, form, segment) => {
  const to = checkElement(stage, form, undefined, "read");
  const from = checkElement(stage, form, segment, "read");
  const [left, right] = [from, to].map(({ handle }) => loadOperand(stage, sizeOf(form), handle));
  if (left === undefined || right === undefined) return;
  setComparison(stage, form, left, right);
  from.moveOn();
  to.moveOn();
};

/** ZF of the last comparison, for a repetition that goes on while it is 1 (F3) or 0 (F2). */
function comparisonHolds(stage: Stage, { rep }: RepeatForm): Value<32> {
  const ZERO = 4;
  return conditionHolds(stage, rep === RepeatPrefix.rep ? ZERO : ZERO + 1);
}

function repeat(stage: Stage, form: RepeatForm, compares: boolean, element: () => void): void {
  const count = indexValue(stage, form, Register.rcx);
  stage.if(stage.compare("ne", count, stage.constant64(0)), () => {
    element();
    const left = stage.sub(count, stage.constant64(1));
    writeIndex(stage, form, Register.rcx, left);
    const isLeft = stage.compare("ne", left, stage.constant64(0));
    const again = compares ? stage.and(isLeft, comparisonHolds(stage, form)) : isLeft;
    stage.write(repeating, again);
    stage.if(again, () => stage.jump(stage.pc()));
  });
}

const POINTERS = ["BYTE", "WORD", "DWORD", "QWORD"] as const;

function sourceText(fields: DecodedFields): string {
  const text = addressText({ ...fields, base: Register.rsi, index: NO_REGISTER });
  return `${POINTERS[sizeOf(fields)]} PTR ${text.startsWith("[") ? "ds:" : ""}${text}`;
}

function destinationText({ size, addressSize }: DecodedFields): string {
  return `${POINTERS[sizeOf({ size })]} PTR es:[${registerName(Register.rdi, addressSize)}]`;
}

function accumulatorText({ size }: DecodedFields): string {
  return registerName(Register.rax, size);
}

type OperandText = (fields: DecodedFields) => string;

interface StringGroup {
  readonly name: string;
  readonly reference: string;
  /** Of the form with bytes. */
  readonly opcode: number;
  readonly element: Element;
  readonly compares: boolean;
  readonly texts: readonly OperandText[];
}

function repetitionText(fields: DecodedFields, compares: boolean): string {
  if (!compares || fields.rep === RepeatPrefix.none) return repeatText(fields);
  return fields.rep === RepeatPrefix.rep ? "repe " : "repne ";
}

function stringInstruction(
  { name, reference, opcode, element, compares, texts }: StringGroup,
  byte: boolean,
): Instruction {
  const hex = (opcode + (byte ? 0 : 1)).toString(16).toUpperCase();
  return defineEncoded({
    mnemonic: byte ? `${name}B` : name,
    reference,
    pattern: byte ? `${hex} byte` : hex,
    formFields: ["size", "addressSize", "rep"],
    operands: { segment: memoryOperand.segment },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        `${repetitionText(fields, compares)}${name.toLowerCase()}`,
        ...texts.map((text) => text(fields)),
      ),
    execute(form, { segment }, stage) {
      if (form.rep === RepeatPrefix.none) element(stage, form, segment);
      else repeat(stage, form, compares, () => element(stage, form, segment));
    },
  });
}

const GROUPS: readonly StringGroup[] = [
  {
    name: "MOVS",
    reference: "4.3 MOVS/MOVSB/MOVSW/MOVSD/MOVSQ",
    opcode: 0xa4,
    element: move,
    compares: false,
    texts: [destinationText, sourceText],
  },
  {
    name: "CMPS",
    reference: "3.3 CMPS/CMPSB/CMPSW/CMPSD/CMPSQ",
    opcode: 0xa6,
    element: compare,
    compares: true,
    texts: [sourceText, destinationText],
  },
  {
    name: "STOS",
    reference: "4.3 STOS/STOSB/STOSW/STOSD/STOSQ",
    opcode: 0xaa,
    element: storeAccumulator,
    compares: false,
    texts: [destinationText, accumulatorText],
  },
  {
    name: "LODS",
    reference: "3.3 LODS/LODSB/LODSW/LODSD/LODSQ",
    opcode: 0xac,
    element: load,
    compares: false,
    texts: [accumulatorText, sourceText],
  },
  {
    name: "SCAS",
    reference: "4.3 SCAS/SCASB/SCASW/SCASD",
    opcode: 0xae,
    element: scan,
    compares: true,
    texts: [accumulatorText, destinationText],
  },
];

export const stringInstructions: readonly Instruction[] = GROUPS.flatMap((group) => [
  stringInstruction(group, true),
  stringInstruction(group, false),
]);
