/** SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS. References: sections of Intel SDM volume 2. */
import { elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { contextChanged, setPrivilegeLevel } from "../context.js";
import { defineEncoded } from "../encoding.js";
import { noteDebugTrap, raiseIf, Vector } from "../exceptions.js";
import { readRflags, writeRflags } from "../flags.js";
import { generalRegister } from "../general-registers.js";
import { isStepping } from "../one-shot.js";
import { Dr6, Efer, Flag, STATUS_FLAGS } from "../registers.js";
import { SegmentAttribute } from "../segment-attributes.js";
import { isLongModeActive, isRealMode, writeFixedSegment } from "../segments.js";
import {
  cpl,
  efer,
  fmask,
  interruptShadow,
  kernelGsBase,
  lstar,
  Register,
  rflags,
  Segment,
  segmentBase,
  star,
  sysenterCs,
  sysenterEip,
  sysenterEsp,
} from "../state.js";
import { isNotCanonical } from "../translation.js";

const { P, S, code, writable, accessed, L, DB, G } = SegmentAttribute;
const USER = 3 << 5;
const CODE = P | S | code | writable | accessed | G;
const DATA = P | S | writable | accessed | DB | G;

const rcx = generalRegister(Register.rcx);
const rdx = generalRegister(Register.rdx);
const rsp = generalRegister(Register.rsp);
const r11 = generalRegister(11);

function requireExtensions(stage: Stage): void {
  const enabled = stage.and(stage.truncate32(stage.read(efer)), stage.constant32(Efer.SCE));
  raiseIf(stage, stage.isZero(enabled), Vector.invalidOpcode);
}

function requireSystem(stage: Stage): void {
  raiseIf(stage, stage.read(cpl), Vector.generalProtection);
}

/** Loads CS and SS as all these do: flat, without descriptors. */
function loadSegments(stage: Stage, codeSelector: Value<32>, codeAttributes: Value<32>, stack: Value<32>): void {
  const user = stage.and(codeAttributes, stage.constant32(USER));
  writeFixedSegment(stage, Segment.cs, codeSelector, codeAttributes);
  writeFixedSegment(stage, Segment.ss, stack, stage.or(stage.constant32(DATA), user));
}

/** A selector of STAR or SYSENTER_CS, so many bytes further, with an RPL. */
function selectorAt(stage: Stage, base: Value<32>, bytes: number, rpl: number): Value<32> {
  const moved = stage.add(stage.and(base, stage.constant32(0xfffc)), stage.constant32(bytes));
  return stage.or(stage.zeroExtendFrom(16, moved), stage.constant32(rpl));
}

/** The last act: what is derived from CS, CPL and flags, and the jump. `stepping`: a debug exception follows. */
function enter(stage: Stage, level: 0 | 3, target: Value<64>, stepping: Value<32>): void {
  stage.write(interruptShadow, stage.constant32(0));
  noteDebugTrap(stage, stage.shiftLeft(stepping, Math.log2(Dr6.BS)));
  setPrivilegeLevel(stage, stage.constant32(level));
  contextChanged(stage);
  stage.jump(target, { contextChanged: true });
}

/** TF counts as it is behind SYSCALL: IA32_FMASK decides whether a debug exception is left. */
const syscall = defineEncoded({
  mnemonic: "SYSCALL",
  reference: "4.3 SYSCALL",
  pattern: "long 0F 05",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "syscall"),
  execute(_form, _operands, stage) {
    requireExtensions(stage);
    const selectors = stage.truncate32(stage.extractBits(stage.read(star), 32, 16));
    const flags = stage.and(readRflags(stage), stage.constant32(~Flag.RF));
    const kept = stage.and(flags, stage.not(stage.truncate32(stage.read(fmask))));
    stage.write(rcx, stage.nextPc());
    stage.write(r11, stage.zeroExtend64(flags));
    const all = STATUS_FLAGS | Flag.TF | Flag.IF | Flag.DF | Flag.IOPL | Flag.NT | Flag.RF | Flag.AC | Flag.ID;
    writeRflags(stage, kept, stage.constant32(all));
    const codeSelector = selectorAt(stage, selectors, 0, 0);
    loadSegments(stage, codeSelector, stage.constant32(CODE | L), selectorAt(stage, selectors, 8, 0));
    enter(stage, 0, stage.read(lstar), isStepping(stage));
  },
});

