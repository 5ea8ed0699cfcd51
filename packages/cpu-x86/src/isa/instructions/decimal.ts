/**
 * Decimal arithmetic, which 64-bit mode does without: AAA, AAS, DAA, DAS, AAM, AAD; and BOUND. References: sections of Intel SDM
 * volume 2.
 *
 * Undefined flags: AAA and AAS set OF, SF, ZF, PF of the 16-bit sum or difference that they make of AX; DAA and DAS set OF of the
 * sum or difference of AL; AAM clears CF, OF, AF; AAD sets all as the addition to AL does.
 */
import { elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, assembly, immediateText, registerName } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { carryFlag, readRflags, setCarryFlag, setFlags, writeAdjustFlag } from "../flags.js";
import { bitsOf, bytesOf, cut, readRegister, signExtended, sizeOf, writeRegister } from "../general-registers.js";
import { immediate, memoryOperand, register } from "../operands.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { gpr, Register } from "../state.js";

const AX = elementOf(gpr, Register.rax).offset;

function readAccumulator(stage: Stage, size: 0 | 1): Value<32> {
  return readRegister(stage, size, stage.constant32(AX)) as Value<32>;
}

function writeAccumulator(stage: Stage, size: 0 | 1, value: Value<32>): void {
  writeRegister(stage, size, stage.constant32(AX), value);
}

/** Truth: the low digit needs to be corrected. */
function lowDigitCarries(stage: Stage, al: Value<32>): Value<32> {
  const digit = stage.compare("gt_u", stage.and(al, stage.constant32(15)), stage.constant32(9));
  return stage.or(digit, stage.extractBits(readRflags(stage), Math.log2(Flag.AF), 1));
}

function decimal(name: string, pattern: string, undefinedFlags: number, execute: (stage: Stage) => void): Instruction {
  return defineEncoded({
    mnemonic: name,
    reference: `3.3 ${name}`,
    pattern: `compat ${pattern}`,
    undefinedFlags,
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, name.toLowerCase()),
    execute: (_form, _operands, stage) => execute(stage),
  });
}

/** One digit that is not packed: AL and a carry to AH. */
function adjustDigit(stage: Stage, kind: "add" | "subtract"): void {
  const ax = readAccumulator(stage, 1);
  const carries = lowDigitCarries(stage, stage.and(ax, stage.constant32(0xff)));
  const right = stage.select(carries, stage.constant32(0x106), stage.constant32(0));
  const result = cut(stage, 1, kind === "add" ? stage.add(ax, right) : stage.sub(ax, right)) as Value<32>;
  writeAccumulator(stage, 1, stage.and(result, stage.constant32(0xff0f)));
  setFlags(stage, { kind, size: 1, left: ax, right, result, written: STATUS_FLAGS & ~(Flag.CF | Flag.AF) });
  writeAdjustFlag(stage, stage.shiftLeft(carries, Math.log2(Flag.AF)));
  setCarryFlag(stage, carries);
}

/** Both digits of AL. */
function adjustPair(stage: Stage, kind: "add" | "subtract"): void {
  const al = readAccumulator(stage, 0);
  const low = lowDigitCarries(stage, al);
  const high = stage.or(stage.compare("gt_u", al, stage.constant32(0x99)), carryFlag(stage));
  const correction = stage.or(
    stage.select(low, stage.constant32(6), stage.constant32(0)),
    stage.select(high, stage.constant32(0x60), stage.constant32(0)),
  );
  const result = cut(stage, 0, kind === "add" ? stage.add(al, correction) : stage.sub(al, correction));
  // The low digit alone may borrow.
  const borrows = stage.and(low, stage.compare("lt_u", al, stage.constant32(6)));
  const carry = kind === "add" ? high : stage.or(high, borrows);
  writeAccumulator(stage, 0, result as Value<32>);
  const written = STATUS_FLAGS & ~(Flag.CF | Flag.AF);
  setFlags(stage, { kind, size: 0, left: al, right: correction, result, written });
  writeAdjustFlag(stage, stage.shiftLeft(low, Math.log2(Flag.AF)));
  setCarryFlag(stage, carry);
}

