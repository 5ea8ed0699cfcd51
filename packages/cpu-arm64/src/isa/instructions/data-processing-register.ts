/** Data processing with registers. References as in `data-processing-immediate.ts`. */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import {
  ADD_SUBTRACT,
  ADD_SUBTRACT_WITH_FLAGS,
  type AddSubtract,
  addOrSubtract,
  comparisonName,
} from "../add-subtract.js";
import {
  assembly,
  conditionName,
  extendName,
  hexImmediate,
  registerName,
  registerNameOrSp,
  shiftText,
} from "../assembly-text.js";
import { extendedRegister } from "../extended-register.js";
import { conditionHolds, setFlagsAdd, setFlagsAddWithCarry, setFlagsNzcv, setFlagsSubtract } from "../flags.js";
import {
  compareAt,
  constant,
  isZeroAt,
  type RegisterWidth,
  widen,
  widthOf,
  writeResult,
} from "../general-registers.js";
import { LOGICAL, type Logical, logical } from "../logical.js";
import { destinationX, sourceX, xOrSp } from "../operands.js";
import { flagC } from "../state.js";
import { crc32Routine } from "./crc32.js";

const SHIFTED_CLASS = "C4.1 Add/subtract (shifted register)";
const EXTENDED_CLASS = "C4.1 Add/subtract (extended register)";
const LOGICAL_CLASS = "C4.1 Logical (shifted register)";
const CARRY_CLASS = "C4.1 Add/subtract (with carry)";
const COMPARE_CLASS = "C4.1 Conditional compare";
const SELECT_CLASS = "C4.1 Conditional select";
const ONE_SOURCE_CLASS = "C4.1 Data-processing (1 source)";
const TWO_SOURCE_CLASS = "C4.1 Data-processing (2 source)";
const THREE_SOURCE_CLASS = "C4.1 Data-processing (3 source)";

// Shifted registers. Most are not shifted at all: those have definitions of their own.

type Registers<Names extends string> = Readonly<Record<Names, number>>;

/** Values of the `shift` field. */
const Shift = { lsl: 0, lsr: 1, asr: 2, ror: 3 } as const;
const SHIFT_OPS = ["shl", "shr_u", "shr_s", "rotr"] as const;

function shifted(
  stage: Stage,
  width: RegisterWidth,
  shift: number,
  value: Value<RegisterWidth>,
  amount: Value<32>,
): Value<RegisterWidth> {
  return stage.binary(SHIFT_OPS[shift] ?? "shl", value, widen(stage, width, amount));
}

function isShiftAmount({ sf, imm6 }: Registers<"sf" | "imm6">): boolean {
  return sf === 1 || imm6 < 32;
}

/** The rotation is reserved for additions. */
function isAdditionShift(fields: Registers<"sf" | "imm6" | "shift">): boolean {
  return fields.shift !== Shift.ror && isShiftAmount(fields);
}

function addSubtractText(
  { mnemonic, subtracts, setsFlags }: AddSubtract,
  { sf, Rm, Rn, Rd }: Registers<"sf" | "Rm" | "Rn" | "Rd">,
  shift: string,
): string {
  const [rd, rn, rm] = [registerName(sf, Rd), registerName(sf, Rn), `${registerName(sf, Rm)}${shift}`];
  if (setsFlags && Rd === 31) return assembly(subtracts ? "cmp" : "cmn", rn, rm);
  if (subtracts && Rn === 31) return assembly(setsFlags ? "negs" : "neg", rd, rm);
  return assembly(mnemonic.toLowerCase(), rd, rn, rm);
}

const amountOfImm6 = { u16: ({ imm6 }: Registers<"imm6">): number => imm6 };

