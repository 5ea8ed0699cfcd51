/**
 * FXSAVE, FXRSTOR, the XSAVE family, MXCSR and XCR0: all bytes are checked before the first is written. Intel SDM volume 2
 * by name; layouts volume 1, 10.5.1 and 13.4.
 *
 * Components are the x87 (bit 0) and SSE (bit 1). Both count as in use at any time (13.6: a processor may say so of a
 * component in its initial configuration), so that XSAVEOPT is XSAVE.
 */
import { type AccessHandle, elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, assembly } from "../assembly-text.js";

import { accessMemory, type MemoryOperands } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { Mode } from "../fields.js";
import { raiseException, Vector } from "../exceptions.js";
import { readFloat, requireFloatUnit, setControlAndStatus, stackRegister, writeFloat } from "../float-unit.js";
import { generalRegister } from "../general-registers.js";
import { memoryOperand } from "../operands.js";
import { Cr0, Cr4 } from "../registers.js";
import { cpl, cr0, cr4, fcw, fdp, fip, fop, fpuTags, fsw, mxcsr, Register, xcr0, xmm } from "../state.js";
import { requireSse } from "../vector-unit.js";

/** Offsets in the save area. */
const Area = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
  xstateBv: 512,
  xcompBv: 520,
  reserved: 528,
} as const;
const FXSAVE_BYTES = 512;
/** The XSAVE area: there are no components behind the header. */
export const XSAVE_BYTES = 576;
const SLOT_BYTES = 16;
const FOP_MASK = 0x7ff;
/** Bits of MXCSR that may be set: all of the low 16, DAZ too. */
const MXCSR_MASK = 0xffff;
const MXCSR_INITIAL = 0x1f80;
const FCW_INITIAL = 0x37f;

const Component = { x87: 1, sse: 2 } as const;
export const XSAVE_COMPONENTS: number = Component.x87 | Component.sse;
/** XCOMP_BV[63]: the compacted format. */
const COMPACTED = 1n << 63n;

function registersOf(mode: number): number {
  return mode === Mode.long ? 16 : 8;
}

// Saving

/** Instruction and data pointers have 64 bits with REX.W; else 32, and the selectors behind them are saved as 0. */
function savePointers(stage: Stage, area: AccessHandle, wide: boolean): void {
  const save = (offset: number, pointer: Value<64>): void =>
    stage.store(area, offset, 64, wide ? pointer : stage.zeroExtendFrom(32, pointer));
  save(Area.fip, stage.read(fip));
  save(Area.fdp, stage.read(fdp));
}

function saveX87(stage: Stage, area: AccessHandle, wide: boolean): void {
  stage.store(area, Area.fcw, 16, stage.read(fcw));
  stage.store(area, Area.fsw, 16, stage.read(fsw));
  stage.store(area, Area.ftw, 16, stage.read(fpuTags));
  stage.store(area, Area.fop, 16, stage.and(stage.read(fop), stage.constant32(FOP_MASK)));
  savePointers(stage, area, wide);
  for (let index = 0; index < 8; index++) {
    const { low, high } = readFloat(stage, stackRegister(stage, stage.constant32(index)));
    stage.store(area, Area.st + SLOT_BYTES * index, 64, low);
    stage.store(area, Area.st + SLOT_BYTES * index + 8, 64, high);
  }
}

function saveMxcsr(stage: Stage, area: AccessHandle): void {
  stage.store(area, Area.mxcsr, 32, stage.read(mxcsr));
  stage.store(area, Area.mxcsrMask, 32, stage.constant32(MXCSR_MASK));
}

function saveXmm(stage: Stage, area: AccessHandle, mode: number): void {
  for (let index = 0; index < registersOf(mode); index++)
    stage.store(area, Area.xmm + SLOT_BYTES * index, 128, stage.read(elementOf(xmm, index)));
}

// Restoring

