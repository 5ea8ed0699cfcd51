/** MUL, IMUL, DIV, IDIV. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { setCarryFlag, setFlags, setOverflowFlag } from "../flags.js";
import {
  bitsOf,
  constant,
  cut,
  generalRegister,
  immediate as immediateValue,
  type OperandSize,
  type OperandWidth,
  readRegister,
  signExtended,
  sizeOf,
  writeRegister,
} from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { Register } from "../state.js";

type Operand = Value<OperandWidth>;

const UNDEFINED_BY_MULTIPLICATION = Flag.SF | Flag.ZF | Flag.AF | Flag.PF;

/** The halves of a product, and whether the upper one is more than an extension of the lower. */
interface Product {
  readonly low: Operand;
  readonly high: Operand;
  readonly overflows: Value<32>;
}

function extended(stage: Stage, size: OperandSize, signed: boolean, value: Operand): Value<64> {
  return signed ? signExtended(stage, size, value) : stage.zeroExtend64(value as Value<32>);
}

function product(stage: Stage, size: OperandSize, signed: boolean, left: Operand, right: Operand): Product {
  if (size === 3) return product64(stage, signed, left as Value<64>, right as Value<64>);
  const whole = stage.binary("mul", extended(stage, size, signed, left), extended(stage, size, signed, right));
  const low = cut(stage, size, stage.truncate32(whole));
  const high = cut(stage, size, stage.truncate32(stage.shiftRight(whole, bitsOf(size))));
  return { low, high, overflows: stage.compare("ne", whole, extended(stage, size, signed, low)) };
}

function product64(stage: Stage, signed: boolean, left: Value<64>, right: Value<64>): Product {
  const low = stage.binary("mul", left, right);
  const high = signed ? stage.multiplyHighSigned(left, right) : stage.multiplyHighUnsigned(left, right);
  const extension = signed ? stage.shiftRightSigned(low, 63) : stage.constant64(0);
  return { low, high, overflows: stage.compare("ne", high, extension) };
}

/** CF and OF are equal. */
function setProductFlags(stage: Stage, overflows: Value<32>): void {
  setCarryFlag(stage, overflows);
  setOverflowFlag(stage, 2, stage.shiftLeft(overflows, 31));
}

const registerOffset = (number: number): number => generalRegister(number).offset;

/** Of bytes: AX; else the accumulator, and rDX. */
function writePair(stage: Stage, size: OperandSize, low: Operand, high: Operand): void {
  const accumulator = stage.constant32(registerOffset(Register.rax));
  if (size === 0) {
    const both = stage.or(low as Value<32>, stage.shiftLeft(high as Value<32>, 8));
    return writeRegister(stage, 1, accumulator, both);
  }
  writeRegister(stage, size, accumulator, low);
  writeRegister(stage, size, stage.constant32(registerOffset(Register.rdx)), high);
}

function readAccumulator(stage: Stage, size: OperandSize): Operand {
  return readRegister(stage, size, stage.constant32(registerOffset(Register.rax)));
}

function multiply(name: "MUL" | "IMUL", digit: number, byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r/m8" : "r/m"})`,
    reference: name === "MUL" ? "4.3 MUL" : "3.3 IMUL",
    pattern: byte ? `F6 /${digit} byte` : `F7 /${digit}`,
    undefinedFlags: UNDEFINED_BY_MULTIPLICATION,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const right = modrmPlace(stage, form, size, operands, "read").read();
      const { low, high, overflows } = product(stage, size, name === "IMUL", readAccumulator(stage, size), right);
      setProductFlags(stage, overflows);
      writePair(stage, size, low, high);
    },
  });
}

const imulRegister = defineEncoded({
  mnemonic: "IMUL (r, r/m)",
  reference: "3.3 IMUL",
  pattern: "0F AF /r",
  undefinedFlags: UNDEFINED_BY_MULTIPLICATION,
  formFields: ["size", "memory"],
  operands: { ...memoryOperand, rm: register("rm"), destination: register("reg") },
  text: (fields, pc) => assembly(fields, pc, "imul", registerName(fields.reg, fields.size), modrmText(fields)),
  execute(form, operands, stage) {
    const size = sizeOf(form);
    const right = modrmPlace(stage, form, size, operands, "read").read();
    const left = readRegister(stage, size, operands.destination);
    const { low, overflows } = product(stage, size, true, left, right);
    setProductFlags(stage, overflows);
    writeRegister(stage, size, operands.destination, low);
  },
});

