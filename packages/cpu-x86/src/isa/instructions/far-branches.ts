/**
 * JMP and CALL to another segment, in every mode, through call gates too: Intel SDM volume 2, 3.3 CALL, JMP; volume 3, 5.8.
 */
import type { AccessHandle, Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly } from "../assembly-text.js";
import { contextChanged, setPrivilegeLevel } from "../context.js";
import {
  accessMemory,
  accessStack,
  type MemoryOperands,
  stackPointer,
  writeStackPointer,
} from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, raiseIf, Vector } from "../exceptions.js";
import type { DecodedFields } from "../fields.js";
import { bytesOf, generalRegister, sizeOf } from "../general-registers.js";
import { currentStack, innerStack, type LegacyStack, pushGateFrame, pushLegacyFrame } from "../legacy-stack.js";
import { memoryOperand } from "../operands.js";
import { nextInstruction, segmentationOf } from "../segment-access.js";
import { SegmentAttribute } from "../segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  baseOf,
  descriptorPlace,
  dplOf,
  isLongModeActive,
  isNullSelector,
  limitOf,
  probeAccessedFlag,
  readDescriptor,
  rplOf,
  segmentFields,
  selectorError,
  writeNullSegment,
  writeRealSegment,
  writeSegment,
} from "../segments.js";
import { cpl, Register, Segment } from "../state.js";
import { switchTask } from "../task-switch.js";
import { isNotCanonical } from "../translation.js";

const { S, code, conforming, P, L, DB } = SegmentAttribute;

/** Types of system descriptors. */
const SYSTEM_TYPE_MASK = 0x1f;
const CALL_GATE = 0x0c;
const CALL_GATE_16 = 0x04;
const TASK_GATE = 0x05;
/** Available; bit 3 tells 32 bits from 16. */
const TSS_MASK = 0x17;
const TSS = 0x01;

interface BranchForm {
  readonly mode: number;
  readonly size: number;
  readonly stackSize: number;
}

interface FarTarget {
  readonly selector: Value<32>;
  readonly offset: Value<64>;
}

interface FarBranch extends FarTarget {
  readonly form: BranchForm;
  readonly isCall: boolean;
}

function transfer(stage: Stage, branch: FarBranch): void {
  if (segmentationOf(stage) === "limits") return transferReal(stage, branch);
  const { selector } = branch;
  raiseIf(stage, isNullSelector(stage, selector), Vector.generalProtection);
  const place = descriptorPlace(stage, selector, selectorError(stage, selector));
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  stage.if(
    attributesAre(stage, attributes, S | code, S | code),
    () => transferDirect(stage, branch, place, descriptor),
    () => transferBySystem(stage, branch, place, descriptor),
  );
}

function transferReal(stage: Stage, branch: FarBranch): void {
  const { offset, selector } = branch;
  const limit = stage.read(segmentFields(Segment.cs).limit);
  raiseIf(stage, stage.compare("gt_u", offset, stage.zeroExtend64(limit)), Vector.generalProtection);
  pushReturn(stage, branch);
  writeRealSegment(stage, Segment.cs, selector);
  contextChanged(stage);
  const base = stage.zeroExtend64(stage.shiftLeft(selector, 4));
  stage.jump(stage.zeroExtendFrom(32, stage.add(base, offset)), { contextChanged: true });
}

/** Of a call: CS and RIP, on the current stack. It writes: nothing may be checked behind it. */
function pushReturn(stage: Stage, { form, isCall }: FarBranch, checked: () => void = () => undefined): void {
  if (!isCall) return checked();
  const bytes = bytesOf(sizeOf(form));
  const pointer = stackPointer(stage, form, -2 * bytes);
  const handle = accessStack(stage, pointer, 2 * bytes, "write");
  const selector = stage.read(segmentFields(Segment.cs).selector);
  checked();
  storeSlot(stage, handle, bytes, 0, nextInstruction(stage));
  storeSlot(stage, handle, bytes, 1, stage.zeroExtend64(selector));
  writeStackPointer(stage, form, pointer);
}

function storeSlot(stage: Stage, handle: AccessHandle, bytes: number, index: number, value: Value<64>): void {
  stage.store(handle, index * bytes, (8 * bytes) as 16 | 32 | 64, bytes === 8 ? value : stage.truncate32(value));
}