function restoreX87(stage: Stage, area: AccessHandle, wide: boolean): void {
  const pointer = (offset: number): Value<64> => stage.load(64, area, offset, wide ? 64 : 32);
  setControlAndStatus(stage, stage.load(32, area, Area.fcw, 16), stage.load(32, area, Area.fsw, 16));
  stage.write(fpuTags, stage.load(32, area, Area.ftw, 8));
  stage.write(fop, stage.and(stage.load(32, area, Area.fop, 16), stage.constant32(FOP_MASK)));
  stage.write(fip, pointer(Area.fip));
  stage.write(fdp, pointer(Area.fdp));
  for (let index = 0; index < 8; index++)
    writeFloat(stage, stackRegister(stage, stage.constant32(index)), {
      low: stage.load(64, area, Area.st + SLOT_BYTES * index, 64),
      high: stage.load(64, area, Area.st + SLOT_BYTES * index + 8, 16),
    });
}

function restoreXmm(stage: Stage, area: AccessHandle, mode: number): void {
  for (let index = 0; index < registersOf(mode); index++)
    stage.write(elementOf(xmm, index), stage.load(128, area, Area.xmm + SLOT_BYTES * index, 128));
}

function initialiseX87(stage: Stage): void {
  stage.write(fcw, stage.constant32(FCW_INITIAL));
  for (const field of [fsw, fpuTags, fop]) stage.write(field, stage.constant32(0));
  for (const field of [fip, fdp]) stage.write(field, stage.constant64(0));
  for (let index = 0; index < 8; index++)
    writeFloat(stage, stage.constant32(index), { low: stage.constant64(0), high: stage.constant64(0) });
}

function initialiseXmm(stage: Stage, mode: number): void {
  for (let index = 0; index < registersOf(mode); index++) stage.write(elementOf(xmm, index), stage.constant128(0n, 0n));
}

/** #GP for a bit of MXCSR that must be 0. */
function checkMxcsr(stage: Stage, value: Value<32>): void {
  protectIf(stage, stage.and(value, stage.constant32(~MXCSR_MASK)));
}

function protectIf(stage: Stage, condition: Value<32>): void {
  stage.if(condition, () => raiseException(stage, Vector.generalProtection));
}

function isNotZero(stage: Stage, value: Value<64>): Value<32> {
  return stage.isZero(stage.isZero(value));
}

// FXSAVE, FXRSTOR

interface SaveInstruction {
  readonly name: string;
  /** Without "64". */
  readonly encoding: string;
  readonly prefix?: string;
  readonly execute: (stage: Stage, operands: MemoryOperands, mode: number, wide: boolean) => void;
}

function withAndWithoutRexW({ name, encoding, prefix = "np", execute }: SaveInstruction): readonly Instruction[] {
  return [false, true].map((wide) => {
    const whole = wide ? `${name}64` : name;
    return defineEncoded({
      mnemonic: whole,
      reference: `${name < "M" ? "3.3" : "5.3"} ${name}`,
      pattern: `${prefix} w${wide ? 1 : 0} ${encoding} mem`,
      formFields: ["mode"],
      operands: memoryOperand,
      text: (fields, pc) => assembly(fields, pc, whole.toLowerCase(), addressText(fields)),
      execute: ({ mode }, operands, stage) => execute(stage, operands, mode, wide),
    });
  });
}

const fxsave: SaveInstruction = {
  name: "FXSAVE",
  encoding: "0F AE /0",
  execute(stage, operands, mode, wide) {
    requireFloatUnit(stage);
    const area = accessMemory(stage, operands, FXSAVE_BYTES, "write", 16);
    saveX87(stage, area, wide);
    saveMxcsr(stage, area);
    saveXmm(stage, area, mode);
  },
};

const fxrstor: SaveInstruction = {
  name: "FXRSTOR",
  encoding: "0F AE /1",
  execute(stage, operands, mode, wide) {
    requireFloatUnit(stage);
    const area = accessMemory(stage, operands, FXSAVE_BYTES, "read", 16);
    const control = stage.load(32, area, Area.mxcsr, 32);
    checkMxcsr(stage, control);
    restoreX87(stage, area, wide);
    stage.write(mxcsr, control);
    restoreXmm(stage, area, mode);
  },
};

// XSAVE, XSAVEOPT, XSAVEC, XRSTOR

/** #UD without CR4.OSXSAVE, #NM while CR0.TS is set. */
function requireXsave(stage: Stage): void {
  requireOsxsave(stage);
  stage.if(stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(Cr0.TS)), () =>
    raiseException(stage, Vector.deviceNotAvailable),
  );
}

