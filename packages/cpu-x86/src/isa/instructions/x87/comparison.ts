/** x87: comparison and examination. References: Intel SDM volume 2; condition codes volume 1, 8.1.4. */
import {
  ExtendedOperand,
  ExtendedOperation,
  FloatRelation,
  type Instruction,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { writeStatusFlags } from "../../flags.js";
import {
  CONDITION_CODES,
  compute,
  type ExtendedValue,
  FloatStatus,
  isEmpty,
  perform,
  popTop,
  positiveZero,
  readFloat,
  setConditions,
  stackRegister,
  top,
  underflowOf,
} from "../../float-unit.js";
import { loadNumber, MEMORY_OPERANDS } from "./arithmetic.js";
import { memoryInstruction, registerInstruction, stackText } from "./definition.js";
import { relationFlags } from "../vector/float.js";

/** C3, C2 and C0 of a `FloatRelation`. */
function conditionsOf(stage: Stage, relation: Value<32>): Value<32> {
  const is = (wanted: number): Value<32> => stage.compare("eq", relation, stage.constant32(wanted));
  const unordered = is(FloatRelation.unordered);
  const at = (truth: Value<32>, flag: number): Value<32> => stage.shiftLeft(truth, Math.log2(flag));
  return stage.or(
    at(stage.or(is(FloatRelation.equal), unordered), FloatStatus.C3),
    stage.or(at(unordered, FloatStatus.C2), at(stage.or(is(FloatRelation.less), unordered), FloatStatus.C0)),
  );
}

interface Comparison {
  /** A quiet NaN is no invalid operand. */
  readonly quiet: boolean;
  readonly pops: number;
  /** Into EFLAGS instead of the condition codes. */
  readonly toFlags?: boolean;
}

/** Compares ST(0) with `other`. `faults`: see `perform`. */
function compareTop(
  stage: Stage,
  { quiet, pops, toFlags = false }: Comparison,
  faults: Value<32>,
  other: ExtendedValue,
  kind: number = ExtendedOperand.extended,
): void {
  const conclude = (relation: Value<32>): void => {
    if (toFlags) writeStatusFlags(stage, relationFlags(stage, relation));
    else setConditions(stage, conditionsOf(stage, relation));
    popTop(stage, pops);
  };
  const code = (quiet ? ExtendedOperation.compareQuiet : ExtendedOperation.compareSignalling) | kind;
  perform(
    stage,
    faults,
    () => conclude(stage.constant32(FloatRelation.unordered)),
    () => {
      const { returned, status } = compute(stage, code, readFloat(stage, top(stage)), other);
      return { status, commit: () => conclude(returned) };
    },
  );
}

interface RegisterComparison extends Comparison {
  readonly name: string;
  readonly opcode: number;
  readonly digit: number;
  readonly rm?: number;
  readonly form?: string;
}

const REGISTER_COMPARISONS: readonly RegisterComparison[] = [
  { name: "fcom", opcode: 0xd8, digit: 2, quiet: false, pops: 0, form: "ST(i)" },
  { name: "fcomp", opcode: 0xd8, digit: 3, quiet: false, pops: 1, form: "ST(i)" },
  // Aliases that the manual does not print.
  { name: "fcom", opcode: 0xdc, digit: 2, quiet: false, pops: 0, form: "ST(i); alias" },
  { name: "fcomp", opcode: 0xdc, digit: 3, quiet: false, pops: 1, form: "ST(i); alias" },
  { name: "fcomp", opcode: 0xde, digit: 2, quiet: false, pops: 1, form: "ST(i); second alias" },
  { name: "fcompp", opcode: 0xde, digit: 3, rm: 1, quiet: false, pops: 2 },
  { name: "fucom", opcode: 0xdd, digit: 4, quiet: true, pops: 0 },
  { name: "fucomp", opcode: 0xdd, digit: 5, quiet: true, pops: 1 },
  { name: "fucompp", opcode: 0xda, digit: 5, rm: 1, quiet: true, pops: 2 },
  { name: "fucomi", opcode: 0xdb, digit: 5, quiet: true, pops: 0, toFlags: true },
  { name: "fcomi", opcode: 0xdb, digit: 6, quiet: false, pops: 0, toFlags: true },
  { name: "fucomip", opcode: 0xdf, digit: 5, quiet: true, pops: 1, toFlags: true },
  { name: "fcomip", opcode: 0xdf, digit: 6, quiet: false, pops: 1, toFlags: true },
];

function withRegister(comparison: RegisterComparison): Instruction {
  const { toFlags = false, rm } = comparison;
  return registerInstruction(
    {
      ...comparison,
      operands: (fields) => (rm !== undefined ? [] : toFlags ? ["st", stackText(fields)] : [stackText(fields)]),
    },
    (stage, index) => {
      const other = stackRegister(stage, index);
      compareTop(stage, comparison, underflowOf(stage, top(stage), other), readFloat(stage, other));
    },
  );
}

/** FCOM, FCOMP, FICOM, FICOMP. */
const memoryComparisons: readonly Instruction[] = MEMORY_OPERANDS.flatMap(({ opcode, infix, bits, kind, form }) =>
  ([0, 1] as const).map((pops) =>
    memoryInstruction(
      { name: `f${infix}com${pops === 1 ? "p" : ""}`, opcode, digit: 2 + pops, bytes: bits / 8, form },
      "read",
      (stage, access) => {
        const number = loadNumber(stage, access, bits, kind === ExtendedOperand.integer);
        compareTop(stage, { quiet: false, pops }, underflowOf(stage, top(stage)), number, kind);
      },
    ),
  ),
);

const ftst = registerInstruction({ name: "ftst", opcode: 0xd9, digit: 4, rm: 4 }, (stage) => {
  compareTop(stage, { quiet: false, pops: 0 }, underflowOf(stage, top(stage)), positiveZero(stage));
});

/** FXAM: the class of ST(0), whether it is empty or not; C1 is its sign. */
const fxam = registerInstruction({ name: "fxam", opcode: 0xd9, digit: 4, rm: 5 }, (stage) => {
  const { low, high } = readFloat(stage, top(stage));
  const exponent = stage.truncate32(stage.zeroExtendFrom(15, high));
  const sign = stage.truncate32(stage.extractBits(high, 15, 1));
  const integerBit = stage.truncate32(stage.shiftRight(low, 63));
  const fraction = stage.isZero(stage.isZero(stage.shiftLeft(low, 1)));
  const { C0, C2, C3 } = FloatStatus;
  const pick = (condition: Value<32>, whenTrue: number | Value<32>, whenFalse: number | Value<32>): Value<32> =>
    stage.select(condition, asValue(stage, whenTrue), asValue(stage, whenFalse));
  const denormalOrZero = pick(stage.isZero(low), C3, C2 | C3);
  const special = pick(fraction, C0, C0 | C2);
  const supported = pick(stage.compare("eq", exponent, stage.constant32(0x7fff)), special, C2);
  const full = pick(stage.isZero(exponent), denormalOrZero, pick(integerBit, supported, 0));
  const codes = pick(isEmpty(stage, top(stage)), C0 | C3, full);
  setConditions(stage, stage.or(codes, stage.shiftLeft(sign, Math.log2(FloatStatus.C1))), CONDITION_CODES);
});

function asValue(stage: Stage, value: number | Value<32>): Value<32> {
  return typeof value === "number" ? stage.constant32(value) : value;
}

export const x87ComparisonInstructions: readonly Instruction[] = [
  ...REGISTER_COMPARISONS.map(withRegister),
  ...memoryComparisons,
  ftst,
  fxam,
];