/** Refuses code that is no target at all; gives where it begins. */
function checkTarget(stage: Stage, descriptor: Value<64>, offset: Value<64>): Value<64> {
  const attributes = attributesOf(stage, descriptor);
  const isLong = stage.isZero(attributesAre(stage, attributes, L, 0));
  const toLong = stage.and(isLong, isLongModeActive(stage));
  const beyond = stage.compare("gt_u", offset, stage.zeroExtend64(limitOf(stage, descriptor)));
  raiseIf(stage, stage.select(toLong, isNotCanonical(stage, offset), beyond), Vector.generalProtection);
  const linear = stage.zeroExtendFrom(32, stage.add(offset, baseOf(stage, descriptor)));
  return stage.select(toLong, offset, linear);
}

function isLongWithSize(stage: Stage, attributes: Value<32>): Value<32> {
  return stage.and(attributesAre(stage, attributes, L | DB, L | DB), isLongModeActive(stage));
}

function transferDirect(stage: Stage, branch: FarBranch, place: Value<64>, descriptor: Value<64>): void {
  const { selector, offset } = branch;
  const error = selectorError(stage, selector);
  const attributes = attributesOf(stage, descriptor);
  const level = stage.read(cpl);
  const dpl = dplOf(stage, attributes);
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  const otherLevel = stage.or(stage.compare("ne", dpl, level), stage.compare("gt_u", rplOf(stage, selector), level));
  const wrongLevel = stage.select(conforms, stage.compare("gt_u", dpl, level), otherLevel);
  raiseIf(stage, stage.or(wrongLevel, isLongWithSize(stage, attributes)), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const target = checkTarget(stage, descriptor, offset);
  const setAccessed = probeAccessedFlag(stage, place, descriptor);
  pushReturn(stage, branch, setAccessed);
  enter(stage, selector, descriptor, level, target);
}

/** Loads CS and goes on there. */
function enter(stage: Stage, selector: Value<32>, descriptor: Value<64>, level: Value<32>, target: Value<64>): void {
  writeSegment(stage, Segment.cs, stage.or(selectorError(stage, selector), level), descriptor);
  contextChanged(stage);
  stage.jump(target, { contextChanged: true });
}

function transferBySystem(stage: Stage, branch: FarBranch, place: Value<64>, descriptor: Value<64>): void {
  const { selector } = branch;
  const error = selectorError(stage, selector);
  const attributes = attributesOf(stage, descriptor);
  const is = (mask: number, type: number): Value<32> => attributesAre(stage, attributes, mask, type);
  const isLong = isLongModeActive(stage);
  const isWide = is(SYSTEM_TYPE_MASK, CALL_GATE);
  const isGate = stage.or(isWide, is(SYSTEM_TYPE_MASK, CALL_GATE_16));
  const isTask = stage.or(is(SYSTEM_TYPE_MASK, TASK_GATE), is(TSS_MASK, TSS));
  const known = stage.select(isLong, isWide, stage.or(isGate, isTask));
  const level = stage.read(cpl);
  const dpl = dplOf(stage, attributes);
  const tooFarIn = stage.or(stage.compare("lt_u", dpl, level), stage.compare("lt_u", dpl, rplOf(stage, selector)));
  raiseIf(stage, stage.or(stage.isZero(known), tooFarIn), Vector.generalProtection, error);
  raiseIf(stage, is(P, 0), Vector.segmentNotPresent, error);
  stage.if(
    isLong,
    () => throughLongGate(stage, branch, place, descriptor),
    () => {
      stage.if(isTask, () => throughTask(stage, branch, descriptor));
      throughLegacyGate(stage, branch, descriptor, isWide);
    },
  );
}

/** A TSS, or a gate that names one. */
function throughTask(stage: Stage, { selector, isCall }: FarBranch, descriptor: Value<64>): void {
  const isGate = attributesAre(stage, attributesOf(stage, descriptor), SYSTEM_TYPE_MASK, TASK_GATE);
  const named = stage.extractBits(stage.truncate32(descriptor), 16, 16);
  switchTask(stage, {
    reason: isCall ? "call" : "jump",
    selector: stage.select(isGate, named, selector),
    returnAddress: nextInstruction(stage),
    external: stage.constant32(0),
    pushesError: stage.constant32(0),
  });
}

interface GateTarget {
  readonly selector: Value<32>;
  readonly descriptor: Value<64>;
  readonly setAccessed: () => void;
  readonly target: Value<64>;
  /** The level that a call gets to. */
  readonly level: Value<32>;
}

/** The code that a gate leads to. */
function checkGateTarget(stage: Stage, branch: FarBranch, gate: FarTarget, isLong: boolean): GateTarget {
  const { selector } = gate;
  raiseIf(stage, isNullSelector(stage, selector), Vector.generalProtection);
  const error = selectorError(stage, selector);
  const place = descriptorPlace(stage, selector, error);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const dpl = dplOf(stage, attributes);
  const level = stage.read(cpl);
  const isCode = isLong
    ? attributesAre(stage, attributes, S | code | L | DB, S | code | L)
    : attributesAre(stage, attributes, S | code, S | code);
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  const isOuter = stage.compare("gt_u", dpl, level);
  const changes = stage.and(stage.isZero(conforms), stage.compare("ne", dpl, level));
  const wrongLevel = branch.isCall ? isOuter : stage.or(isOuter, changes);
  raiseIf(stage, stage.or(stage.isZero(isCode), wrongLevel), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  return {
    selector,
    descriptor,
    setAccessed: probeAccessedFlag(stage, place, descriptor),
    target: checkTarget(stage, descriptor, gate.offset),
    level: stage.select(conforms, level, dpl),
  };
}

function enterGate(stage: Stage, { selector, descriptor, target, level }: GateTarget): void {
  setPrivilegeLevel(stage, level);
  enter(stage, selector, descriptor, level, target);
}

function throughLongGate(stage: Stage, branch: FarBranch, place: Value<64>, low: Value<64>): void {
  const error = selectorError(stage, branch.selector);
  const second = descriptorPlace(stage, stage.add(branch.selector, stage.constant32(8)), error);
  const high = readDescriptor(stage, second);
  const hasType = stage.extractBits(high, 40, 5);
  raiseIf(stage, stage.isZero(stage.isZero(hasType)), Vector.generalProtection, error);
  const middle = stage.shiftLeft(stage.extractBits(low, 48, 16), 16);
  const offset = stage.or(stage.or(stage.extractBits(low, 0, 16), middle), stage.shiftLeft(high, 32));
  const selector = stage.extractBits(stage.truncate32(low), 16, 16);
  const gate = checkGateTarget(stage, branch, { selector, offset }, true);
  if (!branch.isCall) {
    gate.setAccessed();
    return enterGate(stage, gate);
  }
  const rsp = generalRegister(Register.rsp);
  const selectorOf = (segment: number): Value<64> => stage.zeroExtend64(stage.read(segmentFields(segment).selector));
  const words = [nextInstruction(stage), selectorOf(Segment.cs), stage.read(rsp), selectorOf(Segment.ss)];
  const push = (top: Value<64>, count: number, privileged: boolean): void => {
    const pointer = stage.sub(top, stage.constant64(8 * count));
    raiseIf(stage, isNotCanonical(stage, pointer), Vector.stackFault);
    const handle = stage.access(pointer, 8 * count, "write", { ...AS_SYSTEM(stage), privileged });
    words.slice(0, count).forEach((word, index) => stage.store(handle, 8 * index, 64, word));
    gate.setAccessed();
    stage.write(rsp, pointer);
  };
  stage.if(
    stage.compare("ne", gate.level, stage.read(cpl)),
    () => {
      push(readLongStack(stage, gate.level), 4, true);
      writeNullSegment(stage, Segment.ss, gate.level);
    },
    () => push(stage.read(rsp), 2, false),
  );
  enterGate(stage, gate);
}

/** Offset of RSP0 in a 64-bit TSS. */
const TSS_RSP0 = 4;

function readLongStack(stage: Stage, level: Value<32>): Value<64> {
  const tr = segmentFields(Segment.tr);
  const offset = stage.add(stage.shiftLeft(level, 3), stage.constant32(TSS_RSP0));
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(7)), stage.read(tr.limit));
  raiseIf(stage, beyond, Vector.invalidTss, selectorError(stage, stage.read(tr.selector)));
  const place = stage.add(stage.read(tr.base), stage.zeroExtend64(offset));
  return stage.load(64, stage.access(place, 8, "read", AS_SYSTEM(stage)), 0, 64);
}