function requireOsxsave(stage: Stage): void {
  const enabled = stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.OSXSAVE));
  stage.if(stage.isZero(enabled), () => raiseException(stage, Vector.invalidOpcode));
}

/** RFBM: what EDX:EAX asks for and XCR0 allows. */
function requestedComponents(stage: Stage): Value<32> {
  return stage.and(stage.truncate32(stage.read(generalRegister(Register.rax))), stage.read(xcr0));
}

function has(stage: Stage, components: Value<32>, component: number): Value<32> {
  return stage.and(components, stage.constant32(component));
}

function saveComponents(stage: Stage, area: AccessHandle, requested: Value<32>, mode: number, wide: boolean): void {
  stage.if(has(stage, requested, Component.x87), () => saveX87(stage, area, wide));
  stage.if(has(stage, requested, Component.sse), () => {
    saveMxcsr(stage, area);
    saveXmm(stage, area, mode);
  });
}

/** XSTATE_BV keeps its bits of what is not requested. */
function xsave(name: "XSAVE" | "XSAVEOPT", encoding: string): SaveInstruction {
  return {
    name,
    encoding,
    execute(stage, operands, mode, wide) {
      requireXsave(stage);
      const area = accessMemory(stage, operands, XSAVE_BYTES, "readWrite", 64);
      const requested = requestedComponents(stage);
      saveComponents(stage, area, requested, mode, wide);
      const before = stage.load(64, area, Area.xstateBv, 64);
      stage.store(area, Area.xstateBv, 64, stage.or(before, stage.zeroExtend64(requested)));
    },
  };
}

/** Both components lie where they lie in the standard format. */
const xsavec: SaveInstruction = {
  name: "XSAVEC",
  encoding: "0F C7 /4",
  execute(stage, operands, mode, wide) {
    requireXsave(stage);
    const area = accessMemory(stage, operands, XSAVE_BYTES, "write", 64);
    const requested = requestedComponents(stage);
    saveComponents(stage, area, requested, mode, wide);
    const wideRequested = stage.zeroExtend64(requested);
    stage.store(area, Area.xstateBv, 64, wideRequested);
    stage.store(area, Area.xcompBv, 64, stage.or(wideRequested, stage.constant64(COMPACTED)));
  },
};

interface Header {
  readonly state: Value<64>;
  readonly compacted: Value<32>;
}

/** Volume 1, 13.8.1 and 13.8.2: #GP for what the header may not say. */
function checkHeader(stage: Stage, area: AccessHandle): Header {
  const state = stage.load(64, area, Area.xstateBv, 64);
  const format = stage.load(64, area, Area.xcompBv, 64);
  const forbidden = stage.not(stage.zeroExtend64(stage.read(xcr0)));
  const compacted = stage.truncate32(stage.shiftRight(format, 63));
  const components = stage.and(format, stage.constant64(COMPACTED - 1n));
  protectIf(stage, isNotZero(stage, stage.and(state, forbidden)));
  const bad = stage.select(
    compacted,
    stage.or(stage.and(components, forbidden), stage.and(state, stage.not(components))),
    components,
  );
  protectIf(stage, isNotZero(stage, bad));
  let reserved = stage.load(64, area, Area.reserved, 64);
  // The standard format is checked to byte 23 of the header only.
  let rest: Value<64> = stage.constant64(0);
  for (let offset = Area.reserved + 8; offset < XSAVE_BYTES; offset += 8)
    rest = stage.or(rest, stage.load(64, area, offset, 64));
  reserved = stage.or(reserved, stage.select(compacted, rest, stage.constant64(0)));
  protectIf(stage, isNotZero(stage, reserved));
  return { state, compacted };
}