function comparePlain(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${comparisonName(operation)} (register)`,
    reference: SHIFTED_CLASS,
    pattern: `sf:1 ${operation.opcode} 01011 shift:2 0 Rm:5 000000 Rn:5 11111`,
    formFields: ["sf"],
    where: ({ shift }) => shift !== Shift.ror,
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm") },
    text: (fields) => addSubtractText(operation, { ...fields, Rd: 31 }, shiftText(fields.shift, 0)),
    execute({ sf }, { rn, rm }, stage) {
      const width = widthOf(sf);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), stage.readAt(width, rm));
    },
  });
}

function addSubtractPlain(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (register)`,
    reference: SHIFTED_CLASS,
    pattern: `sf:1 ${operation.opcode} 01011 shift:2 0 Rm:5 000000 Rn:5 Rd:5`,
    formFields: ["sf"],
    where: ({ shift }) => shift !== Shift.ror,
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text: (fields) => addSubtractText(operation, fields, shiftText(fields.shift, 0)),
    execute({ sf }, { rn, rm, rd }, stage) {
      const width = widthOf(sf);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), stage.readAt(width, rm), rd);
    },
  });
}

function addSubtractShifted(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (shifted register)`,
    reference: SHIFTED_CLASS,
    pattern: `sf:1 ${operation.opcode} 01011 shift:2 0 Rm:5 imm6:6 Rn:5 Rd:5`,
    formFields: ["sf", "shift"],
    where: isAdditionShift,
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd"), amount: amountOfImm6 },
    text: (fields) => addSubtractText(operation, fields, shiftText(fields.shift, fields.imm6)),
    execute({ sf, shift }, { rn, rm, rd, amount }, stage) {
      const width = widthOf(sf);
      const right = shifted(stage, width, shift, stage.readAt(width, rm), amount);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), right, rd);
    },
  });
}

// Extended registers

/** The register that an extension takes as a whole: UXTW for W, UXTX for X. Shown as LSL next to the stack pointer. */
function isWholeRegister(sf: number, option: number): boolean {
  return option === (sf === 1 ? 3 : 2);
}

function extendedText(sf: number, Rm: number, option: number, amount: number, besideSp: boolean): string {
  const rm = registerName(sf === 1 && (option & 3) === 3 ? 1 : 0, Rm);
  if (besideSp && isWholeRegister(sf, option)) return `${rm}${shiftText(Shift.lsl, amount)}`;
  return `${rm}, ${extendName(option)}${amount === 0 ? "" : ` #${amount}`}`;
}

function addSubtractExtended(operation: AddSubtract): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (extended register)`,
    reference: EXTENDED_CLASS,
    pattern: `sf:1 ${operation.opcode} 01011 00 1 Rm:5 option:3 imm3:3 Rn:5 Rd:5`,
    formFields: ["sf", "option"],
    where: ({ imm3 }) => imm3 <= 4,
    operands: {
      rn: xOrSp("Rn"),
      rm: sourceX("Rm"),
      rd: operation.setsFlags ? destinationX("Rd") : xOrSp("Rd"),
      amount: { u16: ({ imm3 }) => imm3 },
    },
    text({ sf, Rm, option, imm3, Rn, Rd }) {
      const besideSp = Rn === 31 || (Rd === 31 && !operation.setsFlags);
      const right = extendedText(sf, Rm, option, imm3, besideSp);
      const rn = registerNameOrSp(sf, Rn);
      if (operation.setsFlags && Rd === 31) return assembly(comparisonName(operation).toLowerCase(), rn, right);
      const rd = operation.setsFlags ? registerName(sf, Rd) : registerNameOrSp(sf, Rd);
      return assembly(operation.mnemonic.toLowerCase(), rd, rn, right);
    },
    execute({ sf, option }, { rn, rm, rd, amount }, stage) {
      const width = widthOf(sf);
      const right = shifted(stage, width, Shift.lsl, extendedRegister(stage, width, option, rm), amount);
      addOrSubtract(stage, operation, width, stage.readAt(width, rn), right, rd);
    },
  });
}

// Logical

function logicalText(
  { mnemonic }: Logical,
  { sf, Rm, Rn, Rd }: Registers<"sf" | "Rm" | "Rn" | "Rd">,
  shift: string,
  isPlain: boolean,
): string {
  const [rd, rn, rm] = [registerName(sf, Rd), registerName(sf, Rn), `${registerName(sf, Rm)}${shift}`];
  if (mnemonic === "ORR" && Rn === 31 && isPlain) return assembly("mov", rd, rm);
  if (mnemonic === "ORN" && Rn === 31) return assembly("mvn", rd, rm);
  if (mnemonic === "ANDS" && Rd === 31) return assembly("tst", rn, rm);
  return assembly(mnemonic.toLowerCase(), rd, rn, rm);
}

