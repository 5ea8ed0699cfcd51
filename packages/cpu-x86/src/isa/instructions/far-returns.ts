/**
 * RET to another segment and IRET, in every mode: Intel SDM volume 2, 3.3 IRET, 4.3 RET; volume 3, 5.8.6, 6.12.1.
 * IRET in virtual-8086 mode, and to it: 20.2, 20.3.
 */
import type { AccessHandle, Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText } from "../assembly-text.js";
import { contextChanged, setPrivilegeLevel } from "../context.js";
import { accessStack, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { noteDebugTrap, raiseException, raiseIf, Vector } from "../exceptions.js";
import { writeRflags } from "../flags.js";
import { bytesOf, generalRegister, sizeOf } from "../general-registers.js";
import { openingNmi } from "../nmi-opening.js";
import { endOneShot, isStepping } from "../one-shot.js";
import { immediate } from "../operands.js";
import { Dr6, Flag, IOPL_SHIFT, STATUS_FLAGS } from "../registers.js";
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
  writeStackOffset,
} from "../segments.js";
import { switchTask } from "../task-switch.js";
import { cpl, interruptShadow, nmiBlocked, Register, repeating, rflags, Segment } from "../state.js";
import { isNotCanonical } from "../translation.js";
import {
  DATA_SEGMENTS,
  isVirtual,
  requireVirtualPrivilege,
  virtualTarget,
  writeVirtualSegment,
} from "../virtual-mode.js";

const { S, code, conforming, writable, unusable, P, L, DB } = SegmentAttribute;

interface ReturnForm {
  readonly mode: number;
  readonly size: number;
  readonly stackSize: number;
}

/** What differs between the two. */
interface ReturnKind {
  readonly isInterrupt: boolean;
  /** Bytes that RET n releases on both stacks. */
  readonly released: Value<32> | undefined;
}

/** What stands on the stack. */
interface Frame {
  readonly rip: Value<64>;
  readonly cs: Value<32>;
  /** Of IRET only. */
  readonly flags: Value<32>;
}

interface Stack {
  readonly pointer: Value<64>;
  readonly selector: Value<32>;
}

function slot(stage: Stage, form: ReturnForm, handle: AccessHandle, index: number): Value<64> {
  const size = sizeOf(form);
  return stage.load(64, handle, index * bytesOf(size), (8 << size) as 16 | 32 | 64);
}

function readFrame(stage: Stage, form: ReturnForm, { isInterrupt }: ReturnKind): Frame {
  const bytes = (isInterrupt ? 3 : 2) * bytesOf(sizeOf(form));
  const handle = accessStack(stage, stackPointer(stage, form, 0), bytes, "read");
  return {
    rip: slot(stage, form, handle, 0),
    cs: stage.zeroExtendFrom(16, stage.truncate32(slot(stage, form, handle, 1))),
    flags: isInterrupt ? stage.truncate32(slot(stage, form, handle, 2)) : stage.constant32(0),
  };
}

/** SS and stack pointer, which stand above the frame and what RET n releases. */
function readStack(stage: Stage, form: ReturnForm, { isInterrupt, released }: ReturnKind): Stack {
  const bytes = bytesOf(sizeOf(form));
  const above = stackPointer(stage, form, (isInterrupt ? 3 : 2) * bytes);
  const moved = released === undefined ? above : stage.add(above, stage.zeroExtend64(released));
  const offset = form.stackSize === 3 ? moved : stage.zeroExtendFrom(8 << form.stackSize, moved);
  const handle = accessStack(stage, offset, 2 * bytes, "read");
  return {
    pointer: slot(stage, form, handle, 0),
    selector: stage.zeroExtendFrom(16, stage.truncate32(slot(stage, form, handle, 1))),
  };
}

interface CheckedSegment {
  readonly descriptor: Value<64>;
  readonly setAccessed: () => void;
}

