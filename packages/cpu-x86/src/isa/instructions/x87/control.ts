/** x87 and MMX: control, environment, state. References: Intel SDM volume 2; layouts volume 1, 8.1.10. */
import type { AccessHandle, Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly } from "../../assembly-text.js";
import { accessMemory } from "../../effective-address.js";
import { defineEncoded } from "../../encoding.js";
import { raiseException, Vector } from "../../exceptions.js";
import {
  FLOAT_EXCEPTIONS,
  FloatStatus,
  moveTop,
  popTop,
  raisePendingFloatError,
  readFloat,
  requireFloatUnit,
  setControlAndStatus,
  setEmpty,
  stackRegister,
  waitForFloatUnit,
  writeFloat,
} from "../../float-unit.js";
import { memoryOperand, stackIndex } from "../../operands.js";
import { Cr0 } from "../../registers.js";
import { cr0, fcw, fdp, fip, fop, fpuTags, fsw, gpr, Register } from "../../state.js";
import { enterMmx, requireMmx } from "../../vector-unit.js";
import { isVirtual } from "../../virtual-mode.js";
import { referenceOf, stackText } from "./definition.js";

const FCW_INITIAL = 0x37f;

interface ControlEncoding {
  readonly name: string;
  readonly pattern: string;
  readonly rm?: number;
  /** Begins with the check for an exception of an earlier instruction. */
  readonly waits: boolean;
}

/** An instruction that is not recorded in FOP, FIP and FDP. */
function control({ name, pattern, rm, waits }: ControlEncoding, execute: (stage: Stage) => void): Instruction {
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern,
    ...(rm === undefined ? {} : { where: ({ rm: register }) => (register & 7) === rm }),
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, name),
    execute(_form, _operands, stage) {
      if (waits) waitForFloatUnit(stage);
      else requireFloatUnit(stage);
      execute(stage);
    },
  });
}

function initialise(stage: Stage): void {
  stage.write(fcw, stage.constant32(FCW_INITIAL));
  for (const field of [fsw, fpuTags, fop]) stage.write(field, stage.constant32(0));
  for (const field of [fip, fdp]) stage.write(field, stage.constant64(0));
}

/** FNCLEX: exceptions, SF, ES and B. */
function clearExceptions(stage: Stage): void {
  const cleared = FLOAT_EXCEPTIONS | FloatStatus.SF | FloatStatus.ES | FloatStatus.B;
  stage.write(fsw, stage.and(stage.read(fsw), stage.constant32(~cleared)));
}

function clearC1(stage: Stage): void {
  stage.write(fsw, stage.and(stage.read(fsw), stage.constant32(~FloatStatus.C1)));
}

function turn(stage: Stage, by: 1 | -1): void {
  moveTop(stage, by);
  clearC1(stage);
}

/** FFREE, and FFREEP that pops (which the manual does not print). */
function free(name: string, opcode: string, pops: 0 | 1): Instruction {
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf("ffree"),
    pattern: `${opcode} /0 reg`,
    formFields: [],
    operands: { index: stackIndex },
    text: (fields, pc) => assembly(fields, pc, name, stackText(fields)),
    execute(_form, { index }, stage) {
      waitForFloatUnit(stage);
      setEmpty(stage, stackRegister(stage, index));
      clearC1(stage);
      popTop(stage, pops);
    },
  });
}

/** #NM while CR0.MP and CR0.TS are both set, then #MF. */
const fwait: Instruction = defineEncoded({
  mnemonic: "FWAIT",
  reference: "5.3 WAIT/FWAIT",
  pattern: "9B",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "fwait"),
  execute(_form, _operands, stage) {
    const both = Cr0.MP | Cr0.TS;
    const bits = stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(both));
    stage.if(stage.compare("eq", bits, stage.constant32(both)), () => raiseException(stage, Vector.deviceNotAvailable));
    raisePendingFloatError(stage);
  },
});

const emms: Instruction = defineEncoded({
  mnemonic: "EMMS",
  reference: "3.3 EMMS",
  pattern: "np 0F 77",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "emms"),
  execute(_form, _operands, stage) {
    requireMmx(stage);
    enterMmx(stage);
    stage.write(fpuTags, stage.constant32(0));
  },
});

const fnstswAx: Instruction = defineEncoded({
  mnemonic: "FNSTSW (AX)",
  reference: "3.3 FSTSW/FNSTSW",
  pattern: "DF /4 reg",
  where: ({ rm }) => (rm & 7) === 0,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "fnstsw", "ax"),
  execute(_form, _operands, stage) {
    requireFloatUnit(stage);
    const rax = { name: "rax", offset: gpr.offset + 8 * Register.rax, width: 64 } as const;
    const kept = stage.and(stage.read(rax), stage.constant64(~0xffffn));
    stage.write(rax, stage.or(kept, stage.zeroExtend64(stage.read(fsw))));
  },
});

