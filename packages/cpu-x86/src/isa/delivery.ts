/**
 * Delivery of exceptions and interrupts through the IDT in long mode, with stacks from the TSS. Intel SDM volume 3,
 * 6.12.1, 6.13 and 6.14; error codes 6.13; stack switching 6.14.4 and 6.14.5.
 *
 * It is an instruction of its own, in place of the next one: all that it reads and writes of guest memory is checked first,
 * and what fails is the next exception, or makes a double fault of this one (`noteException`).
 */
import { defineInstruction, type Instruction, type Stage, type Value, type Variable } from "@hvjournal/engine";
import { contextChanged, setPrivilegeLevel } from "./context.js";
import { writeStackPointer } from "./effective-address.js";
import { ErrorCode, hasErrorCode, InternalEvent, raiseException, Vector } from "./exceptions.js";
import { ExitCode, NotSimulated } from "./exit-code.js";
import { readRflags } from "./flags.js";
import { generalRegister } from "./general-registers.js";
import { Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  attributesAre,
  attributesOf,
  descriptorPlace,
  dplOf,
  probeAccessedFlag,
  readDescriptor,
  segmentFields,
  writeNullSegment,
  writeSegment,
} from "./segments.js";
import {
  cpl,
  exceptionErrorCode,
  exceptionPending,
  exceptionVector,
  idtBase,
  idtLimit,
  InterruptPending,
  interruptPending,
  interruptShadow,
  interruptVector,
  Register,
  repeating,
  rflags,
  rip,
  Segment,
  zeroSource,
} from "./state.js";
import { isNotCanonical } from "./translation.js";

const { S, code, conforming, P, L, DB } = SegmentAttribute;

/** Type and S of a 64-bit interrupt gate; a trap gate has bit 0 set too. */
const GATE_TYPE_MASK = 0x1e;
const INTERRUPT_GATE = 0x0e;

/** Offsets in a 64-bit TSS. */
const TSS_RSP0 = 4;
const TSS_IST0 = 0x1c;

interface Event {
  readonly isException: Value<32>;
  readonly vector: Value<32>;
  readonly pushesError: Value<32>;
}

interface Gate {
  readonly target: Value<64>;
  readonly selector: Value<32>;
  /** 0, or the number of a stack in the TSS. */
  readonly stackTable: Value<32>;
  readonly clearsInterrupts: Value<32>;
}

function raiseIf(stage: Stage, condition: Value<32>, vector: number, error: Value<32>): void {
  stage.if(condition, () => raiseException(stage, vector, error));
}

/** Error codes of what goes wrong here: not the fault of an instruction. */
function external(stage: Stage, selector: Value<32>): Value<32> {
  const index = stage.and(selector, stage.constant32(0xfffc));
  return stage.or(index, stage.constant32(ErrorCode.external));
}

/** What is delivered. Leaves guest mode where nothing can be. */
function currentEvent(stage: Stage): Event {
  const isException = stage.read(exceptionPending);
  const vector = stage.select(isException, stage.read(exceptionVector), stage.read(interruptVector));
  const is = (event: number): Value<32> => stage.and(isException, stage.compare("eq", vector, stage.constant32(event)));
  const requested = stage.compare("eq", stage.read(interruptPending), stage.constant32(InterruptPending.requested));
  stage.if(stage.and(stage.isZero(isException), requested), () => stage.exitBefore(ExitCode.interruptWindow));
  stage.if(is(InternalEvent.tripleFault), () => stage.exitBefore(ExitCode.shutdown));
  stage.if(is(InternalEvent.fetchOutsideMemory), () => {
    const reason = stage.constant64(NotSimulated.fetchOutsideMemory);
    stage.exitBefore(ExitCode.notSimulated, reason, stage.pc());
  });
  return { isException, vector, pushesError: stage.and(isException, hasErrorCode(stage, vector)) };
}