/** The code segment to return to. */
function checkCodeSegment(stage: Stage, cs: Value<32>): CheckedSegment {
  raiseIf(stage, isNullSelector(stage, cs), Vector.generalProtection);
  const error = selectorError(stage, cs);
  const place = descriptorPlace(stage, cs, error);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const rpl = rplOf(stage, cs);
  const dpl = dplOf(stage, attributes);
  const isCode = attributesAre(stage, attributes, S | code, S | code);
  const both = stage.and(attributesAre(stage, attributes, L | DB, L | DB), isLongModeActive(stage));
  const inward = stage.compare("lt_u", rpl, stage.read(cpl));
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  const wrongLevel = stage.select(conforms, stage.compare("gt_u", dpl, rpl), stage.compare("ne", dpl, rpl));
  const refused = [both, inward, wrongLevel].reduce((sum, value) => stage.or(sum, value), stage.isZero(isCode));
  raiseIf(stage, refused, Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  return { descriptor, setAccessed: probeAccessedFlag(stage, place, descriptor) };
}

/** The stack segment to return to: it may be null where the target is 64-bit code below CPL 3. */
function checkStackSegment(stage: Stage, ss: Value<32>, rpl: Value<32>, toLong: Value<32>): CheckedSegment {
  const error = selectorError(stage, ss);
  const isNull = isNullSelector(stage, ss);
  const mayBeNull = stage.and(toLong, stage.compare("ne", rpl, stage.constant32(3)));
  raiseIf(stage, stage.and(isNull, stage.isZero(mayBeNull)), Vector.generalProtection);
  raiseIf(stage, stage.compare("ne", rplOf(stage, ss), rpl), Vector.generalProtection, error);
  const place = stage.variable(stage.constant64(0));
  const descriptor = stage.variable(stage.constant64(0));
  const notNull = stage.isZero(isNull);
  stage.if(notNull, () => {
    stage.set(place, descriptorPlace(stage, ss, error));
    stage.set(descriptor, readDescriptor(stage, stage.get(place)));
    const attributes = attributesOf(stage, stage.get(descriptor));
    const isStack = attributesAre(stage, attributes, S | code | writable, S | writable);
    const wrongLevel = stage.compare("ne", dplOf(stage, attributes), rpl);
    raiseIf(stage, stage.or(stage.isZero(isStack), wrongLevel), Vector.generalProtection, error);
    raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.stackFault, error);
  });
  const setAccessed = probeAccessedFlag(stage, stage.get(place), stage.get(descriptor), notNull);
  return { descriptor: stage.get(descriptor), setAccessed };
}

/** Flags that CPL and IOPL let the image write. */
function writableFlags(stage: Stage, form: ReturnForm): Value<32> {
  const always = STATUS_FLAGS | Flag.TF | Flag.DF | Flag.NT | Flag.RF | Flag.AC | Flag.ID;
  const level = stage.read(cpl);
  const ioPrivilege = stage.extractBits(stage.truncate32(stage.read(rflags)), IOPL_SHIFT, 2);
  const atSystem = stage.select(level, stage.constant32(0), stage.constant32(Flag.IOPL | Flag.VIF | Flag.VIP));
  const interrupts = stage.select(
    stage.compare("le_u", level, ioPrivilege),
    stage.constant32(Flag.IF),
    stage.constant32(0),
  );
  const all = stage.or(stage.constant32(always), stage.or(atSystem, interrupts));
  return form.size === 1 ? stage.zeroExtendFrom(16, all) : all;
}

/** A data segment that the outer level may not use becomes null. */
function dropInnerSegments(stage: Stage, level: Value<32>): void {
  for (const segment of [Segment.es, Segment.ds, Segment.fs, Segment.gs]) {
    const attributes = stage.read(segmentFields(segment).attributes);
    const conforms = attributesAre(stage, attributes, code | conforming, code | conforming);
    // FS and GS that are null already keep their bases.
    const isNull = stage.isZero(attributesAre(stage, attributes, unusable, 0));
    const inner = stage.compare("lt_u", dplOf(stage, attributes), level);
    stage.if(stage.and(inner, stage.isZero(stage.or(conforms, isNull))), () =>
      writeNullSegment(stage, segment, stage.constant32(0)),
    );
  }
}

/** What both do last, but for the context. */
function finish(stage: Stage, frame: Frame, { isInterrupt }: ReturnKind, mask: Value<32>, stepping: Value<32>): void {
  if (!isInterrupt) return endOneShot(stage, stage.constant32(0), stepping);
  // RF is that of the image from here on.
  writeRflags(stage, frame.flags, mask);
  stage.write(interruptShadow, stage.constant32(0));
  stage.write(nmiBlocked, stage.constant32(0));
  noteDebugTrap(stage, stage.shiftLeft(stepping, Math.log2(Dr6.BS)));
}

