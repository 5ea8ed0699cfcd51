/**
 * Shifts, rotates, and double shifts. References: sections of Intel SDM volume 2.
 *
 * A count of 0 (of the five or six bits that count) leaves all flags; but a doubleword register still loses its upper half.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import { carryFlag, setAdjustFlag, setCarryFlag, setOverflowFlag, setResultFlags } from "../flags.js";
import {
  bitsOf,
  cut,
  generalRegister,
  low32,
  type OperandSize,
  type OperandWidth,
  readRegister,
  sizeOf,
  widen,
} from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { Flag } from "../registers.js";
import { Register } from "../state.js";

type Operand = Value<OperandWidth>;

interface Shifted {
  readonly result: Operand;
  /** 0 or 1. Only looked at when the count is not 0. */
  readonly carry: Value<32>;
  /** Its top bit is OF. */
  readonly overflow: Operand;
}

/** `count` is 0 to 31, or 63 where the operand has 64 bits. */
type ShiftOperation = (stage: Stage, size: OperandSize, left: Operand, count: Value<32>) => Shifted;

function shift(
  stage: Stage,
  size: OperandSize,
  op: "shl" | "shr_u" | "shr_s" | "rotl" | "rotr",
  value: Operand,
  count: Value<32>,
): Operand {
  return size === 3
    ? stage.binary(op, value as Value<64>, stage.zeroExtend64(count))
    : stage.binary(op, value as Value<32>, count);
}

/** Bit `number` of a value, as 0 or 1. */
function bit(stage: Stage, size: OperandSize, value: Operand, number: number): Value<32> {
  return low32(stage, size, stage.extractBits(value, number, 1));
}

/** The bit that left last, to the left, with `count` bits: CF against the sign of the result. */
function leftOverflow(stage: Stage, size: OperandSize, result: Operand, carry: Value<32>): Operand {
  return stage.xor(result, stage.shiftLeft(widen(stage, size, carry), bitsOf(size) - 1));
}

/** The two top bits against each other. */
function rightOverflow(stage: Stage, result: Operand): Operand {
  return stage.xor(result, stage.shiftLeft(result, 1));
}

const minus = (stage: Stage, from: number, count: Value<32>): Value<32> => stage.sub(stage.constant32(from), count);

const shl: ShiftOperation = (stage, size, left, count) => {
  const result = cut(stage, size, shift(stage, size, "shl", left, count));
  const carry = shlCarry(stage, size, left, count);
  return { result, carry, overflow: leftOverflow(stage, size, result, carry) };
};

function shlCarry(stage: Stage, size: OperandSize, left: Operand, count: Value<32>): Value<32> {
  // Shift counts are taken modulo 64, so this is 64 - count for 1 to 63.
  if (size === 3) return bit(stage, size, shift(stage, size, "shr_u", left, minus(stage, 0, count)), 0);
  if (size < 2) return bit(stage, size, shift(stage, size, "shl", left, count), bitsOf(size));
  const wide = stage.zeroExtend64(left as Value<32>);
  return bit(stage, 3, shift(stage, 3, "shl", wide, count), 32);
}

const shr: ShiftOperation = (stage, size, left, count) => {
  const result = shift(stage, size, "shr_u", left, count);
  const carry = bit(stage, size, shift(stage, size, "shr_u", left, stage.sub(count, stage.constant32(1))), 0);
  return { result, carry, overflow: rightOverflow(stage, result) };
};

const sar: ShiftOperation = (stage, size, left, count) => {
  const wide = size < 2 ? stage.signExtendFrom(size === 0 ? 8 : 16, left) : left;
  const result = cut(stage, size, shift(stage, size, "shr_s", wide, count));
  const carry = bit(stage, size, shift(stage, size, "shr_s", wide, stage.sub(count, stage.constant32(1))), 0);
  return { result, carry, overflow: stage.xor(result, result) };
};

/** Of bytes and words as of a doubleword that repeats them. */
function rotated(stage: Stage, size: OperandSize, op: "rotl" | "rotr", left: Operand, count: Value<32>): Operand {
  if (size >= 2) return shift(stage, size, op, left, count);
  const pair = size === 0 ? stage.or(left, stage.shiftLeft(left, 8)) : left;
  return cut(stage, size, shift(stage, size, op, stage.or(pair, stage.shiftLeft(pair, 16)), count));
}