/** FNSTSW, FNSTCW. */
function storeWord(name: string, pattern: string, field: typeof fsw): Instruction {
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (m16)`,
    reference: referenceOf(name),
    pattern,
    formFields: [],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, name, `WORD PTR ${addressText(fields)}`),
    execute(_form, operands, stage) {
      requireFloatUnit(stage);
      stage.store(accessMemory(stage, operands, 2, "write"), 0, 16, stage.read(field));
    },
  });
}

const fldcw: Instruction = defineEncoded({
  mnemonic: "FLDCW",
  reference: "3.3 FLDCW",
  pattern: "D9 /5 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "fldcw", `WORD PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    waitForFloatUnit(stage);
    const value = stage.load(32, accessMemory(stage, operands, 2, "read"), 0, 16);
    setControlAndStatus(stage, value, stage.read(fsw));
  },
});

// Environment and state in memory

/** Slots of the environment have 2 bytes with an operand size of 16 bits, else 4. */
function environmentBytes(size: number): 14 | 28 {
  return size === 1 ? 14 : 28;
}

const REGISTER_BYTES = 10;

/** The tag of each register in two bits: valid, zero, special, empty. */
function fullTags(stage: Stage): Value<32> {
  let tags = stage.constant32(0);
  for (let number = 0; number < 8; number++) {
    const { low, high } = readFloat(stage, stage.constant32(number));
    const exponent = stage.truncate32(stage.zeroExtendFrom(15, high));
    const extreme = stage.or(stage.isZero(exponent), stage.compare("eq", exponent, stage.constant32(0x7fff)));
    const special = stage.or(extreme, stage.isZero(stage.truncate32(stage.shiftRight(low, 63))));
    const isZero = stage.and(stage.isZero(low), stage.isZero(exponent));
    const full = stage.select(
      isZero,
      stage.constant32(1),
      stage.select(special, stage.constant32(2), stage.constant32(0)),
    );
    const filled = stage.and(stage.read(fpuTags), stage.constant32(1 << number));
    tags = stage.or(tags, stage.shiftLeft(stage.select(filled, full, stage.constant32(3)), 2 * number));
  }
  return tags;
}

/** A bit for each register whose two bits do not say that it is empty. */
function abridgedTags(stage: Stage, tags: Value<32>): Value<32> {
  let abridged = stage.constant32(0);
  for (let number = 0; number < 8; number++) {
    const tag = stage.extractBits(tags, 2 * number, 2);
    const filled = stage.compare("ne", tag, stage.constant32(3));
    abridged = stage.or(abridged, stage.shiftLeft(filled, number));
  }
  return abridged;
}

/** Truth: the formats of real and virtual-8086 mode hold, where an address is split in its low 16 bits and the rest. */
function isRealMode(stage: Stage): Value<32> {
  const real = stage.isZero(stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(Cr0.PE)));
  return stage.or(real, isVirtual(stage));
}

/** The rest of an address above its low 16 bits, from bit 12 on: 16 bits of it, or 4 in slots of 16 bits. */
function upperPart(stage: Stage, field: typeof fip, size: number): Value<32> {
  const rest = stage.truncate32(stage.extractBits(stage.read(field), 16, size === 1 ? 4 : 16));
  return stage.shiftLeft(rest, 12);
}

function low16(stage: Stage, field: typeof fip): Value<32> {
  return stage.zeroExtendFrom(16, stage.truncate32(stage.read(field)));
}

/** Instruction pointer, opcode (and selector), data pointer (and selector). Selectors are 0. */
function pointerSlots(stage: Stage, size: number): readonly Value<32>[] {
  const real = isRealMode(stage);
  const pick = (whenReal: Value<32>, otherwise: Value<32>): Value<32> => stage.select(real, whenReal, otherwise);
  const opcode = stage.read(fop);
  const zero = stage.constant32(0);
  const instruction = stage.or(upperPart(stage, fip, size), opcode);
  const data = upperPart(stage, fdp, size);
  if (size === 1) return [low16(stage, fip), pick(instruction, zero), low16(stage, fdp), pick(data, zero)];
  return [
    pick(low16(stage, fip), stage.truncate32(stage.read(fip))),
    pick(instruction, stage.shiftLeft(opcode, 16)),
    pick(low16(stage, fdp), stage.truncate32(stage.read(fdp))),
    pick(data, stage.constant32(UPPER_ONES)),
  ];
}

/** The upper halves of slots of 32 bits that hold 16. */
const UPPER_ONES = 0xffff_0000 | 0;

function storeEnvironment(stage: Stage, area: AccessHandle, size: number): void {
  const words = [stage.read(fcw), stage.read(fsw), fullTags(stage)];
  const filled = size === 1 ? words : words.map((word) => stage.or(word, stage.constant32(UPPER_ONES)));
  const bytes = size === 1 ? 2 : 4;
  [...filled, ...pointerSlots(stage, size)].forEach((word, slot) =>
    stage.store(area, bytes * slot, size === 1 ? 16 : 32, word),
  );
}

/** The address that two slots hold. */
function joined(stage: Stage, low: Value<32>, high: Value<32>): Value<64> {
  const whole = stage.or(stage.zeroExtendFrom(16, low), stage.shiftLeft(stage.extractBits(high, 12, 16), 16));
  return stage.zeroExtend64(stage.select(isRealMode(stage), whole, low));
}

