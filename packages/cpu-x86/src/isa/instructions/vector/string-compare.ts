/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: strings compared element by element. Intel SDM volume 2, 4.1 (imm8, in its
 * words) and the instructions' pages.
 */
import { elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { assembly } from "../../assembly-text.js";
import { defineEncoded } from "../../encoding.js";
import { writeStatusFlags } from "../../flags.js";
import { generalRegister } from "../../general-registers.js";
import { Flag } from "../../registers.js";
import { Register, xmm } from "../../state.js";
import {
  constantBytes,
  lanes,
  readSource,
  requireSse,
  sourceOperands,
  type Vector,
  vectorName,
  vectorText,
} from "../../vector-unit.js";
import { byteText } from "./shifts.js";

/** Bits 1 and 0 of the immediate: bytes or words, signed or not; 3 and 2: how results are brought together. */
interface Comparison {
  readonly bits: 8 | 16;
  readonly signed: boolean;
  readonly aggregation: "equal any" | "ranges" | "equal each" | "equal ordered";
}

const AGGREGATIONS = ["equal any", "ranges", "equal each", "equal ordered"] as const;
/** What the rest of the immediate says at run time. */
const Control = { negative: 1 << 4, masked: 1 << 5, last: 1 << 6 } as const;

interface Strings {
  readonly first: Vector;
  readonly second: Vector;
  /** Elements before the end, 0 to their count. */
  readonly firstLength: Value<32>;
  readonly secondLength: Value<32>;
}

function elementCount({ bits }: Comparison): number {
  return 128 / bits;
}

function bitmask(stage: Stage, { bits }: Comparison, mask: Vector): Value<32> {
  return stage.vectorToScalar(bits === 8 ? "i8x16.bitmask" : "i16x8.bitmask", mask);
}

/** An element in every place. */
function everywhere(stage: Stage, { bits }: Comparison, vector: Vector, element: number): Vector {
  const bytes = bits / 8;
  return stage.shuffle(
    vector,
    vector,
    Array.from({ length: 16 }, (_, byte) => element * bytes + (byte % bytes)),
  );
}

/** A bit for each element before the end. */
function validBits(stage: Stage, length: Value<32>): Value<32> {
  return stage.sub(stage.binary("shl", stage.constant32(1), length), stage.constant32(1));
}

function isBefore(stage: Stage, element: number, length: Value<32>): Value<32> {
  return stage.compare("gt_u", length, stage.constant32(element));
}

function equalAny(stage: Stage, comparison: Comparison, strings: Strings): Value<32> {
  const none = stage.constant128(0n, 0n);
  let found: Vector = none;
  for (let element = 0; element < elementCount(comparison); element++) {
    const equal = lanes(
      stage,
      comparison.bits,
      "eq",
      everywhere(stage, comparison, strings.first, element),
      strings.second,
    );
    const counted = stage.select(isBefore(stage, element, strings.firstLength), equal, none);
    found = stage.vector("v128.or", found, counted);
  }
  return stage.and(bitmask(stage, comparison, found), validBits(stage, strings.secondLength));
}

/** Pairs of a lowest and a highest element. */
function ranges(stage: Stage, comparison: Comparison, strings: Strings): Value<32> {
  const suffix = comparison.signed ? "s" : "u";
  const none = stage.constant128(0n, 0n);
  let found: Vector = none;
  for (let element = 0; element < elementCount(comparison); element += 2) {
    const bound = (number: number): Vector => everywhere(stage, comparison, strings.first, number);
    const within = stage.vector(
      "v128.and",
      lanes(stage, comparison.bits, `ge_${suffix}`, strings.second, bound(element)),
      lanes(stage, comparison.bits, `le_${suffix}`, strings.second, bound(element + 1)),
    );
    const counted = stage.select(isBefore(stage, element + 1, strings.firstLength), within, none);
    found = stage.vector("v128.or", found, counted);
  }
  return stage.and(bitmask(stage, comparison, found), validBits(stage, strings.secondLength));
}

/** Behind both ends elements count as equal. */
function equalEach(stage: Stage, comparison: Comparison, strings: Strings): Value<32> {
  const equal = bitmask(stage, comparison, lanes(stage, comparison.bits, "eq", strings.first, strings.second));
  const first = validBits(stage, strings.firstLength);
  const second = validBits(stage, strings.secondLength);
  const neither = stage.not(stage.or(first, second));
  return stage.or(stage.and(equal, stage.and(first, second)), neither);
}

/** Where the first string begins within the second; what would lie behind the register counts as equal. */
function equalOrdered(stage: Stage, comparison: Comparison, strings: Strings): Value<32> {
  const count = elementCount(comparison);
  const bytes = comparison.bits / 8;
  const all = (1 << count) - 1;
  const valid = validBits(stage, strings.secondLength);
  let found = stage.constant32(all);
  for (let element = 0; element < count; element++) {
    const moved = stage.shuffle(
      strings.second,
      strings.second,
      Array.from({ length: 16 }, (_, byte) => Math.min(15, byte + element * bytes)),
    );
    const wanted = everywhere(stage, comparison, strings.first, element);
    const equal = bitmask(stage, comparison, lanes(stage, comparison.bits, "eq", wanted, moved));
    const inside = stage.and(equal, stage.shiftRight(valid, element));
    const result = stage.or(inside, stage.constant32(~(all >> element)));
    const counted = stage.select(isBefore(stage, element, strings.firstLength), result, stage.constant32(-1));
    found = stage.and(found, counted);
  }
  return found;
}

const OPERATIONS = {
  "equal any": equalAny,
  ranges,
  "equal each": equalEach,
  "equal ordered": equalOrdered,
} as const;

/** Of a string that ends in an element of 0. */
function implicitLength(stage: Stage, comparison: Comparison, string: Vector): Value<32> {
  const zeros = bitmask(stage, comparison, lanes(stage, comparison.bits, "eq", string, stage.constant128(0n, 0n)));
  return stage.unary("ctz", stage.or(zeros, stage.constant32(1 << elementCount(comparison))));
}

/** The magnitude of a register of 32 bits or, with REX.W, 64; at most the count of elements. */
function explicitLength(stage: Stage, comparison: Comparison, wide: boolean, register: number): Value<32> {
  const whole = stage.read(generalRegister(register));
  const value = wide ? whole : stage.signExtendFrom(32, whole);
  const sign = stage.shiftRightSigned(value, 63);
  const magnitude = stage.sub(stage.xor(value, sign), sign);
  const count = elementCount(comparison);
  const tooLarge = stage.compare("gt_u", magnitude, stage.constant64(count));
  return stage.select(tooLarge, stage.constant32(count), stage.truncate32(magnitude));
}

/** IntRes2. */
function withPolarity(
  stage: Stage,
  comparison: Comparison,
  found: Value<32>,
  control: Value<32>,
  valid: Value<32>,
): Value<32> {
  const all = stage.constant32((1 << elementCount(comparison)) - 1);
  const turned = stage.select(stage.and(control, stage.constant32(Control.masked)), valid, all);
  const negative = stage.and(control, stage.constant32(Control.negative));
  return stage.and(stage.xor(found, stage.select(negative, turned, stage.constant32(0))), all);
}

function writeFlags(stage: Stage, comparison: Comparison, result: Value<32>, strings: Strings): void {
  const count = elementCount(comparison);
  const at = (truth: Value<32>, flag: number): Value<32> => stage.shiftLeft(truth, Math.log2(flag));
  const ends = (length: Value<32>): Value<32> => stage.compare("lt_u", length, stage.constant32(count));
  const image = [
    at(ends(strings.secondLength), Flag.ZF),
    at(ends(strings.firstLength), Flag.SF),
    at(stage.and(result, stage.constant32(1)), Flag.OF),
  ].reduce((sum, flag) => stage.or(sum, flag), stage.isZero(stage.isZero(result)));
  writeStatusFlags(stage, image);
}

/** The index of the first or last element found, or the count of elements, into RCX. */
function writeIndex(stage: Stage, comparison: Comparison, result: Value<32>, control: Value<32>): void {
  const count = stage.constant32(elementCount(comparison));
  const first = stage.unary("ctz", result);
  const last = stage.sub(stage.constant32(31), stage.unary("clz", result));
  const found = stage.select(stage.and(control, stage.constant32(Control.last)), last, first);
  stage.write(generalRegister(Register.rcx), stage.zeroExtend64(stage.select(result, found, count)));
}

/** A bit for each element, or the element all ones, into XMM0. */
function writeMask(stage: Stage, { bits }: Comparison, result: Value<32>, control: Value<32>): void {
  const bytes = bits / 8;
  const flags = Array.from({ length: 16 }, (_, byte) => 1 << (Math.floor(byte / bytes) & 7));
  const low = stage.splat("i32x4", result);
  const spread = stage.shuffle(
    low,
    low,
    Array.from({ length: 16 }, (_, byte) => (bits === 8 && byte >= 8 ? 1 : 0)),
  );
  const wanted = constantBytes(stage, flags);
  const expanded = lanes(stage, 8, "eq", stage.vector("v128.and", spread, wanted), wanted);
  const compact = stage.replaceLane("i32x4", 0, stage.constant128(0n, 0n), result);
  const chosen = stage.select(stage.and(control, stage.constant32(Control.last)), expanded, compact);
  stage.write(elementOf(xmm, 0), chosen);
}

interface StringInstruction {
  readonly name: string;
  readonly opcode: string;
  readonly explicit: boolean;
  readonly givesIndex: boolean;
}

const INSTRUCTIONS: readonly StringInstruction[] = [
  { name: "pcmpestrm", opcode: "60", explicit: true, givesIndex: false },
  { name: "pcmpestri", opcode: "61", explicit: true, givesIndex: true },
  { name: "pcmpistrm", opcode: "62", explicit: false, givesIndex: false },
  { name: "pcmpistri", opcode: "63", explicit: false, givesIndex: true },
];

/** Memory need not be aligned. */
function define(
  { name, opcode, explicit, givesIndex }: StringInstruction,
  low: number,
  wide: boolean | undefined,
): Instruction {
  const comparison: Comparison = {
    bits: (low & 1) === 0 ? 8 : 16,
    signed: (low & 2) !== 0,
    aggregation: AGGREGATIONS[(low >> 2) & 3] ?? "equal any",
  };
  const kind = `${comparison.signed ? "signed" : "unsigned"} ${comparison.bits === 8 ? "bytes" : "words"}`;
  const width = wide === undefined ? "" : wide ? "; 64 bits" : "; 32 bits";
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${kind}, ${comparison.aggregation}${width})`,
    reference: `4.3 ${name.toUpperCase()}`,
    pattern: `66 ${wide === undefined ? "" : wide ? "w1 " : "w0 "}0F 3A ${opcode} /r ib`,
    where: ({ immediate }) => (immediate & 15) === low,
    formFields: ["memory"],
    operands: { ...sourceOperands("xmm"), control: { u16: ({ immediate }) => immediate & 0xff } },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name,
        vectorName("xmm", fields.reg),
        vectorText(fields, "xmm", 16),
        byteText(fields.immediate),
      ),
    execute(form, operands, stage) {
      requireSse(stage);
      const second = readSource(stage, form, "xmm", operands, 16, false);
      const first = stage.readAt(128, operands.reg);
      const lengthOf = (string: Vector, register: number): Value<32> =>
        explicit
          ? explicitLength(stage, comparison, wide === true, register)
          : implicitLength(stage, comparison, string);
      const strings: Strings = {
        first,
        second,
        firstLength: lengthOf(first, Register.rax),
        secondLength: lengthOf(second, Register.rdx),
      };
      const found = OPERATIONS[comparison.aggregation](stage, comparison, strings);
      const valid = validBits(stage, strings.secondLength);
      const result = withPolarity(stage, comparison, found, operands.control, valid);
      if (givesIndex) writeIndex(stage, comparison, result, operands.control);
      else writeMask(stage, comparison, result, operands.control);
      writeFlags(stage, comparison, result, strings);
    },
  });
}

export const stringCompareInstructions: readonly Instruction[] = INSTRUCTIONS.flatMap((instruction) =>
  Array.from({ length: 16 }, (_, low) => low).flatMap((low) =>
    instruction.explicit
      ? [define(instruction, low, false), define(instruction, low, true)]
      : [define(instruction, low, undefined)],
  ),
);
