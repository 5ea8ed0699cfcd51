/**
 * x87: loading and storing the 80-bit format, and addition in it. References: sections of Intel SDM volume 2; exceptions
 * volume 1, 8.5.
 *
 * FADD has no operand of 80 bits in memory: programs load one with FLD m80fp and add registers.
 */
import {
  engineFields,
  ExtendedOperation,
  extendedFloat,
  FloatControl,
  FloatFlag,
  type Instruction,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { addressText, assembly } from "../assembly-text.js";
import { accessMemory, effectiveAddress } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import {
  anyUnmasked,
  type ExtendedValue,
  FloatStatus,
  indefinite,
  isEmpty,
  moveTop,
  pop,
  PRECISION_CONTROL_SHIFT,
  readFloat,
  recordPointers,
  reportExceptions,
  ROUNDING_CONTROL_SHIFT,
  setFull,
  stackRegister,
  waitForFloatUnit,
  writeFloat,
} from "../float-unit.js";
import { memoryOperand, stackIndex } from "../operands.js";
import { fcw } from "../state.js";

/** FOP: the low three bits of the opcode's first byte, and ModRM. */
function opcodeOf(first: number): { readonly u16: (fields: DecodedFields) => number } {
  return { u16: ({ modrm }) => ((first & 7) << 8) | modrm };
}

const STACK_FAULT = FloatStatus.IE | FloatStatus.SF;

/** Truth: stack faults have no handler. */
function stackFaultIsMasked(stage: Stage): Value<32> {
  return stage.isZero(anyUnmasked(stage, stage.constant32(FloatStatus.IE)));
}

/** The control of the software floats that the control word asks for. */
function floatControl(stage: Stage): Value<32> {
  const control = stage.read(fcw);
  const rounding = stage.extractBits(control, ROUNDING_CONTROL_SHIFT, 2);
  // Down and up have their numbers the other way round.
  const swapped = stage.or(stage.shiftLeft(stage.and(rounding, stage.constant32(1)), 1), stage.shiftRight(rounding, 1));
  const precision = stage.extractBits(control, PRECISION_CONTROL_SHIFT, 2);
  const unmasked = stage.not(control);
  const trap = (mask: number, option: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(unmasked, Math.log2(mask), 1), Math.log2(option));
  return [
    stage.shiftLeft(precision, FloatControl.precisionShift),
    trap(FloatStatus.OE, FloatControl.overflowTrapped),
    trap(FloatStatus.UE, FloatControl.underflowTrapped),
  ].reduce((sum, part) => stage.or(sum, part), swapped);
}

/** Exceptions of the software floats as bits of the status word. */
function statusOf(stage: Stage, flags: Value<32>): Value<32> {
  const move = (flag: number, to: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(flags, Math.log2(flag), 1), Math.log2(to));
  return [
    move(FloatFlag.denormalOperand, FloatStatus.DE),
    move(FloatFlag.divideByZero, FloatStatus.ZE),
    move(FloatFlag.overflow, FloatStatus.OE),
    move(FloatFlag.underflow, FloatStatus.UE),
    move(FloatFlag.inexact, FloatStatus.PE),
    move(FloatFlag.roundedUp, FloatStatus.C1),
  ].reduce((sum, part) => stage.or(sum, part), move(FloatFlag.invalidOperation, FloatStatus.IE));
}

interface Sum {
  readonly value: ExtendedValue;
  readonly status: Value<32>;
}

/** `left` plus a number of the 80-bit format, or the bits of a shorter one in `low`. */
function addFloats(stage: Stage, operation: number, left: ExtendedValue, right: ExtendedValue): Sum {
  const { floatA, floatB, floatHigh, floatControl: control, floatFlags, floatResult } = engineFields;
  const high = stage.or(stage.zeroExtendFrom(16, left.high), stage.shiftLeft(stage.zeroExtendFrom(16, right.high), 16));
  stage.write(floatA, left.low);
  stage.write(floatB, right.low);
  stage.write(floatHigh, high);
  stage.write(control, floatControl(stage));
  stage.write(floatFlags, stage.constant32(0));
  stage.callHost(extendedFloat, stage.constant32(operation));
  return {
    value: { low: stage.read(floatResult), high: stage.extractBits(stage.read(floatHigh), 32, 16) },
    status: statusOf(stage, stage.read(floatFlags)),
  };
}

interface Addition {
  readonly operation: number;
  readonly destination: Value<32>;
  readonly left: ExtendedValue;
  readonly right: ExtendedValue;
  /** Truth: an operand is an empty register. */
  readonly underflows: Value<32>;
  /** The register that is popped, once the result is stored. */
  readonly popped?: Value<32>;
}

function addAndReport(stage: Stage, addition: Addition): void {
  const { destination, popped } = addition;
  const store = (value: ExtendedValue): void => {
    writeFloat(stage, destination, value);
    setFull(stage, destination);
    if (popped !== undefined) pop(stage, popped);
  };
  stage.if(
    addition.underflows,
    () => {
      reportExceptions(stage, stage.constant32(STACK_FAULT));
      stage.if(stackFaultIsMasked(stage), () => store(indefinite(stage)));
    },
    () => {
      const { value, status } = addFloats(stage, addition.operation, addition.left, addition.right);
      // These leave the destination alone where they have a handler; the others give it their result.
      const before = stage.and(status, stage.constant32(FloatStatus.IE | FloatStatus.DE | FloatStatus.ZE));
      const stores = stage.isZero(anyUnmasked(stage, before));
      reportExceptions(stage, status);
      stage.if(stores, () => store(value));
    },
  );
}

type RegisterForm = "ST(0), ST(i)" | "ST(i), ST(0)" | "pop";

const REGISTER_FORMS: Readonly<Record<RegisterForm, { readonly opcode: number; readonly mnemonic: string }>> = {
  "ST(0), ST(i)": { opcode: 0xd8, mnemonic: "FADD (ST(0), ST(i))" },
  "ST(i), ST(0)": { opcode: 0xdc, mnemonic: "FADD (ST(i), ST(0))" },
  pop: { opcode: 0xde, mnemonic: "FADDP" },
};

const FADD_REFERENCE = "3.3 FADD/FADDP/FIADD";

function faddRegister(form: RegisterForm): Instruction {
  const { opcode, mnemonic } = REGISTER_FORMS[form];
  const toTop = form === "ST(0), ST(i)";
  return defineEncoded({
    mnemonic,
    reference: FADD_REFERENCE,
    pattern: `${opcode.toString(16).toUpperCase()} /0 reg`,
    formFields: [],
    operands: { index: stackIndex, opcode: opcodeOf(opcode) },
    text: (fields, pc) => {
      const other = `st(${fields.rm & 7})`;
      return assembly(fields, pc, form === "pop" ? "faddp" : "fadd", ...(toTop ? ["st", other] : [other, "st"]));
    },
    execute(_form, operands, stage) {
      waitForFloatUnit(stage);
      const top = stackRegister(stage, stage.constant32(0));
      const other = stackRegister(stage, operands.index);
      const destination = toTop ? top : other;
      const addition: Addition = {
        operation: ExtendedOperation.add,
        destination,
        left: readFloat(stage, destination),
        right: readFloat(stage, toTop ? other : top),
        underflows: stage.or(isEmpty(stage, top), isEmpty(stage, other)),
      };
      recordPointers(stage, operands.opcode, undefined);
      addAndReport(stage, form === "pop" ? { ...addition, popped: top } : addition);
    },
  });
}

function faddMemory(bits: 32 | 64): Instruction {
  const opcode = bits === 32 ? 0xd8 : 0xdc;
  return defineEncoded({
    mnemonic: `FADD (m${bits}fp)`,
    reference: FADD_REFERENCE,
    pattern: `${opcode.toString(16).toUpperCase()} /0 mem`,
    formFields: [],
    operands: { ...memoryOperand, opcode: opcodeOf(opcode) },
    text: (fields, pc) => assembly(fields, pc, "fadd", `${bits === 32 ? "D" : "Q"}WORD PTR ${addressText(fields)}`),
    execute(_form, operands, stage) {
      waitForFloatUnit(stage);
      const handle = accessMemory(stage, operands, bits / 8, "read");
      const top = stackRegister(stage, stage.constant32(0));
      const addition: Addition = {
        operation: bits === 32 ? ExtendedOperation.addBinary32 : ExtendedOperation.addBinary64,
        destination: top,
        left: readFloat(stage, top),
        right: { low: stage.load(64, handle, 0, bits), high: stage.constant64(0) },
        underflows: isEmpty(stage, top),
      };
      recordPointers(stage, operands.opcode, effectiveAddress(stage, operands));
      addAndReport(stage, addition);
    },
  });
}

/** No operand is invalid: signalling NaNs and patterns that mean nothing are loaded as they are. */
const fldExtended = defineEncoded({
  mnemonic: "FLD (m80fp)",
  reference: "3.3 FLD",
  pattern: "DB /5 mem",
  formFields: [],
  operands: { ...memoryOperand, opcode: opcodeOf(0xdb) },
  text: (fields, pc) => assembly(fields, pc, "fld", `TBYTE PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    waitForFloatUnit(stage);
    const handle = accessMemory(stage, operands, 10, "read");
    const loaded: ExtendedValue = { low: stage.load(64, handle, 0, 64), high: stage.load(64, handle, 8, 16) };
    const destination = stackRegister(stage, stage.constant32(-1));
    const push = (value: ExtendedValue): void => {
      moveTop(stage, -1);
      writeFloat(stage, destination, value);
      setFull(stage, destination);
    };
    recordPointers(stage, operands.opcode, effectiveAddress(stage, operands));
    stage.if(
      isEmpty(stage, destination),
      () => {
        reportExceptions(stage, stage.constant32(0));
        push(loaded);
      },
      () => {
        // C1 tells an overflow of the stack from an underflow.
        reportExceptions(stage, stage.constant32(STACK_FAULT | FloatStatus.C1));
        stage.if(stackFaultIsMasked(stage), () => push(indefinite(stage)));
      },
    );
  },
});

/** Stores without rounding, and pops. */
const fstpExtended = defineEncoded({
  mnemonic: "FSTP (m80fp)",
  reference: "3.3 FST/FSTP",
  pattern: "DB /7 mem",
  formFields: [],
  operands: { ...memoryOperand, opcode: opcodeOf(0xdb) },
  text: (fields, pc) => assembly(fields, pc, "fstp", `TBYTE PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    waitForFloatUnit(stage);
    const handle = accessMemory(stage, operands, 10, "write");
    const top = stackRegister(stage, stage.constant32(0));
    const stored = readFloat(stage, top);
    const store = ({ low, high }: ExtendedValue): void => {
      stage.store(handle, 0, 64, low);
      stage.store(handle, 8, 16, high);
      pop(stage, top);
    };
    recordPointers(stage, operands.opcode, effectiveAddress(stage, operands));
    stage.if(
      isEmpty(stage, top),
      () => {
        reportExceptions(stage, stage.constant32(STACK_FAULT));
        stage.if(stackFaultIsMasked(stage), () => store(indefinite(stage)));
      },
      () => {
        reportExceptions(stage, stage.constant32(0));
        store(stored);
      },
    );
  },
});

export const x87Instructions: readonly Instruction[] = [
  faddRegister("ST(0), ST(i)"),
  faddRegister("ST(i), ST(0)"),
  faddRegister("pop"),
  faddMemory(32),
  faddMemory(64),
  fldExtended,
  fstpExtended,
];
