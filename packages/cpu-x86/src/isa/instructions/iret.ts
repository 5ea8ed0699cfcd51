/** IRETQ in 64-bit mode: to the same or an outer privilege level, to 64-bit or compatibility mode. Intel SDM volume 2, 3.3 IRET. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { contextChanged, setPrivilegeLevel } from "../context.js";
import { accessStack, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { ExitCode, NotSimulated } from "../exit-code.js";
import { writeRflags } from "../flags.js";
import { generalRegister } from "../general-registers.js";
import { Cr0, Flag, IOPL_SHIFT, STATUS_FLAGS } from "../registers.js";
import { SegmentAttribute } from "../segment-attributes.js";
import {
  attributesAre,
  attributesOf,
  descriptorPlace,
  dplOf,
  isNullSelector,
  limitOf,
  probeAccessedFlag,
  readDescriptor,
  rplOf,
  segmentFields,
  selectorError,
  writeNullSegment,
  writeSegment,
} from "../segments.js";
import { cpl, cr0, interruptShadow, Register, repeating, rflags, Segment } from "../state.js";
import { isNotCanonical } from "../translation.js";

const { S, code, conforming, writable, P, L, DB } = SegmentAttribute;

/** What stands on the stack. */
interface Frame {
  readonly rip: Value<64>;
  readonly cs: Value<32>;
  readonly flags: Value<32>;
  readonly rsp: Value<64>;
  readonly ss: Value<32>;
}

function readFrame(stage: Stage): Frame {
  const handle = accessStack(stage, stage.read(generalRegister(Register.rsp)), 40, "read");
  const selector = (offset: number): Value<32> => stage.load(32, handle, offset, 16);
  return {
    rip: stage.load(64, handle, 0, 64),
    cs: selector(8),
    flags: stage.load(32, handle, 16, 32),
    rsp: stage.load(64, handle, 24, 64),
    ss: selector(32),
  };
}

function raiseIf(stage: Stage, condition: Value<32>, vector: number, error?: Value<32>): void {
  stage.if(condition, () => raiseException(stage, vector, error));
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
  const both = attributesAre(stage, attributes, L | DB, L | DB);
  const inward = stage.compare("lt_u", rpl, stage.read(cpl));
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  const wrongLevel = stage.select(conforms, stage.compare("gt_u", dpl, rpl), stage.compare("ne", dpl, rpl));
  const refused = [both, inward, wrongLevel].reduce((sum, value) => stage.or(sum, value), stage.isZero(isCode));
  raiseIf(stage, refused, Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  return { descriptor, setAccessed: probeAccessedFlag(stage, place, descriptor) };
}

/** The stack segment to return to: it may be null where the target is 64-bit code below CPL 3. */
function checkStackSegment(stage: Stage, frame: Frame, toLong: Value<32>): CheckedSegment {
  const { ss, cs } = frame;
  const rpl = rplOf(stage, cs);
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

function exitIf(stage: Stage, condition: Value<32>, reason: number, detail: Value<32>): void {
  stage.if(condition, () =>
    stage.exitBefore(ExitCode.notSimulated, stage.constant64(reason), stage.zeroExtend64(detail)),
  );
}

/** What the target state must be to be simulated. */
function checkSimulated(stage: Stage, { cs, flags }: Frame): void {
  exitIf(stage, stage.and(flags, stage.constant32(Flag.TF)), NotSimulated.singleStep, flags);
  const inUserMode = stage.compare("eq", rplOf(stage, cs), stage.constant32(3));
  const alignmentMask = stage.extractBits(stage.truncate32(stage.read(cr0)), Math.log2(Cr0.AM), 1);
  const checksAlignment = stage.and(stage.extractBits(flags, Math.log2(Flag.AC), 1), alignmentMask);
  exitIf(stage, stage.and(inUserMode, checksAlignment), NotSimulated.alignmentCheck, flags);
}

/** Flags that CPL and IOPL let the image write. */
function writableFlags(stage: Stage): Value<32> {
  const always = STATUS_FLAGS | Flag.TF | Flag.DF | Flag.NT | Flag.RF | Flag.AC | Flag.ID;
  const level = stage.read(cpl);
  const ioPrivilege = stage.extractBits(stage.truncate32(stage.read(rflags)), IOPL_SHIFT, 2);
  const atSystem = stage.select(level, stage.constant32(0), stage.constant32(Flag.IOPL | Flag.VIF | Flag.VIP));
  const interrupts = stage.select(
    stage.compare("le_u", level, ioPrivilege),
    stage.constant32(Flag.IF),
    stage.constant32(0),
  );
  return stage.or(stage.constant32(always), stage.or(atSystem, interrupts));
}

/** A data segment that the outer level may not use becomes null. */
function dropInnerSegments(stage: Stage, level: Value<32>): void {
  for (const segment of [Segment.es, Segment.ds, Segment.fs, Segment.gs]) {
    const attributes = stage.read(segmentFields(segment).attributes);
    const conforms = attributesAre(stage, attributes, code | conforming, code | conforming);
    const inner = stage.compare("lt_u", dplOf(stage, attributes), level);
    stage.if(stage.and(inner, stage.isZero(conforms)), () => writeNullSegment(stage, segment, stage.constant32(0)));
  }
}

const iretq = defineEncoded({
  mnemonic: "IRETQ",
  reference: "3.3 IRET/IRETD/IRETQ",
  pattern: "long w1 CF",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "iretq"),
  execute(_form, _operands, stage) {
    const nested = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.NT));
    raiseIf(stage, nested, Vector.generalProtection);
    const frame = readFrame(stage);
    const codeSegment = checkCodeSegment(stage, frame.cs);
    const codeAttributes = attributesOf(stage, codeSegment.descriptor);
    const toLong = stage.isZero(attributesAre(stage, codeAttributes, L, 0));
    const stackSegment = checkStackSegment(stage, frame, toLong);
    const beyondLimit = stage.compare("gt_u", frame.rip, stage.zeroExtend64(limitOf(stage, codeSegment.descriptor)));
    const outside = stage.select(toLong, isNotCanonical(stage, frame.rip), beyondLimit);
    raiseIf(stage, outside, Vector.generalProtection);
    checkSimulated(stage, frame);
    const level = rplOf(stage, frame.cs);
    const outward = stage.compare("ne", level, stage.read(cpl));
    const mask = writableFlags(stage);
    codeSegment.setAccessed();
    stackSegment.setAccessed();
    writeSegment(stage, Segment.cs, frame.cs, codeSegment.descriptor);
    stage.if(
      isNullSelector(stage, frame.ss),
      () => writeNullSegment(stage, Segment.ss, frame.ss),
      () => writeSegment(stage, Segment.ss, frame.ss, stackSegment.descriptor),
    );
    stage.if(outward, () => dropInnerSegments(stage, level));
    writeRflags(stage, frame.flags, mask);
    writeStackPointer(stage, { stackSize: 3 }, frame.rsp);
    setPrivilegeLevel(stage, level);
    stage.write(interruptShadow, stage.constant32(0));
    stage.write(repeating, stage.constant32(0));
    contextChanged(stage);
    stage.jump(frame.rip, { contextChanged: true });
  },
});

/** It writes RF and the shadow itself: `oneShot` leaves it as it is. */
export const returnInstructions: readonly Instruction[] = [iretq];