function returnReal(stage: Stage, form: ReturnForm, kind: ReturnKind): void {
  if (kind.isInterrupt) requireVirtualPrivilege(stage);
  const stepping = stage.variable(isStepping(stage));
  const frame = readFrame(stage, form, kind);
  const { limit } = segmentFields(Segment.cs);
  const beyond = stage.compare("gt_u", frame.rip, stage.zeroExtend64(stage.read(limit)));
  raiseIf(stage, beyond, Vector.generalProtection);
  const always = STATUS_FLAGS | Flag.TF | Flag.IF | Flag.DF | Flag.NT | Flag.RF | Flag.AC | Flag.ID;
  const level = stage.select(isVirtual(stage), stage.constant32(0), stage.constant32(Flag.IOPL));
  const all = stage.or(stage.constant32(always), level);
  const mask = form.size === 1 ? stage.zeroExtendFrom(16, all) : all;
  writeRealSegment(stage, Segment.cs, frame.cs);
  release(stage, form, kind);
  finish(stage, frame, kind, mask, stage.get(stepping));
  stage.write(repeating, stage.constant32(0));
  setPrivilegeLevel(stage, stage.read(cpl));
  contextChanged(stage);
  const base = stage.zeroExtend64(stage.shiftLeft(frame.cs, 4));
  stage.jump(stage.zeroExtendFrom(32, stage.add(base, frame.rip)), { contextChanged: true });
}

/** Moves the stack pointer over the frame, on the stack that stays. */
function release(stage: Stage, form: ReturnForm, { isInterrupt, released }: ReturnKind): void {
  const above = stackPointer(stage, form, (isInterrupt ? 3 : 2) * bytesOf(sizeOf(form)));
  const all = released === undefined ? above : stage.add(above, stage.zeroExtend64(released));
  writeStackPointer(stage, form, form.stackSize === 2 ? stage.zeroExtendFrom(32, all) : all);
}

function returnProtected(stage: Stage, form: ReturnForm, kind: ReturnKind): void {
  const stepping = stage.variable(isStepping(stage));
  if (kind.isInterrupt) refuseNested(stage);
  const frame = readFrame(stage, form, kind);
  if (kind.isInterrupt) {
    const virtual = stage.extractBits(frame.flags, Math.log2(Flag.VM), 1);
    const returnsToVirtual = stage.and(virtual, stage.isZero(stage.read(cpl)));
    const protects = stage.and(returnsToVirtual, stage.isZero(isLongModeActive(stage)));
    if (form.size !== 1) stage.if(protects, () => returnToVirtual(stage, form, frame, stage.get(stepping)));
  }
  const codeSegment = checkCodeSegment(stage, frame.cs);
  const codeAttributes = attributesOf(stage, codeSegment.descriptor);
  const isLong = stage.isZero(attributesAre(stage, codeAttributes, L, 0));
  const toLong = stage.and(isLong, isLongModeActive(stage));
  const level = rplOf(stage, frame.cs);
  const outward = stage.compare("ne", level, stage.read(cpl));
  const beyondLimit = stage.compare("gt_u", frame.rip, stage.zeroExtend64(limitOf(stage, codeSegment.descriptor)));
  const outside = stage.select(toLong, isNotCanonical(stage, frame.rip), beyondLimit);
  const target = stage.select(
    toLong,
    frame.rip,
    stage.zeroExtendFrom(32, stage.add(frame.rip, baseOf(stage, codeSegment.descriptor))),
  );
  const mask = writableFlags(stage, form);
  const commitCode = (): void => {
    codeSegment.setAccessed();
    writeSegment(stage, Segment.cs, frame.cs, codeSegment.descriptor);
  };
  const end = (): void => {
    finish(stage, frame, kind, mask, stage.get(stepping));
    stage.write(repeating, stage.constant32(0));
    setPrivilegeLevel(stage, level);
    contextChanged(stage);
    stage.jump(target, { contextChanged: true });
  };
  const toOther = (): void => {
    const stack = readStack(stage, form, kind);
    const stackSegment = checkStackSegment(stage, stack.selector, level, toLong);
    raiseIf(stage, outside, Vector.generalProtection);
    commitCode();
    stackSegment.setAccessed();
    loadStack(stage, stack, stackSegment.descriptor, toLong, kind);
    stage.if(outward, () => dropInnerSegments(stage, level));
    end();
  };
  // IRET in 64-bit mode always pops the stack.
  if (kind.isInterrupt && form.mode === 0) return toOther();
  stage.if(outward, toOther, () => {
    raiseIf(stage, outside, Vector.generalProtection);
    commitCode();
    release(stage, form, kind);
    end();
  });
}