function readGate(stage: Stage, vector: Value<32>): Gate {
  const error = stage.or(stage.shiftLeft(vector, 3), stage.constant32(ErrorCode.idt | ErrorCode.external));
  const offset = stage.shiftLeft(vector, 4);
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(15)), stage.read(idtLimit));
  raiseIf(stage, beyond, Vector.generalProtection, error);
  const place = stage.add(stage.read(idtBase), stage.zeroExtend64(offset));
  const handle = readAsSystem(stage, place, 16);
  const low = stage.load(64, handle, 0, 64);
  const high = stage.load(64, handle, 8, 64);
  const attributes = stage.truncate32(stage.shiftRight(low, 40));
  const isGate = attributesAre(stage, attributes, GATE_TYPE_MASK, INTERRUPT_GATE);
  raiseIf(stage, stage.isZero(isGate), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const middle = stage.shiftLeft(stage.extractBits(low, 48, 16), 16);
  const target = stage.or(stage.or(stage.extractBits(low, 0, 16), middle), stage.shiftLeft(high, 32));
  return {
    target,
    selector: stage.extractBits(stage.truncate32(low), 16, 16),
    stackTable: stage.truncate32(stage.extractBits(low, 32, 3)),
    clearsInterrupts: stage.isZero(stage.and(attributes, stage.constant32(1))),
  };
}

function readAsSystem(stage: Stage, address: Value<64>, bytes: number): ReturnType<Stage["access"]> {
  return stage.access(address, bytes, "read", {
    privileged: true,
    faultDetail: stage.constant32(zeroSource.offset),
  });
}

interface Handler {
  readonly descriptor: Value<64>;
  readonly setAccessed: () => void;
  /** CPL of the handler. */
  readonly level: Value<32>;
}

function checkHandler(stage: Stage, gate: Gate): Handler {
  const isNull = stage.isZero(stage.and(gate.selector, stage.constant32(0xfffc)));
  raiseIf(stage, isNull, Vector.generalProtection, stage.constant32(ErrorCode.external));
  const error = external(stage, gate.selector);
  const place = descriptorPlace(stage, gate.selector, error);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const level = stage.read(cpl);
  const dpl = dplOf(stage, attributes);
  const isLongCode = attributesAre(stage, attributes, S | code | L | DB, S | code | L);
  const tooFarOut = stage.compare("gt_u", dpl, level);
  raiseIf(stage, stage.or(stage.isZero(isLongCode), tooFarOut), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const notCanonical = isNotCanonical(stage, gate.target);
  raiseIf(stage, notCanonical, Vector.generalProtection, stage.constant32(ErrorCode.external));
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  return {
    descriptor,
    setAccessed: probeAccessedFlag(stage, place, descriptor),
    level: stage.select(conforms, level, dpl),
  };
}

/** The stack to push to: the current one, one of the interrupt stack table, or that of an inner level. */
function selectStack(stage: Stage, gate: Gate, level: Value<32>): Variable<64> {
  const pointer = stage.variable(stage.read(generalRegister(Register.rsp)));
  const inward = stage.compare("ne", level, stage.read(cpl));
  stage.if(stage.or(gate.stackTable, inward), () => {
    const tr = segmentFields(Segment.tr);
    const byTable = stage.add(stage.shiftLeft(gate.stackTable, 3), stage.constant32(TSS_IST0));
    const byLevel = stage.add(stage.shiftLeft(level, 3), stage.constant32(TSS_RSP0));
    const offset = stage.select(gate.stackTable, byTable, byLevel);
    const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(7)), stage.read(tr.limit));
    raiseIf(stage, beyond, Vector.invalidTss, external(stage, stage.read(tr.selector)));
    const place = stage.add(stage.read(tr.base), stage.zeroExtend64(offset));
    stage.set(pointer, stage.load(64, readAsSystem(stage, place, 8), 0, 64));
  });
  stage.set(pointer, stage.and(stage.get(pointer), stage.constant64(-16)));
  const lowest = stage.sub(stage.get(pointer), stage.constant64(FRAME_BYTES_MAX));
  const highest = stage.sub(stage.get(pointer), stage.constant64(1));
  const outside = stage.or(isNotCanonical(stage, lowest), isNotCanonical(stage, highest));
  raiseIf(stage, outside, Vector.stackFault, stage.constant32(ErrorCode.external));
  return pointer;
}