const rol: ShiftOperation = (stage, size, left, count) => {
  const result = rotated(stage, size, "rotl", left, count);
  const carry = bit(stage, size, result, 0);
  return { result, carry, overflow: leftOverflow(stage, size, result, carry) };
};

const ror: ShiftOperation = (stage, size, left, count) => {
  const result = rotated(stage, size, "rotr", left, count);
  return { result, carry: bit(stage, size, result, bitsOf(size) - 1), overflow: rightOverflow(stage, result) };
};

/** CF in front of a narrow operand, and the count modulo the bits of both. */
function withCarry(
  stage: Stage,
  size: OperandSize,
  left: Operand,
  count: Value<32>,
): { readonly value: Value<64>; readonly by: Value<32>; readonly bits: number } {
  const bits = bitsOf(size) + 1;
  const carry = stage.shiftLeft(stage.zeroExtend64(carryFlag(stage)), bits - 1);
  const by = size === 2 ? count : stage.binary("rem_u", count, stage.constant32(bits));
  return { value: stage.or(stage.zeroExtend64(left as Value<32>), carry), by, bits };
}

const rcl: ShiftOperation = (stage, size, left, count) => {
  const { result, carry } = size === 3 ? rcl64(stage, left, count) : rclNarrow(stage, size, left, count);
  return { result, carry, overflow: leftOverflow(stage, size, result, carry) };
};

function rclNarrow(stage: Stage, size: OperandSize, left: Operand, count: Value<32>): Omit<Shifted, "overflow"> {
  const { value, by, bits } = withCarry(stage, size, left, count);
  const high = shift(stage, 3, "shl", value, by) as Value<64>;
  const turned = stage.or(high, shift(stage, 3, "shr_u", value, minus(stage, bits, by)) as Value<64>);
  return {
    result: cut(stage, size, stage.truncate32(turned)),
    carry: bit(stage, 3, turned, bits - 1),
  };
}

function rcl64(stage: Stage, left: Operand, count: Value<32>): Omit<Shifted, "overflow"> {
  const carry = widen(stage, 3, carryFlag(stage));
  const back = minus(stage, 64, count);
  const turned = stage.or(
    stage.or(shift(stage, 3, "shl", left, count), shift(stage, 3, "shl", carry, stage.sub(count, stage.constant32(1)))),
    shift(stage, 3, "shr_u", stage.shiftRight(left, 1), back),
  );
  return {
    result: stage.select(count, turned, left),
    carry: bit(stage, 3, shift(stage, 3, "shr_u", left, back), 0),
  };
}

const rcr: ShiftOperation = (stage, size, left, count) => {
  const { result, carry } = size === 3 ? rcr64(stage, left, count) : rcrNarrow(stage, size, left, count);
  return { result, carry, overflow: rightOverflow(stage, result) };
};

function rcrNarrow(stage: Stage, size: OperandSize, left: Operand, count: Value<32>): Omit<Shifted, "overflow"> {
  const { value, by, bits } = withCarry(stage, size, left, count);
  const low = shift(stage, 3, "shr_u", value, by) as Value<64>;
  const turned = stage.or(low, shift(stage, 3, "shl", value, minus(stage, bits, by)) as Value<64>);
  return {
    result: cut(stage, size, stage.truncate32(turned)),
    carry: bit(stage, 3, turned, bits - 1),
  };
}

function rcr64(stage: Stage, left: Operand, count: Value<32>): Omit<Shifted, "overflow"> {
  const carry = widen(stage, 3, carryFlag(stage));
  const back = minus(stage, 64, count);
  const turned = stage.or(
    stage.or(shift(stage, 3, "shr_u", left, count), shift(stage, 3, "shl", carry, back)),
    shift(stage, 3, "shl", stage.shiftLeft(left, 1), back),
  );
  return {
    result: stage.select(count, turned, left),
    carry: bit(stage, 3, shift(stage, 3, "shr_u", left, stage.sub(count, stage.constant32(1))), 0),
  };
}

type CountSource = "1" | "CL" | "imm8";

function countMask(size: OperandSize): number {
  return size === 3 ? 63 : 31;
}

function countOf(stage: Stage, size: OperandSize, source: CountSource, immediateCount: Value<32>): Value<32> {
  if (source === "1") return stage.constant32(1);
  const all = source === "CL" ? stage.truncate32(stage.read(generalRegister(Register.rcx))) : immediateCount;
  return stage.and(all, stage.constant32(countMask(size)));
}