function imulImmediate(operandsText: string, pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `IMUL (${operandsText})`,
    reference: "3.3 IMUL",
    pattern,
    undefinedFlags: UNDEFINED_BY_MULTIPLICATION,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: register("reg"), immediate },
    text: (fields, pc) =>
      assembly(fields, pc, "imul", registerName(fields.reg, fields.size), modrmText(fields), immediateText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const left = modrmPlace(stage, form, size, operands, "read").read();
      const right = immediateValue(stage, size, operands.immediate);
      const { low, overflows } = product(stage, size, true, left, right);
      setProductFlags(stage, overflows);
      writeRegister(stage, size, operands.destination, low);
    },
  });
}

interface Quotient {
  readonly quotient: Operand;
  readonly remainder: Operand;
}

function refuseUnless(stage: Stage, possible: Value<32>): void {
  stage.if(stage.isZero(possible), () => raiseException(stage, Vector.divideError));
}

/** The dividend of a size below 64 bits: AX, or rDX with rAX in front. */
function dividend(stage: Stage, size: OperandSize, signed: boolean): Value<64> {
  if (size === 0) return extended(stage, 1, signed, readAccumulator(stage, 1));
  const high = readRegister(stage, size, stage.constant32(registerOffset(Register.rdx)));
  const both = stage.or(
    stage.zeroExtend64(readAccumulator(stage, size) as Value<32>),
    stage.shiftLeft(stage.zeroExtend64(high as Value<32>), bitsOf(size)),
  );
  return size === 1 && signed ? stage.signExtendFrom(32, both) : both;
}

/** #DE where the divisor is 0 or the quotient too large. */
function divideNarrow(stage: Stage, size: OperandSize, signed: boolean, divisor: Operand): Quotient {
  const whole = dividend(stage, size, signed);
  const by = extended(stage, size, signed, divisor);
  const notZero = stage.isZero(stage.isZero(by));
  // The one quotient that 64 bits do not hold.
  const isMinimum = stage.compare("eq", whole, stage.constant64(1n << 63n));
  const largest = signed ? stage.and(isMinimum, stage.compare("eq", by, stage.constant64(-1))) : stage.constant32(0);
  refuseUnless(stage, stage.and(notZero, stage.isZero(largest)));
  const quotient = stage.binary(signed ? "div_s" : "div_u", whole, by);
  const low = cut(stage, size, stage.truncate32(quotient));
  refuseUnless(stage, stage.compare("eq", quotient, extended(stage, size, signed, low)));
  const remainder = stage.binary(signed ? "rem_s" : "rem_u", whole, by);
  return { quotient: low, remainder: cut(stage, size, stage.truncate32(remainder)) };
}

/** 128 bits by 64: `divideWide` needs the upper half below the divisor. */
function divide64(stage: Stage, signed: boolean, divisor: Value<64>): Quotient {
  const low = stage.read(generalRegister(Register.rax));
  const high = stage.read(generalRegister(Register.rdx));
  if (!signed) {
    refuseUnless(stage, stage.compare("lt_u", high, divisor));
    return divideWide(stage, high, low, divisor);
  }
  const zero = stage.constant64(0);
  const isNegative = stage.compare("lt_s", high, zero);
  const negativeHigh = stage.sub(stage.sub(zero, high), stage.zeroExtend64(stage.isZero(stage.isZero(low))));
  const upper = stage.select(isNegative, negativeHigh, high);
  const lower = stage.select(isNegative, stage.sub(zero, low), low);
  const divisorNegative = stage.compare("lt_s", divisor, zero);
  const by = stage.select(divisorNegative, stage.sub(zero, divisor), divisor);
  refuseUnless(stage, stage.compare("lt_u", upper, by));
  const { quotient, remainder } = divideWide(stage, upper, lower, by) as { quotient: Value<64>; remainder: Value<64> };
  const differ = stage.xor(isNegative, divisorNegative);
  const limit = stage.sub(stage.constant64((1n << 63n) - 1n), stage.sub(zero, stage.zeroExtend64(differ)));
  refuseUnless(stage, stage.compare("le_u", quotient, limit));
  return {
    quotient: stage.select(differ, stage.sub(zero, quotient), quotient),
    remainder: stage.select(isNegative, stage.sub(zero, remainder), remainder),
  };
}