function throughLegacyGate(stage: Stage, branch: FarBranch, descriptor: Value<64>, isWide: Value<32>): void {
  const low = stage.extractBits(descriptor, 0, 16);
  const wide = stage.or(low, stage.shiftLeft(stage.extractBits(descriptor, 48, 16), 16));
  const selector = stage.extractBits(stage.truncate32(descriptor), 16, 16);
  const offset = stage.select(isWide, wide, low);
  const gate = checkGateTarget(stage, branch, { selector, offset }, false);
  if (!branch.isCall) {
    gate.setAccessed();
    return enterGate(stage, gate);
  }
  const selectorOf = (segment: number): Value<64> => stage.zeroExtend64(stage.read(segmentFields(segment).selector));
  const pointer = stage.read(generalRegister(Register.rsp));
  const words = [nextInstruction(stage), selectorOf(Segment.cs), pointer, selectorOf(Segment.ss)];
  const push = (stack: LegacyStack, pushed: readonly Value<64>[], privileged: boolean): void =>
    stage.if(
      isWide,
      () => pushLegacyFrame(stage, stack, pushed, 4, privileged, gate.setAccessed),
      () => pushLegacyFrame(stage, stack, pushed, 2, privileged, gate.setAccessed),
    );
  stage.if(
    stage.compare("ne", gate.level, stage.read(cpl)),
    () => {
      const stack = innerStack(stage, gate.level, stage.constant32(0));
      const parameters = stage.truncate32(stage.extractBits(descriptor, 32, 5));
      const pushWith = (bytes: 2 | 4): void =>
        stage.if(
          parameters,
          () => pushGateFrame(stage, stack, words, parameters, bytes, gate.setAccessed),
          () => pushLegacyFrame(stage, stack, words, bytes, true, gate.setAccessed),
        );
      stage.if(
        isWide,
        () => pushWith(4),
        () => pushWith(2),
      );
    },
    () => push(currentStack(stage, stage.constant32(0)), words.slice(0, 2), false),
  );
  enterGate(stage, gate);
}