/** In the standard format MXCSR is loaded with SSE requested, whether XSTATE_BV has SSE or not. */
const xrstor: SaveInstruction = {
  name: "XRSTOR",
  encoding: "0F AE /5",
  execute(stage, operands, mode, wide) {
    requireXsave(stage);
    const area = accessMemory(stage, operands, XSAVE_BYTES, "read", 64);
    const requested = requestedComponents(stage);
    const { state, compacted } = checkHeader(stage, area);
    const present = stage.truncate32(state);
    const requestsSse = has(stage, requested, Component.sse);
    const loadsMxcsr = stage.or(has(stage, present, Component.sse), stage.isZero(compacted));
    const control = stage.select(loadsMxcsr, stage.load(32, area, Area.mxcsr, 32), stage.constant32(MXCSR_INITIAL));
    stage.if(requestsSse, () => checkMxcsr(stage, control));
    stage.if(has(stage, requested, Component.x87), () => {
      stage.if(
        has(stage, present, Component.x87),
        () => restoreX87(stage, area, wide),
        () => initialiseX87(stage),
      );
    });
    stage.if(requestsSse, () => {
      stage.write(mxcsr, control);
      stage.if(
        has(stage, present, Component.sse),
        () => restoreXmm(stage, area, mode),
        () => initialiseXmm(stage, mode),
      );
    });
  },
};

// XCR0

function edxEax(stage: Stage): Value<64> {
  const low = stage.zeroExtendFrom(32, stage.read(generalRegister(Register.rax)));
  return stage.or(low, stage.shiftLeft(stage.read(generalRegister(Register.rdx)), 32));
}

function isXcr0(stage: Stage): Value<32> {
  return stage.isZero(stage.truncate32(stage.read(generalRegister(Register.rcx))));
}

/** Of XCR1 (which components are in use) only AMD and newer CPUs know: not advertised, #GP. */
const xgetbv: Instruction = defineEncoded({
  mnemonic: "XGETBV",
  reference: "6.1 XGETBV",
  pattern: "np 0F 01 /2 reg",
  where: ({ rm }) => (rm & 7) === 0,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "xgetbv"),
  execute(_form, _operands, stage) {
    requireOsxsave(stage);
    protectIf(stage, stage.isZero(isXcr0(stage)));
    stage.write(generalRegister(Register.rax), stage.zeroExtend64(stage.read(xcr0)));
    stage.write(generalRegister(Register.rdx), stage.constant64(0));
  },
});

/** XCR0 always has the x87. */
const xsetbv: Instruction = defineEncoded({
  mnemonic: "XSETBV",
  reference: "6.1 XSETBV",
  pattern: "np 0F 01 /2 reg",
  where: ({ rm }) => (rm & 7) === 1,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "xsetbv"),
  execute(_form, _operands, stage) {
    requireOsxsave(stage);
    const value = edxEax(stage);
    const wrong = [
      stage.isZero(isXcr0(stage)),
      stage.read(cpl),
      isNotZero(stage, stage.and(value, stage.constant64(~BigInt(XSAVE_COMPONENTS)))),
      stage.isZero(stage.and(value, stage.constant64(Component.x87))),
    ];
    protectIf(
      stage,
      wrong.reduce((sum, one) => stage.or(sum, one)),
    );
    stage.write(xcr0, stage.truncate32(value));
  },
});

// MXCSR

const ldmxcsr: Instruction = defineEncoded({
  mnemonic: "LDMXCSR",
  reference: "3.3 LDMXCSR",
  pattern: "np 0F AE /2 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "ldmxcsr", `DWORD PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    requireSse(stage);
    const value = stage.load(32, accessMemory(stage, operands, 4, "read"), 0, 32);
    checkMxcsr(stage, value);
    stage.write(mxcsr, value);
  },
});

const stmxcsr: Instruction = defineEncoded({
  mnemonic: "STMXCSR",
  reference: "4.3 STMXCSR",
  pattern: "np 0F AE /3 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "stmxcsr", `DWORD PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    requireSse(stage);
    stage.store(accessMemory(stage, operands, 4, "write"), 0, 32, stage.read(mxcsr));
  },
});

export const stateSavingInstructions: readonly Instruction[] = [
  ...[fxsave, fxrstor, xsave("XSAVE", "0F AE /4"), xsave("XSAVEOPT", "0F AE /6"), xsavec, xrstor].flatMap(
    withAndWithoutRexW,
  ),
  xgetbv,
  xsetbv,
  ldmxcsr,
  stmxcsr,
];