/** #DE for a base of 0. */
const aam = defineEncoded({
  mnemonic: "AAM",
  reference: "3.3 AAM",
  pattern: "compat D4 ib",
  undefinedFlags: Flag.OF | Flag.AF | Flag.CF,
  formFields: [],
  operands: { immediate },
  text: (fields, pc) => assembly(fields, pc, "aam", immediateText({ ...fields, size: 0 })),
  execute(_form, operands, stage) {
    const base = stage.and(operands.immediate, stage.constant32(0xff));
    stage.if(stage.isZero(base), () => raiseException(stage, Vector.divideError));
    const al = readAccumulator(stage, 0);
    const [quotient, rest] = [stage.binary("div_u", al, base), stage.binary("rem_u", al, base)];
    writeAccumulator(stage, 1, stage.or(stage.shiftLeft(quotient, 8), rest));
    setFlags(stage, { kind: "logic", size: 0, left: rest, right: rest, result: rest });
  },
});

const aad = defineEncoded({
  mnemonic: "AAD",
  reference: "3.3 AAD",
  pattern: "compat D5 ib",
  undefinedFlags: Flag.OF | Flag.AF | Flag.CF,
  formFields: [],
  operands: { immediate },
  text: (fields, pc) => assembly(fields, pc, "aad", immediateText({ ...fields, size: 0 })),
  execute(_form, operands, stage) {
    const ax = readAccumulator(stage, 1);
    const tens = stage.binary("mul", stage.shiftRight(ax, 8), stage.and(operands.immediate, stage.constant32(0xff)));
    const [left, right] = [stage.and(ax, stage.constant32(0xff)), stage.and(tens, stage.constant32(0xff))];
    const result = cut(stage, 0, stage.add(left, right));
    writeAccumulator(stage, 1, result as Value<32>);
    setFlags(stage, { kind: "add", size: 0, left, right, result });
  },
});

/** An index between two signed bounds in memory: #BR outside. */
const bound = defineEncoded({
  mnemonic: "BOUND",
  reference: "3.3 BOUND",
  pattern: "compat 62 /r mem",
  formFields: ["size"],
  operands: { ...memoryOperand, tested: register("reg") },
  text: (fields, pc) => assembly(fields, pc, "bound", registerName(fields.reg, fields.size), addressText(fields)),
  execute(form, operands, stage) {
    const size = sizeOf(form);
    const bytes = bytesOf(size);
    const handle = accessMemory(stage, operands, 2 * bytes, "read");
    const load = (offset: number): Value<64> =>
      signExtended(stage, size, stage.load(32, handle, offset, bitsOf(size) as 16 | 32));
    const index = signExtended(stage, size, readRegister(stage, size, operands.tested));
    const outside = stage.or(stage.compare("lt_s", index, load(0)), stage.compare("gt_s", index, load(bytes)));
    stage.if(outside, () => raiseException(stage, BOUND_RANGE_EXCEEDED));
  },
});

const BOUND_RANGE_EXCEEDED = 5;

const UNDEFINED_UNPACKED = Flag.OF | Flag.SF | Flag.ZF | Flag.PF;

export const decimalInstructions: readonly Instruction[] = [
  decimal("DAA", "27", Flag.OF, (stage) => adjustPair(stage, "add")),
  decimal("DAS", "2F", Flag.OF, (stage) => adjustPair(stage, "subtract")),
  decimal("AAA", "37", UNDEFINED_UNPACKED, (stage) => adjustDigit(stage, "add")),
  decimal("AAS", "3F", UNDEFINED_UNPACKED, (stage) => adjustDigit(stage, "subtract")),
  aam,
  aad,
  bound,
];