function pointerText({ immediate, immediateHigh, size }: DecodedFields): string {
  const offset = BigInt.asUintN(8 << size, BigInt(immediate));
  return `0x${(immediateHigh & 0xffff).toString(16)}:0x${offset.toString(16)}`;
}

/** The pointer stands in the instruction. */
function direct(mnemonic: string, pattern: string, isCall: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${mnemonic.toUpperCase()} (ptr16:16/32)`,
    reference: `3.3 ${mnemonic.toUpperCase()}`,
    pattern,
    formFields: ["mode", "size", "stackSize"],
    operands: {
      offset: { i32: ({ immediate, size }) => (size === 1 ? immediate & 0xffff : immediate) },
      selector: { u16: ({ immediateHigh }) => immediateHigh & 0xffff },
    },
    text: (fields, pc) => assembly(fields, pc, mnemonic, pointerText(fields)),
    execute: (form, { offset, selector }, stage) =>
      transfer(stage, { form, isCall, selector, offset: stage.zeroExtend64(offset) }),
  });
}

const POINTERS = ["", "DWORD PTR ", "FWORD PTR ", "TBYTE PTR "] as const;

function readPointer(stage: Stage, form: BranchForm, operands: MemoryOperands): FarTarget {
  const size = sizeOf(form);
  const handle = accessMemory(stage, operands, bytesOf(size) + 2, "read");
  return {
    offset: stage.load(64, handle, 0, (8 << size) as 16 | 32 | 64),
    selector: stage.load(32, handle, bytesOf(size), 16),
  };
}

/** The pointer stands in memory. */
function indirect(mnemonic: string, pattern: string, isCall: boolean): Instruction {
  return defineEncoded({
    mnemonic: `${mnemonic.toUpperCase()} (m16:16/32/64)`,
    reference: `3.3 ${mnemonic.toUpperCase()}`,
    pattern,
    formFields: ["mode", "size", "stackSize"],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, mnemonic, `${POINTERS[fields.size] ?? ""}${addressText(fields)}`),
    execute: (form, operands, stage) => transfer(stage, { form, isCall, ...readPointer(stage, form, operands) }),
  });
}

/** A far pointer in a register does not exist. */
function withoutMemory(mnemonic: string, pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `${mnemonic} (far, a register)`,
    reference: `3.3 ${mnemonic}`,
    pattern,
    formFields: [],
    operands: {},
    text: () => "(bad)",
    execute: (_form, _operands, stage) => raiseException(stage, Vector.invalidOpcode),
  });
}

export const farBranchInstructions: readonly Instruction[] = [
  direct("jmp", "compat EA iz iw", false),
  direct("call", "compat 9A iz iw", true),
  indirect("jmp", "FF /5 mem", false),
  indirect("call", "FF /3 mem", true),
  withoutMemory("JMP", "FF /5 reg"),
  withoutMemory("CALL", "FF /3 reg"),
];