/** Behind EIP, CS and EFLAGS stand ESP, SS, ES, DS, FS and GS. */
function returnToVirtual(stage: Stage, form: ReturnForm, frame: Frame, stepping: Value<32>): void {
  const bytes = bytesOf(sizeOf(form));
  const above = stackPointer(stage, form, 3 * bytes);
  const handle = accessStack(stage, above, 6 * bytes, "read");
  const word = (index: number): Value<32> => stage.truncate32(slot(stage, form, handle, index));
  const [pointer, ss, ...data] = [0, 1, 2, 3, 4, 5].map(word) as [Value<32>, Value<32>, ...Value<32>[]];
  const target = virtualTarget(stage, frame.cs, frame.rip);
  const loads: readonly (readonly [number, Value<32>])[] = [
    [Segment.cs, frame.cs],
    [Segment.ss, ss],
    ...data.map((selector, index) => [DATA_SEGMENTS[index] ?? Segment.es, selector] as const),
  ];
  for (const [segment, selector] of loads) writeVirtualSegment(stage, segment, stage.zeroExtendFrom(16, selector));
  stage.write(generalRegister(Register.rsp), stage.zeroExtend64(pointer));
  finish(stage, frame, { isInterrupt: true, released: undefined }, stage.constant32(VIRTUAL_FLAGS), stepping);
  stage.write(repeating, stage.constant32(0));
  setPrivilegeLevel(stage, stage.constant32(3));
  contextChanged(stage);
  stage.jump(target, { contextChanged: true });
}

/** All but those that are fixed. */
const VIRTUAL_FLAGS = 0x3f_7fd5;

/** NT: a return to the task that this one is nested in, which long mode does not have. */
function refuseNested(stage: Stage): void {
  const nested = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.NT));
  stage.if(nested, () => {
    stage.if(isLongModeActive(stage), () => raiseException(stage, Vector.generalProtection));
    const tr = segmentFields(Segment.tr);
    const link = stage.load(32, stage.access(stage.read(tr.base), 2, "read", AS_SYSTEM(stage)), 0, 16);
    switchTask(stage, {
      reason: "return",
      selector: link,
      returnAddress: nextInstruction(stage),
      external: stage.constant32(0),
      pushesError: stage.constant32(0),
      commit: () => stage.write(nmiBlocked, stage.constant32(0)),
    });
  });
}

function loadStack(stage: Stage, stack: Stack, descriptor: Value<64>, toLong: Value<32>, kind: ReturnKind): void {
  const { released } = kind;
  const pointer = released === undefined ? stack.pointer : stage.add(stack.pointer, stage.zeroExtend64(released));
  stage.if(
    isNullSelector(stage, stack.selector),
    () => writeNullSegment(stage, Segment.ss, stack.selector),
    () => writeSegment(stage, Segment.ss, stack.selector, descriptor),
  );
  stage.if(
    toLong,
    () => stage.write(generalRegister(Register.rsp), pointer),
    () => writeStackOffset(stage, attributesOf(stage, descriptor), pointer),
  );
}

function returnFar(stage: Stage, form: ReturnForm, kind: ReturnKind): void {
  if (segmentationOf(stage) === "limits") returnReal(stage, form, kind);
  else returnProtected(stage, form, kind);
}

const IRET_NAMES = ["", "iretw", "iret", "iretq"] as const;

const iret = defineEncoded({
  mnemonic: "IRET/IRETD/IRETQ",
  reference: "3.3 IRET/IRETD/IRETQ",
  pattern: "CF",
  formFields: ["mode", "size", "stackSize"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, IRET_NAMES[fields.size] ?? ""),
  execute: (form, _operands, stage) => returnFar(openingNmi(stage), form, { isInterrupt: true, released: undefined }),
});

const retf = defineEncoded({
  mnemonic: "RET (far)",
  reference: "4.3 RET",
  pattern: "CB",
  formFields: ["mode", "size", "stackSize"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "retf"),
  execute: (form, _operands, stage) => returnFar(stage, form, { isInterrupt: false, released: undefined }),
});

const retfReleasing = defineEncoded({
  mnemonic: "RET (far, imm16)",
  reference: "4.3 RET",
  pattern: "CA iw",
  formFields: ["mode", "size", "stackSize"],
  operands: { released: immediate },
  text: (fields, pc) => assembly(fields, pc, "retf", immediateText({ ...fields, size: 1 })),
  execute: (form, { released }, stage) =>
    returnFar(stage, form, { isInterrupt: false, released: stage.zeroExtendFrom(16, released) }),
});

/** They write RF and the shadow themselves: `oneShot` leaves them as they are. */
export const returnInstructions: readonly Instruction[] = [iret, retf, retfReleasing];