/** Runs `write` where the count is not 0. */
function unlessZero(stage: Stage, source: CountSource, count: Value<32>, write: () => void): void {
  if (source === "1") write();
  else stage.if(count, write);
}

const OPCODES: Readonly<Record<CountSource, readonly [byte: string, wide: string]>> = {
  "1": ["D0", "D1"],
  CL: ["D2", "D3"],
  imm8: ["C0", "C1"],
};

interface ShiftGroup {
  readonly name: string;
  readonly digit: number;
  readonly operation: ShiftOperation;
  /** A rotate writes CF and OF alone. */
  readonly rotates: boolean;
  readonly alias?: true;
}

function undefinedFlagsOf({ rotates }: ShiftGroup, source: CountSource): (fields: DecodedFields) => number {
  const always = rotates ? 0 : Flag.AF;
  return ({ size, immediate: value }) => {
    if (source === "1") return always;
    const count = value & countMask(size as OperandSize);
    if (source === "imm8" && count === 0) return 0;
    const overflow = source === "imm8" && count === 1 ? 0 : Flag.OF;
    // CF of SHL and SHR by more than the operand has.
    return always | overflow | (rotates || size >= 2 ? 0 : Flag.CF);
  };
}

function countText(source: CountSource): (fields: DecodedFields) => string {
  return (fields) => (source === "imm8" ? immediateText({ ...fields, size: 0 }) : source.toLowerCase());
}

function shiftBy(group: ShiftGroup, source: CountSource, byte: boolean): Instruction {
  const { name, digit, operation, rotates, alias = false } = group;
  const opcode = OPCODES[source][byte ? 0 : 1];
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r/m8" : "r/m"}, ${source}${alias ? "; alias" : ""})`,
    reference: rotates ? "4.3 RCL/RCR/ROL/ROR" : "4.3 SAL/SAR/SHL/SHR",
    pattern: `${opcode} /${digit}${source === "imm8" ? " ib" : ""}${byte ? " byte" : ""}`,
    undefinedFlags: undefinedFlagsOf(group, source),
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), immediate },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields), countText(source)(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      const count = countOf(stage, size, source, operands.immediate);
      const { result, carry, overflow } = operation(stage, size, destination.read(), count);
      destination.write(result);
      unlessZero(stage, source, count, () => {
        setCarryFlag(stage, carry);
        setOverflowFlag(stage, size, overflow);
        if (rotates) return;
        setAdjustFlag(stage, true);
        setResultFlags(stage, size, result);
      });
    },
  });
}

const GROUPS: readonly ShiftGroup[] = [
  { name: "ROL", digit: 0, operation: rol, rotates: true },
  { name: "ROR", digit: 1, operation: ror, rotates: true },
  { name: "RCL", digit: 2, operation: rcl, rotates: true },
  { name: "RCR", digit: 3, operation: rcr, rotates: true },
  { name: "SHL", digit: 4, operation: shl, rotates: false },
  { name: "SHR", digit: 5, operation: shr, rotates: false },
  // An alias that Intel does not print.
  { name: "SHL", digit: 6, operation: shl, rotates: false, alias: true },
  { name: "SAR", digit: 7, operation: sar, rotates: false },
];

/** `source` fills what `left` loses. */
function doubleLeft(stage: Stage, size: OperandSize, left: Operand, source: Operand, count: Value<32>): Shifted {
  if (size === 1) return doubleLeft16(stage, left as Value<32>, source as Value<32>, count);
  const bits = bitsOf(size);
  const moved = shift(stage, size, "shl", left, count);
  const filled = stage.or(moved, shift(stage, size, "shr_u", source, minus(stage, bits, count)));
  const result = stage.select(count, filled, left);
  const carry = bit(stage, size, shift(stage, size, "shr_u", left, minus(stage, bits, count)), 0);
  return { result, carry, overflow: leftOverflow(stage, size, result, carry) };
}