/** ORR of the zero register and Rm. */
const moveRegister = defineInstruction({
  mnemonic: "MOV (register)",
  reference: LOGICAL_CLASS,
  pattern: "sf:1 01 01010 00 0 Rm:5 000000 11111 Rd:5",
  formFields: ["sf"],
  operands: { rm: sourceX("Rm"), rd: destinationX("Rd") },
  text: ({ sf, Rm, Rd }) => assembly("mov", registerName(sf, Rd), registerName(sf, Rm)),
  execute({ sf }, { rm, rd }, stage) {
    const width = widthOf(sf);
    writeResult(stage, width, rd, stage.readAt(width, rm));
  },
});

const ANDS: Logical = { mnemonic: "ANDS", opcode: "11", inverts: "0", operation: "and", setsFlags: true };

const testRegister = defineInstruction({
  mnemonic: "TST (register)",
  reference: LOGICAL_CLASS,
  pattern: "sf:1 11 01010 shift:2 0 Rm:5 000000 Rn:5 11111",
  formFields: ["sf"],
  operands: { rn: sourceX("Rn"), rm: sourceX("Rm") },
  text: (fields) => logicalText(ANDS, { ...fields, Rd: 31 }, shiftText(fields.shift, 0), true),
  execute({ sf }, { rn, rm }, stage) {
    const width = widthOf(sf);
    logical(stage, ANDS, width, stage.readAt(width, rn), stage.readAt(width, rm));
  },
});

function logicalPlain(operation: Logical): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (register)`,
    reference: LOGICAL_CLASS,
    pattern: `sf:1 ${operation.opcode} 01010 shift:2 ${operation.inverts} Rm:5 000000 Rn:5 Rd:5`,
    formFields: ["sf"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text: (fields) => logicalText(operation, fields, shiftText(fields.shift, 0), fields.shift === Shift.lsl),
    execute({ sf }, { rn, rm, rd }, stage) {
      const width = widthOf(sf);
      const value = stage.readAt(width, rm);
      const right = operation.inverts === "1" ? stage.not(value) : value;
      logical(stage, operation, width, stage.readAt(width, rn), right, rd);
    },
  });
}

function logicalShifted(operation: Logical): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (shifted register)`,
    reference: LOGICAL_CLASS,
    pattern: `sf:1 ${operation.opcode} 01010 shift:2 ${operation.inverts} Rm:5 imm6:6 Rn:5 Rd:5`,
    formFields: ["sf", "shift"],
    where: isShiftAmount,
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd"), amount: amountOfImm6 },
    text: (fields) => logicalText(operation, fields, shiftText(fields.shift, fields.imm6), false),
    execute({ sf, shift }, { rn, rm, rd, amount }, stage) {
      const width = widthOf(sf);
      const value = shifted(stage, width, shift, stage.readAt(width, rm), amount);
      const right = operation.inverts === "1" ? stage.not(value) : value;
      logical(stage, operation, width, stage.readAt(width, rn), right, rd);
    },
  });
}

// With carry

interface WithCarry {
  readonly mnemonic: "ADC" | "ADCS" | "SBC" | "SBCS";
  readonly opcode: "00" | "01" | "10" | "11";
}

const WITH_CARRY: readonly WithCarry[] = [
  { mnemonic: "ADC", opcode: "00" },
  { mnemonic: "ADCS", opcode: "01" },
  { mnemonic: "SBC", opcode: "10" },
  { mnemonic: "SBCS", opcode: "11" },
];