function loadEnvironment(stage: Stage, area: AccessHandle, size: number): void {
  const slot = (number: number): Value<32> =>
    size === 1 ? stage.load(32, area, 2 * number, 16) : stage.load(32, area, 4 * number, 32);
  const low = (number: number): Value<32> => stage.zeroExtendFrom(16, slot(number));
  const real = isRealMode(stage);
  const selectorAndOpcode = size === 1 ? stage.constant32(0) : stage.extractBits(slot(4), 16, 11);
  setControlAndStatus(stage, low(0), low(1));
  stage.write(fpuTags, abridgedTags(stage, low(2)));
  stage.write(fip, joined(stage, slot(3), slot(4)));
  stage.write(fop, stage.select(real, stage.zeroExtendFrom(11, slot(4)), selectorAndOpcode));
  stage.write(fdp, joined(stage, slot(5), slot(6)));
}

interface StateInstruction {
  readonly name: string;
  readonly pattern: string;
  readonly mode: "read" | "write";
  readonly waits: boolean;
  readonly withRegisters: boolean;
  readonly execute: (stage: Stage, area: AccessHandle, size: number) => void;
}

function stateInstruction({ name, pattern, mode, waits, withRegisters, execute }: StateInstruction): Instruction {
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: referenceOf(name),
    pattern,
    formFields: ["size"],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, name, addressText(fields)),
    execute({ size }, operands, stage) {
      if (waits) waitForFloatUnit(stage);
      else requireFloatUnit(stage);
      const bytes = environmentBytes(size) + (withRegisters ? 8 * REGISTER_BYTES : 0);
      execute(stage, accessMemory(stage, operands, bytes, mode), size);
    },
  });
}

/** All exceptions are masked then. */
const fnstenv = stateInstruction({
  name: "fnstenv",
  pattern: "D9 /6 mem",
  mode: "write",
  waits: false,
  withRegisters: false,
  execute(stage, area, size) {
    storeEnvironment(stage, area, size);
    setControlAndStatus(stage, stage.or(stage.read(fcw), stage.constant32(FLOAT_EXCEPTIONS)), stage.read(fsw));
  },
});

const fldenv = stateInstruction({
  name: "fldenv",
  pattern: "D9 /4 mem",
  mode: "read",
  waits: true,
  withRegisters: false,
  execute: loadEnvironment,
});

const fnsave = stateInstruction({
  name: "fnsave",
  pattern: "DD /6 mem",
  mode: "write",
  waits: false,
  withRegisters: true,
  execute(stage, area, size) {
    storeEnvironment(stage, area, size);
    for (let index = 0; index < 8; index++) {
      const { low, high } = readFloat(stage, stackRegister(stage, stage.constant32(index)));
      const offset = environmentBytes(size) + REGISTER_BYTES * index;
      stage.store(area, offset, 64, low);
      stage.store(area, offset + 8, 16, high);
    }
    initialise(stage);
  },
});

const frstor = stateInstruction({
  name: "frstor",
  pattern: "DD /4 mem",
  mode: "read",
  waits: true,
  withRegisters: true,
  execute(stage, area, size) {
    loadEnvironment(stage, area, size);
    for (let index = 0; index < 8; index++) {
      const offset = environmentBytes(size) + REGISTER_BYTES * index;
      writeFloat(stage, stackRegister(stage, stage.constant32(index)), {
        low: stage.load(64, area, offset, 64),
        high: stage.load(64, area, offset + 8, 16),
      });
    }
  },
});

export const x87ControlInstructions: readonly Instruction[] = [
  control({ name: "fnop", pattern: "D9 /2 reg", rm: 0, waits: true }, () => undefined),
  control({ name: "fdecstp", pattern: "D9 /6 reg", rm: 6, waits: true }, (stage) => turn(stage, -1)),
  control({ name: "fincstp", pattern: "D9 /6 reg", rm: 7, waits: true }, (stage) => turn(stage, 1)),
  // Of the 8087 and 80287; they do nothing.
  control({ name: "fneni", pattern: "DB /4 reg", rm: 0, waits: false }, () => undefined),
  control({ name: "fndisi", pattern: "DB /4 reg", rm: 1, waits: false }, () => undefined),
  control({ name: "fnclex", pattern: "DB /4 reg", rm: 2, waits: false }, clearExceptions),
  control({ name: "fninit", pattern: "DB /4 reg", rm: 3, waits: false }, initialise),
  control({ name: "fnsetpm", pattern: "DB /4 reg", rm: 4, waits: false }, () => undefined),
  free("ffree", "DD", 0),
  free("ffreep", "DF", 1),
  fwait,
  emms,
  fnstswAx,
  storeWord("fnstsw", "DD /7 mem", fsw),
  storeWord("fnstcw", "D9 /7 mem", fcw),
  fldcw,
  fnstenv,
  fldenv,
  fnsave,
  frstor,
];