/**
 * The quotient in two digits of 32 bits, each estimated by the divisor's upper half and corrected at most twice: Knuth,
 * The Art of Computer Programming, volume 2, 4.3.1, algorithm D. `high` is below the divisor.
 */
function divideWide(stage: Stage, high: Value<64>, low: Value<64>, divisor: Value<64>): Quotient {
  const shift = stage.unary("clz", divisor);
  const by = stage.binary("shl", divisor, shift);
  const spill = stage.binary("shr_u", stage.shiftRight(low, 1), stage.sub(stage.constant64(63), shift));
  const upper = stage.or(stage.binary("shl", high, shift), spill);
  const lower = stage.binary("shl", low, shift);
  const first = divideDigit(stage, upper, stage.shiftRight(lower, 32), by);
  const second = divideDigit(stage, first.remainder, stage.zeroExtendFrom(32, lower), by);
  const remainder = stage.binary("shr_u", second.remainder, shift);
  return { quotient: stage.or(stage.shiftLeft(first.digit, 32), second.digit), remainder };
}

function divideDigit(
  stage: Stage,
  upper: Value<64>,
  next: Value<64>,
  by: Value<64>,
): { readonly digit: Value<64>; readonly remainder: Value<64> } {
  const [byHigh, byLow] = [stage.shiftRight(by, 32), stage.zeroExtendFrom(32, by)];
  const base = stage.constant64(1n << 32n);
  let digit = stage.binary("div_u", upper, byHigh);
  let rest = stage.binary("rem_u", upper, byHigh);
  for (let correction = 0; correction < 2; correction++) {
    const estimate = stage.or(stage.shiftLeft(rest, 32), next);
    const tooLarge = stage.or(
      stage.compare("ge_u", digit, base),
      stage.compare("gt_u", stage.binary("mul", digit, byLow), estimate),
    );
    const wrong = stage.and(tooLarge, stage.compare("lt_u", rest, base));
    digit = stage.sub(digit, stage.zeroExtend64(wrong));
    rest = stage.add(rest, stage.select(wrong, byHigh, stage.constant64(0)));
  }
  const whole = stage.or(stage.shiftLeft(upper, 32), next);
  return { digit, remainder: stage.sub(whole, stage.binary("mul", digit, by)) };
}

/** All flags are undefined: AF is set, SF, ZF and PF are clear, CF and OF stay. */
function setQuotientFlags(stage: Stage): void {
  const one = constant(stage, 2, 1);
  setFlags(stage, {
    kind: "subtract",
    size: 2,
    left: constant(stage, 2, 0x10),
    right: constant(stage, 2, 0xf),
    result: one,
    written: STATUS_FLAGS & ~(Flag.CF | Flag.OF),
  });
}

function divide(name: "DIV" | "IDIV", digit: number, byte: boolean): Instruction {
  const signed = name === "IDIV";
  return defineEncoded({
    mnemonic: `${name} (${byte ? "r/m8" : "r/m"})`,
    reference: `3.3 ${name}`,
    pattern: byte ? `F6 /${digit} byte` : `F7 /${digit}`,
    undefinedFlags: STATUS_FLAGS,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase(), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const divisor = modrmPlace(stage, form, size, operands, "read").read();
      const { quotient, remainder } =
        size === 3 ? divide64(stage, signed, divisor as Value<64>) : divideNarrow(stage, size, signed, divisor);
      setQuotientFlags(stage);
      writePair(stage, size, quotient, remainder);
    },
  });
}

export const multiplicationInstructions: readonly Instruction[] = [
  multiply("MUL", 4, true),
  multiply("MUL", 4, false),
  multiply("IMUL", 5, true),
  multiply("IMUL", 5, false),
  imulRegister,
  imulImmediate("r, r/m, imm", "69 /r iz"),
  imulImmediate("r, r/m, imm8", "6B /r ib"),
  divide("DIV", 6, true),
  divide("DIV", 6, false),
  divide("IDIV", 7, true),
  divide("IDIV", 7, false),
];