function addWithCarry({ mnemonic, opcode }: WithCarry): Instruction {
  const subtracts = opcode === "10" || opcode === "11";
  const setsFlags = opcode === "01" || opcode === "11";
  return defineInstruction({
    mnemonic,
    reference: CARRY_CLASS,
    pattern: `sf:1 ${opcode} 11010000 Rm:5 000000 Rn:5 Rd:5`,
    formFields: ["sf"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text({ sf, Rm, Rn, Rd }) {
      const [rd, rn, rm] = [registerName(sf, Rd), registerName(sf, Rn), registerName(sf, Rm)];
      if (subtracts && Rn === 31) return assembly(setsFlags ? "ngcs" : "ngc", rd, rm);
      return assembly(mnemonic.toLowerCase(), rd, rn, rm);
    },
    execute({ sf }, { rn, rm, rd }, stage) {
      const width = widthOf(sf);
      const left = stage.readAt(width, rn);
      const value = stage.readAt(width, rm);
      const right = subtracts ? stage.not(value) : value;
      const carry = stage.read(flagC);
      const sum = stage.add(stage.add(left, right), widen(stage, width, carry));
      if (setsFlags) setFlagsAddWithCarry(stage, width, left, right, carry, sum);
      writeResult(stage, width, rd, sum);
    },
  });
}

// Conditional

interface ConditionalCompare {
  readonly mnemonic: "CCMN" | "CCMP";
  readonly op: "0" | "1";
}

const CONDITIONAL_COMPARE: readonly ConditionalCompare[] = [
  { mnemonic: "CCMN", op: "0" },
  { mnemonic: "CCMP", op: "1" },
];

function conditionalCompare(
  stage: Stage,
  { op }: ConditionalCompare,
  width: RegisterWidth,
  cond: number,
  operands: { readonly left: Value<RegisterWidth>; readonly right: Value<RegisterWidth>; readonly nzcv: Value<32> },
): void {
  const { left, right, nzcv } = operands;
  stage.if(
    conditionHolds(stage, cond),
    () => {
      if (op === "1") setFlagsSubtract(stage, width, left, right, stage.sub(left, right));
      else setFlagsAdd(stage, width, left, right, stage.add(left, right));
    },
    () => setFlagsNzcv(stage, nzcv),
  );
}

function conditionalCompareRegister(operation: ConditionalCompare): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (register)`,
    reference: COMPARE_CLASS,
    pattern: `sf:1 ${operation.op} 1 11010010 Rm:5 cond:4 00 Rn:5 0 nzcv:4`,
    formFields: ["sf", "cond"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), nzcv: { u16: (fields) => fields.nzcv } },
    text: ({ sf, Rm, cond, Rn, nzcv }) =>
      assembly(
        operation.mnemonic.toLowerCase(),
        registerName(sf, Rn),
        registerName(sf, Rm),
        hexImmediate(nzcv),
        conditionName(cond),
      ),
    execute({ sf, cond }, { rn, rm, nzcv }, stage) {
      const width = widthOf(sf);
      const [left, right] = [stage.readAt(width, rn), stage.readAt(width, rm)];
      conditionalCompare(stage, operation, width, cond, { left, right, nzcv });
    },
  });
}

function conditionalCompareImmediate(operation: ConditionalCompare): Instruction {
  return defineInstruction({
    mnemonic: `${operation.mnemonic} (immediate)`,
    reference: COMPARE_CLASS,
    pattern: `sf:1 ${operation.op} 1 11010010 imm5:5 cond:4 10 Rn:5 0 nzcv:4`,
    formFields: ["sf", "cond"],
    operands: {
      rn: sourceX("Rn"),
      immediate: { u16: ({ imm5 }) => imm5 },
      nzcv: { u16: (fields) => fields.nzcv },
    },
    text: ({ sf, imm5, cond, Rn, nzcv }) =>
      assembly(
        operation.mnemonic.toLowerCase(),
        registerName(sf, Rn),
        hexImmediate(imm5),
        hexImmediate(nzcv),
        conditionName(cond),
      ),
    execute({ sf, cond }, { rn, immediate, nzcv }, stage) {
      const width = widthOf(sf);
      const [left, right] = [stage.readAt(width, rn), widen(stage, width, immediate)];
      conditionalCompare(stage, operation, width, cond, { left, right, nzcv });
    },
  });
}

/** AL and NV always hold: their inversions have no name of their own. */
function isInvertible(cond: number): boolean {
  return cond < 14;
}

/** CSINC and CSINV of the zero register twice: a truth value, or all ones. */
function conditionalSet(mnemonic: "CSET" | "CSETM", op: "0" | "1", op2: "00" | "01"): Instruction {
  return defineInstruction({
    mnemonic,
    reference: SELECT_CLASS,
    pattern: `sf:1 ${op} 0 11010100 11111 cond:4 ${op2} 11111 Rd:5`,
    formFields: ["sf", "cond"],
    where: ({ cond }) => isInvertible(cond),
    operands: { rd: destinationX("Rd") },
    text: ({ sf, cond, Rd }) => assembly(mnemonic.toLowerCase(), registerName(sf, Rd), conditionName(cond ^ 1)),
    execute({ sf, cond }, { rd }, stage) {
      const holds = conditionHolds(stage, cond ^ 1);
      if (mnemonic === "CSET") return stage.writeAt(rd, stage.zeroExtend64(holds));
      const width = widthOf(sf);
      writeResult(stage, width, rd, stage.sub(constant(stage, width, 0), widen(stage, width, holds)));
    },
  });
}

interface ConditionalSelect {
  readonly mnemonic: "CSEL" | "CSINC" | "CSINV" | "CSNEG";
  readonly op: "0" | "1";
  readonly op2: "00" | "01";
  /** What the instruction is called when both sources are one register: the condition is inverted then. */
  readonly alias: string | undefined;
}

const CONDITIONAL_SELECT: readonly ConditionalSelect[] = [
  { mnemonic: "CSEL", op: "0", op2: "00", alias: undefined },
  { mnemonic: "CSINC", op: "0", op2: "01", alias: "cinc" },
  { mnemonic: "CSINV", op: "1", op2: "00", alias: "cinv" },
  { mnemonic: "CSNEG", op: "1", op2: "01", alias: "cneg" },
];

function otherwiseValue(
  stage: Stage,
  { mnemonic }: ConditionalSelect,
  width: RegisterWidth,
  value: Value<RegisterWidth>,
): Value<RegisterWidth> {
  switch (mnemonic) {
    case "CSEL":
      return value;
    case "CSINC":
      return stage.add(value, constant(stage, width, 1));
    case "CSINV":
      return stage.not(value);
    case "CSNEG":
      return stage.sub(constant(stage, width, 0), value);
    default:
      return mnemonic satisfies never;
  }
}

function conditionalSelect(operation: ConditionalSelect): Instruction {
  return defineInstruction({
    mnemonic: operation.mnemonic,
    reference: SELECT_CLASS,
    pattern: `sf:1 ${operation.op} 0 11010100 Rm:5 cond:4 ${operation.op2} Rn:5 Rd:5`,
    formFields: ["sf", "cond"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text({ sf, Rm, cond, Rn, Rd }) {
      const [rd, rn, rm] = [registerName(sf, Rd), registerName(sf, Rn), registerName(sf, Rm)];
      if (operation.alias !== undefined && Rn === Rm && isInvertible(cond)) {
        return assembly(operation.alias, rd, rn, conditionName(cond ^ 1));
      }
      return assembly(operation.mnemonic.toLowerCase(), rd, rn, rm, conditionName(cond));
    },
    execute({ sf, cond }, { rn, rm, rd }, stage) {
      const width = widthOf(sf);
      const otherwise = otherwiseValue(stage, operation, width, stage.readAt(width, rm));
      writeResult(stage, width, rd, stage.select(conditionHolds(stage, cond), stage.readAt(width, rn), otherwise));
    },
  });
}

// One source

/** Exchanges neighbouring groups of `bits` bits; `mask` selects the lower one of each pair. */
function swapGroups(
  stage: Stage,
  width: RegisterWidth,
  value: Value<RegisterWidth>,
  bits: number,
  mask: bigint,
): Value<RegisterWidth> {
  const lower = constant(stage, width, mask);
  return stage.or(stage.and(stage.shiftRight(value, bits), lower), stage.shiftLeft(stage.and(value, lower), bits));
}

const ODD_BITS = 0x5555_5555_5555_5555n;
const ODD_PAIRS = 0x3333_3333_3333_3333n;
const ODD_NIBBLES = 0x0f0f_0f0f_0f0f_0f0fn;
const ODD_BYTES = 0x00ff_00ff_00ff_00ffn;
const ODD_HALFWORDS = 0x0000_ffff_0000_ffffn;

/** Reverses the bytes in every element of `element` bits. */
function reverseBytes(
  stage: Stage,
  width: RegisterWidth,
  value: Value<RegisterWidth>,
  element: 16 | 32 | 64,
): Value<RegisterWidth> {
  const inHalfwords = swapGroups(stage, width, value, 8, ODD_BYTES);
  if (element === 16) return inHalfwords;
  if (width === 32) return stage.binary("rotr", inHalfwords, constant(stage, width, 16));
  const inWords = swapGroups(stage, width, inHalfwords, 16, ODD_HALFWORDS);
  return element === 32 ? inWords : stage.binary("rotr", inWords, constant(stage, width, 32));
}

function reverseBits(stage: Stage, width: RegisterWidth, value: Value<RegisterWidth>): Value<RegisterWidth> {
  const bits = swapGroups(stage, width, value, 1, ODD_BITS);
  const pairs = swapGroups(stage, width, bits, 2, ODD_PAIRS);
  const nibbles = swapGroups(stage, width, pairs, 4, ODD_NIBBLES);
  return reverseBytes(stage, width, nibbles, width);
}

/** Arm ARM: CountLeadingSignBits: the sign bit itself is not counted. */
function countLeadingSignBits(stage: Stage, width: RegisterWidth, value: Value<RegisterWidth>): Value<RegisterWidth> {
  const changes = stage.xor(value, stage.shiftRightSigned(value, 1));
  return stage.sub(stage.unary("clz", changes), constant(stage, width, 1));
}

type OneSourceOperation = (stage: Stage, width: RegisterWidth, value: Value<RegisterWidth>) => Value<RegisterWidth>;

function oneSource(
  name: string,
  opcode: "000000" | "000001" | "000010" | "000011" | "000100" | "000101",
  operation: OneSourceOperation,
  only64 = false,
): Instruction {
  return defineInstruction({
    mnemonic: name,
    reference: ONE_SOURCE_CLASS,
    pattern: `sf:1 1 0 11010110 00000 ${opcode} Rn:5 Rd:5`,
    formFields: ["sf"],
    where: ({ sf }) => sf === 1 || !only64,
    operands: { rn: sourceX("Rn"), rd: destinationX("Rd") },
    text({ sf, Rn, Rd }) {
      const shown = name === "REV32" && sf === 0 ? "rev" : name.toLowerCase();
      return assembly(shown, registerName(sf, Rd), registerName(sf, Rn));
    },
    execute({ sf }, { rn, rd }, stage) {
      const width = widthOf(sf);
      writeResult(stage, width, rd, operation(stage, width, stage.readAt(width, rn)));
    },
  });
}

const ONE_SOURCE: readonly Instruction[] = [
  oneSource("RBIT", "000000", reverseBits),
  oneSource("REV16", "000001", (stage, width, value) => reverseBytes(stage, width, value, 16)),
  // The W form of this opcode is REV.
  oneSource("REV32", "000010", (stage, width, value) => reverseBytes(stage, width, value, 32)),
  oneSource("REV", "000011", (stage, width, value) => reverseBytes(stage, width, value, 64), true),
  oneSource("CLZ", "000100", (stage, _width, value) => stage.unary("clz", value)),
  oneSource("CLS", "000101", countLeadingSignBits),
];

// Two sources

type TwoSourceOperation = (
  stage: Stage,
  width: RegisterWidth,
  left: Value<RegisterWidth>,
  right: Value<RegisterWidth>,
) => Value<RegisterWidth>;

/** Division by zero gives zero. */
function divideUnsigned(...[stage, width, left, right]: Parameters<TwoSourceOperation>): Value<RegisterWidth> {
  return stage.choose(
    isZeroAt(stage, width, right),
    () => constant(stage, width, 0),
    () => stage.binary("div_u", left, right),
  );
}

/** By 0 and -1, which the host's division traps on, the quotient (0, or the negated dividend) equals the product. */
function divideSigned(...[stage, width, left, right]: Parameters<TwoSourceOperation>): Value<RegisterWidth> {
  const one = constant(stage, width, 1);
  return stage.choose(
    compareAt(stage, width, "le_u", stage.add(right, one), one),
    () => stage.binary("mul", left, right),
    () => stage.binary("div_s", left, right),
  );
}

function twoSource(
  mnemonic: string,
  shown: string,
  opcode: "000010" | "000011" | "001000" | "001001" | "001010" | "001011",
  operation: TwoSourceOperation,
): Instruction {
  return defineInstruction({
    mnemonic,
    reference: TWO_SOURCE_CLASS,
    pattern: `sf:1 0 0 11010110 Rm:5 ${opcode} Rn:5 Rd:5`,
    formFields: ["sf"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text: ({ sf, Rm, Rn, Rd }) => assembly(shown, registerName(sf, Rd), registerName(sf, Rn), registerName(sf, Rm)),
    execute({ sf }, { rn, rm, rd }, stage) {
      const width = widthOf(sf);
      writeResult(stage, width, rd, operation(stage, width, stage.readAt(width, rn), stage.readAt(width, rm)));
    },
  });
}

/** The host takes shift amounts modulo the width, as these do. */
const TWO_SOURCE: readonly Instruction[] = [
  twoSource("UDIV", "udiv", "000010", divideUnsigned),
  twoSource("SDIV", "sdiv", "000011", divideSigned),
  twoSource("LSLV", "lsl", "001000", (stage, _width, left, right) => stage.binary("shl", left, right)),
  twoSource("LSRV", "lsr", "001001", (stage, _width, left, right) => stage.binary("shr_u", left, right)),
  twoSource("ASRV", "asr", "001010", (stage, _width, left, right) => stage.binary("shr_s", left, right)),
  twoSource("RORV", "ror", "001011", (stage, _width, left, right) => stage.binary("rotr", left, right)),
];

/** The polynomials 0x04C11DB7 and 0x1EDC6F41, bits reversed. By C, then by sz. */
const CHECKSUMS = [
  { name: "crc32", polynomial: 0xedb8_8320n },
  { name: "crc32c", polynomial: 0x82f6_3b78n },
].map(({ name, polynomial }) =>
  ["b", "h", "w", "x"].map((letter, sz) => crc32Routine(`${name}${letter}`, 8 << sz, polynomial)),
);

const checksum = defineInstruction({
  mnemonic: "CRC32, CRC32C",
  reference: TWO_SOURCE_CLASS,
  pattern: "sf:1 0 0 11010110 Rm:5 010 C:1 sz:2 Rn:5 Rd:5",
  formFields: ["C", "sz"],
  where: ({ sf, sz }) => (sf === 1) === (sz === 3),
  operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
  text: ({ sf, Rm, C, sz, Rn, Rd }) =>
    assembly(
      `crc32${C === 1 ? "c" : ""}${"bhwx"[sz] ?? ""}`,
      registerName(0, Rd),
      registerName(0, Rn),
      registerName(sf, Rm),
    ),
  execute({ C, sz }, { rn, rm, rd }, stage) {
    const routine = CHECKSUMS[C]?.[sz];
    if (routine === undefined) throw new RangeError(`no checksum has C ${C} and sz ${sz}`);
    const checksumOfData = stage.call(routine, stage.readAt(32, rn), stage.readAt(64, rm));
    stage.writeAt(rd, stage.zeroExtend64(checksumOfData));
  },
});

// Three sources

function multiplyAdd(mnemonic: "MADD" | "MSUB", o0: "0" | "1"): Instruction {
  const withoutAddend = mnemonic === "MADD" ? "mul" : "mneg";
  return defineInstruction({
    mnemonic,
    reference: THREE_SOURCE_CLASS,
    pattern: `sf:1 00 11011 000 Rm:5 ${o0} Ra:5 Rn:5 Rd:5`,
    formFields: ["sf"],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), ra: sourceX("Ra"), rd: destinationX("Rd") },
    text({ sf, Rm, Ra, Rn, Rd }) {
      const factors = [registerName(sf, Rd), registerName(sf, Rn), registerName(sf, Rm)];
      if (Ra === 31) return assembly(withoutAddend, ...factors);
      return assembly(mnemonic.toLowerCase(), ...factors, registerName(sf, Ra));
    },
    execute({ sf }, { rn, rm, ra, rd }, stage) {
      const width = widthOf(sf);
      const product = stage.binary("mul", stage.readAt(width, rn), stage.readAt(width, rm));
      const addend = stage.readAt(width, ra);
      writeResult(stage, width, rd, mnemonic === "MADD" ? stage.add(addend, product) : stage.sub(addend, product));
    },
  });
}

/** SMADDL and its kin: a 64-bit product of two words. */
function multiplyAddLong(sign: "S" | "U", operation: "MADDL" | "MSUBL", u: "0" | "1", o0: "0" | "1"): Instruction {
  const mnemonic = `${sign}${operation}`;
  const withoutAddend = `${sign}${operation === "MADDL" ? "mull" : "mnegl"}`.toLowerCase();
  return defineInstruction({
    mnemonic,
    reference: THREE_SOURCE_CLASS,
    pattern: `1 00 11011 ${u} 01 Rm:5 ${o0} Ra:5 Rn:5 Rd:5`,
    formFields: [],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), ra: sourceX("Ra"), rd: destinationX("Rd") },
    text({ Rm, Ra, Rn, Rd }) {
      const factors = [registerName(1, Rd), registerName(0, Rn), registerName(0, Rm)];
      if (Ra === 31) return assembly(withoutAddend, ...factors);
      return assembly(mnemonic.toLowerCase(), ...factors, registerName(1, Ra));
    },
    execute(_form, { rn, rm, ra, rd }, stage) {
      const extend = (word: Value<32>): Value<64> =>
        sign === "S" ? stage.signExtend64(word) : stage.zeroExtend64(word);
      const product = stage.binary("mul", extend(stage.readAt(32, rn)), extend(stage.readAt(32, rm)));
      const addend = stage.readAt(64, ra);
      stage.writeAt(rd, operation === "MADDL" ? stage.add(addend, product) : stage.sub(addend, product));
    },
  });
}

/** Ra should be all ones; other values are ignored. */
function multiplyHigh(mnemonic: "SMULH" | "UMULH", u: "0" | "1"): Instruction {
  return defineInstruction({
    mnemonic,
    reference: THREE_SOURCE_CLASS,
    pattern: `1 00 11011 ${u} 10 Rm:5 0 xxxxx Rn:5 Rd:5`,
    formFields: [],
    operands: { rn: sourceX("Rn"), rm: sourceX("Rm"), rd: destinationX("Rd") },
    text: ({ Rm, Rn, Rd }) =>
      assembly(mnemonic.toLowerCase(), registerName(1, Rd), registerName(1, Rn), registerName(1, Rm)),
    execute(_form, { rn, rm, rd }, stage) {
      const [left, right] = [stage.readAt(64, rn), stage.readAt(64, rm)];
      const high =
        mnemonic === "SMULH" ? stage.multiplyHighSigned(left, right) : stage.multiplyHighUnsigned(left, right);
      stage.writeAt(rd, high);
    },
  });
}

/** In order of precedence: the cheap special cases of an encoding stand before the general one. */
export const dataProcessingRegister: readonly Instruction[] = [
  ...ADD_SUBTRACT_WITH_FLAGS.map(comparePlain),
  ...ADD_SUBTRACT.map(addSubtractPlain),
  ...ADD_SUBTRACT.map(addSubtractShifted),
  ...ADD_SUBTRACT.map(addSubtractExtended),
  moveRegister,
  testRegister,
  ...LOGICAL.map(logicalPlain),
  ...LOGICAL.map(logicalShifted),
  ...WITH_CARRY.map(addWithCarry),
  ...CONDITIONAL_COMPARE.map(conditionalCompareRegister),
  ...CONDITIONAL_COMPARE.map(conditionalCompareImmediate),
  conditionalSet("CSET", "0", "01"),
  conditionalSet("CSETM", "1", "00"),
  ...CONDITIONAL_SELECT.map(conditionalSelect),
  ...ONE_SOURCE,
  ...TWO_SOURCE,
  checksum,
  multiplyAdd("MADD", "0"),
  multiplyAdd("MSUB", "1"),
  multiplyAddLong("S", "MADDL", "0", "0"),
  multiplyAddLong("S", "MSUBL", "0", "1"),
  multiplyAddLong("U", "MADDL", "1", "0"),
  multiplyAddLong("U", "MSUBL", "1", "1"),
  multiplyHigh("SMULH", "0"),
  multiplyHigh("UMULH", "1"),
];