const FRAME_BYTES_MAX = 48;

/** RIP, CS, RFLAGS, RSP, SS, from low to high. */
function frameWords(stage: Stage, event: Event): readonly Value<64>[] {
  // RF lets a fault's instruction, or the rest of a repeated one, go on past an instruction breakpoint.
  const isFault = stage.and(event.isException, stage.compare("ne", event.vector, stage.constant32(Vector.doubleFault)));
  const midway = stage.and(stage.isZero(event.isException), stage.read(repeating));
  const resume = stage.shiftLeft(stage.or(isFault, midway), Math.log2(Flag.RF));
  const selector = (segment: number): Value<64> => stage.zeroExtend64(stage.read(segmentFields(segment).selector));
  return [
    stage.read(rip),
    selector(Segment.cs),
    stage.zeroExtend64(stage.or(readRflags(stage), resume)),
    stage.read(generalRegister(Register.rsp)),
    selector(Segment.ss),
  ];
}

/** Pushes `words`, the first one lowest; gives the new stack pointer. Nothing may be checked behind it. */
function pushFrame(stage: Stage, top: Value<64>, words: readonly Value<64>[], privileged: boolean): Value<64> {
  const pointer = stage.sub(top, stage.constant64(8 * words.length));
  const handle = stage.access(pointer, 8 * words.length, "write", {
    privileged,
    faultDetail: stage.constant32(zeroSource.offset),
  });
  words.forEach((word, index) => stage.store(handle, 8 * index, 64, word));
  return pointer;
}

function enterHandler(stage: Stage, event: Event, gate: Gate, handler: Handler): void {
  const { level } = handler;
  const selector = stage.or(stage.and(gate.selector, stage.constant32(0xfffc)), level);
  const inward = stage.compare("ne", level, stage.read(cpl));
  stage.if(inward, () => writeNullSegment(stage, Segment.ss, level));
  writeSegment(stage, Segment.cs, selector, handler.descriptor);
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM;
  const mask = stage.select(gate.clearsInterrupts, stage.constant64(Flag.IF | cleared), stage.constant64(cleared));
  stage.write(rflags, stage.and(stage.read(rflags), stage.not(mask)));
  setPrivilegeLevel(stage, level);
  stage.write(interruptShadow, stage.constant32(0));
  stage.write(repeating, stage.constant32(0));
  stage.if(
    event.isException,
    () => stage.write(exceptionPending, stage.constant32(0)),
    () => stage.write(interruptPending, stage.constant32(0)),
  );
  contextChanged(stage);
  stage.jump(gate.target, { contextChanged: true });
}

/** See `CpuDefinition.takeInterrupt`. */
export const eventDelivery: Instruction = defineInstruction({
  mnemonic: "event delivery",
  reference: "volume 3, 6.14",
  pattern: "",
  formFields: [],
  operands: {},
  text: () => "",
  execute(_form, _operands, stage) {
    const event = currentEvent(stage);
    const gate = readGate(stage, event.vector);
    const handler = checkHandler(stage, gate);
    const top = selectStack(stage, gate, handler.level);
    const words = frameWords(stage, event);
    const error = stage.zeroExtend64(stage.read(exceptionErrorCode));
    const pointer = stage.variable(stage.constant64(0));
    const push = (pushed: readonly Value<64>[], privileged: boolean): void => {
      stage.set(pointer, pushFrame(stage, stage.get(top), pushed, privileged));
      handler.setAccessed();
    };
    const pushAs = (privileged: boolean): void =>
      stage.if(
        event.pushesError,
        () => push([error, ...words], privileged),
        () => push(words, privileged),
      );
    // An inner level's stack is checked with its own rights.
    stage.if(
      stage.compare("ne", handler.level, stage.read(cpl)),
      () => pushAs(true),
      () => pushAs(false),
    );
    writeStackPointer(stage, { stackSize: 3 }, stage.get(pointer));
    enterHandler(stage, event, gate, handler);
  },
});