const sysret = defineEncoded({
  mnemonic: "SYSRET",
  reference: "4.3 SYSRET",
  pattern: "long 0F 07",
  formFields: ["size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, fields.size === 3 ? "sysretq" : "sysretd"),
  execute({ size }, _operands, stage) {
    requireExtensions(stage);
    requireSystem(stage);
    const target = size === 3 ? stage.read(rcx) : stage.zeroExtendFrom(32, stage.read(rcx));
    raiseIf(stage, isNotCanonical(stage, target), Vector.generalProtection);
    const selectors = stage.truncate32(stage.shiftRight(stage.read(star), 48));
    const image = stage.and(stage.truncate32(stage.read(r11)), stage.constant32(SYSRET_FLAGS));
    writeRflags(stage, image, stage.constant32(SYSRET_FLAGS | Flag.RF | Flag.VM));
    const codeSelector = selectorAt(stage, selectors, size === 3 ? 16 : 0, 3);
    const attributes = stage.constant32(CODE | USER | (size === 3 ? L : DB));
    loadSegments(stage, codeSelector, attributes, selectorAt(stage, selectors, 8, 3));
    enter(stage, 3, target, isStepping(stage));
  },
});

/** What SYSRET takes of R11. */
const SYSRET_FLAGS = 0x3c_7fd7;

/** Neither SYSENTER nor SYSEXIT may be used in real mode, nor where SYSENTER_CS is null: #GP(0). */
function refuseNull(stage: Stage): void {
  raiseIf(stage, isRealMode(stage), Vector.generalProtection);
  const selector = stage.and(stage.truncate32(stage.read(sysenterCs)), stage.constant32(0xfffc));
  raiseIf(stage, stage.isZero(selector), Vector.generalProtection);
}

const sysenter = defineEncoded({
  mnemonic: "SYSENTER",
  reference: "4.3 SYSENTER",
  pattern: "0F 34",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "sysenter"),
  execute(_form, _operands, stage) {
    refuseNull(stage);
    const stepping = stage.variable(isStepping(stage));
    const selectors = stage.truncate32(stage.read(sysenterCs));
    const isLong = isLongModeActive(stage);
    const inMode = (value: Value<64>): Value<64> => stage.select(isLong, value, stage.zeroExtendFrom(32, value));
    stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~BigInt(Flag.IF | Flag.VM | Flag.RF))));
    const attributes = stage.select(isLong, stage.constant32(CODE | L), stage.constant32(CODE | DB));
    loadSegments(stage, selectorAt(stage, selectors, 0, 0), attributes, selectorAt(stage, selectors, 8, 0));
    stage.write(rsp, inMode(stage.read(sysenterEsp)));
    enter(stage, 0, inMode(stage.read(sysenterEip)), stage.get(stepping));
  },
});

const sysexit = defineEncoded({
  mnemonic: "SYSEXIT",
  reference: "4.3 SYSEXIT",
  pattern: "0F 35",
  formFields: ["size", "mode"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, fields.size === 3 ? "sysexitq" : "sysexit"),
  execute({ size }, _operands, stage) {
    refuseNull(stage);
    requireSystem(stage);
    const stepping = stage.variable(isStepping(stage));
    const is64 = size === 3;
    const target = is64 ? stage.read(rdx) : stage.zeroExtendFrom(32, stage.read(rdx));
    const pointer = is64 ? stage.read(rcx) : stage.zeroExtendFrom(32, stage.read(rcx));
    const outside = stage.or(isNotCanonical(stage, target), isNotCanonical(stage, pointer));
    raiseIf(stage, outside, Vector.generalProtection);
    const selectors = stage.truncate32(stage.read(sysenterCs));
    const attributes = stage.constant32(CODE | USER | (is64 ? L : DB));
    const codeSelector = selectorAt(stage, selectors, is64 ? 32 : 16, 3);
    loadSegments(stage, codeSelector, attributes, selectorAt(stage, selectors, is64 ? 40 : 24, 3));
    stage.write(rsp, pointer);
    stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~BigInt(Flag.RF))));
    enter(stage, 3, target, stage.get(stepping));
  },
});

const gsBase = elementOf(segmentBase, Segment.gs);

const swapgs = defineEncoded({
  mnemonic: "SWAPGS",
  reference: "4.3 SWAPGS",
  pattern: "long 0F 01 /7 reg",
  where: ({ rm }) => (rm & 7) === 0,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "swapgs"),
  execute(_form, _operands, stage) {
    requireSystem(stage);
    const base = stage.read(gsBase);
    const kernel = stage.read(kernelGsBase);
    stage.write(gsBase, kernel);
    stage.write(kernelGsBase, base);
  },
});

export const swapInstructions: readonly Instruction[] = [swapgs];

/** They write RF and the shadow themselves: `oneShot` leaves them as they are. */
export const systemCallInstructions: readonly Instruction[] = [syscall, sysret, sysenter, sysexit];