/** By more than 16 bits the manual leaves all undefined: the source is rotated and CF clear. By 16 and more OF is CF. */
function doubleLeft16(stage: Stage, left: Value<32>, source: Value<32>, count: Value<32>): Shifted {
  const beyond = stage.compare("gt_u", count, stage.constant32(16));
  const pair = stage.or(stage.shiftLeft(stage.select(beyond, source, left), 16), source);
  const by = stage.and(count, stage.constant32(15));
  const isWhole = stage.compare("eq", count, stage.constant32(16));
  const high = stage.select(isWhole, source, stage.shiftRight(stage.binary("shl", pair, by), 16));
  const result = stage.zeroExtendFrom(16, high);
  const lastBit = stage.and(stage.binary("shr_u", left, minus(stage, 16, count)), stage.constant32(1));
  const carry = stage.select(beyond, stage.constant32(0), lastBit);
  const within = stage.compare("lt_u", count, stage.constant32(16));
  return {
    result,
    carry,
    overflow: stage.select(within, leftOverflow(stage, 1, result, carry) as Value<32>, stage.shiftLeft(carry, 15)),
  };
}

function doubleRight(stage: Stage, size: OperandSize, left: Operand, source: Operand, count: Value<32>): Shifted {
  if (size === 1) return doubleRight16(stage, left as Value<32>, source as Value<32>, count);
  const moved = shift(stage, size, "shr_u", left, count);
  const filled = stage.or(moved, shift(stage, size, "shl", source, minus(stage, bitsOf(size), count)));
  const result = stage.select(count, filled, left);
  const carry = bit(stage, size, shift(stage, size, "shr_u", left, stage.sub(count, stage.constant32(1))), 0);
  return { result, carry, overflow: rightOverflow(stage, result) };
}

function doubleRight16(stage: Stage, left: Value<32>, source: Value<32>, count: Value<32>): Shifted {
  const beyond = stage.compare("gt_u", count, stage.constant32(16));
  const pair = stage.or(stage.shiftLeft(source, 16), stage.select(beyond, source, left));
  const by = stage.and(count, stage.constant32(15));
  const isWhole = stage.compare("eq", count, stage.constant32(16));
  const low = stage.select(isWhole, source, stage.zeroExtendFrom(16, stage.binary("shr_u", pair, by)));
  const lastBit = stage.binary("shr_u", left, stage.sub(count, stage.constant32(1)));
  const carry = stage.select(beyond, stage.constant32(0), stage.and(lastBit, stage.constant32(1)));
  return { result: low, carry, overflow: rightOverflow(stage, low) };
}

function doubleShift(name: "SHLD" | "SHRD", opcode: string, source: "CL" | "imm8"): Instruction {
  const operation = name === "SHLD" ? doubleLeft : doubleRight;
  return defineEncoded({
    mnemonic: `${name} (r/m, r, ${source})`,
    reference: `4.3 ${name}`,
    pattern: `0F ${opcode} /r${source === "imm8" ? " ib" : ""}`,
    undefinedFlags: ({ size, immediate: value }) => {
      const count = value & countMask(size as OperandSize);
      if (source === "imm8" && count === 0) return 0;
      const overflow = source === "imm8" && count === 1 ? 0 : Flag.OF;
      const beyond = size === 1 && (source === "CL" || count > 16);
      return Flag.AF | overflow | (beyond ? Flag.CF | Flag.ZF | Flag.SF | Flag.PF : 0);
    },
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), source: register("reg"), immediate },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name.toLowerCase(),
        modrmText(fields),
        registerName(fields.reg, fields.size),
        countText(source)(fields),
      ),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const destination = modrmPlace(stage, form, size, operands, "readWrite");
      const count = countOf(stage, size, source, operands.immediate);
      const filling = readRegister(stage, size, operands.source);
      const { result, carry, overflow } = operation(stage, size, destination.read(), filling, count);
      destination.write(result);
      stage.if(count, () => {
        setCarryFlag(stage, carry);
        setOverflowFlag(stage, size, overflow);
        setAdjustFlag(stage, true);
        setResultFlags(stage, size, result);
      });
    },
  });
}

export const shiftInstructions: readonly Instruction[] = [
  ...GROUPS.flatMap((group) =>
    (["1", "CL", "imm8"] as const).flatMap((source) => [shiftBy(group, source, true), shiftBy(group, source, false)]),
  ),
  doubleShift("SHLD", "A4", "imm8"),
  doubleShift("SHLD", "A5", "CL"),
  doubleShift("SHRD", "AC", "imm8"),
  doubleShift("SHRD", "AD", "CL"),
];
