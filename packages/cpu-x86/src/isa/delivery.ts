/**
 * Delivery of exceptions and interrupts. In long mode: Intel SDM volume 3, 6.14; in protected mode: 6.12; in real mode:
 * 21.1.4. Error codes: 6.13; priorities: 6.9.
 *
 * It is an instruction of its own, in place of the next one: all that it reads and writes of guest memory is checked first,
 * and what fails is the next exception, or makes a double fault of this one (`noteException`).
 */
import { defineInstruction, type Instruction, type Stage, type Value, type Variable } from "@hvjournal/engine";
import { contextChanged, setPrivilegeLevel } from "./context.js";
import { writeStackPointer } from "./effective-address.js";
import { ErrorCode, hasErrorCode, InternalEvent, raiseException, raiseIf, Vector } from "./exceptions.js";
import { ExitCode, NotSimulated } from "./exit-code.js";
import { readRflags } from "./flags.js";
import { generalRegister } from "./general-registers.js";
import { currentStack, innerStack, type LegacyStack, pushLegacyFrame } from "./legacy-stack.js";
import { nmiIsOpen } from "./interrupts.js";
import { Dr7, Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  descriptorPlace,
  dplOf,
  isLongModeActive,
  isRealMode,
  limitOf,
  baseOf,
  probeAccessedFlag,
  readDescriptor,
  segmentFields,
  writeNullSegment,
  writeRealSegment,
  writeSegment,
} from "./segments.js";
import {
  cpl,
  dr7,
  EventKind,
  exceptionErrorCode,
  exceptionLength,
  exceptionPending,
  exceptionVector,
  idtBase,
  idtLimit,
  InterruptPending,
  interruptPending,
  interruptShadow,
  interruptVector,
  nmiBlocked,
  nmiPending,
  Register,
  repeating,
  rflags,
  rip,
  Segment,
} from "./state.js";
import { isNotCanonical } from "./translation.js";
import { dataSelectors, dropDataSegments, isVirtual } from "./virtual-mode.js";
import { loadTask, pushTaskError, switchTask } from "./task-switch.js";

const { S, code, conforming, P, L, DB } = SegmentAttribute;

/** Type and S of a gate of 32 or 64 bits; a trap gate has bit 0 set too. One of 16 bits lacks bit 3. */
const GATE_TYPE_MASK = 0x1e;
const INTERRUPT_GATE = 0x0e;
const INTERRUPT_GATE_16 = 0x06;
/** With bit 0: a task gate. */
const TASK_GATE_TYPE_MASK = 0x1f;
const TASK_GATE = 0x05;

/** Offsets in a 64-bit TSS. */
const TSS_RSP0 = 4;
const TSS_IST0 = 0x1c;

interface Event {
  /** One of `EventKind` but `none`; 0: an interrupt. */
  readonly kind: Value<32>;
  readonly vector: Value<32>;
  readonly pushesError: Value<32>;
  /** 0 where an instruction has asked for it, else 1: the bit EXT of error codes. */
  readonly external: Value<32>;
  /** It is not: see `software`. */
  readonly software: Value<32>;
  readonly isNmi: Value<32>;
  /** RIP to push: an offset in CS. */
  readonly returnAddress: Value<64>;
}

interface Gate {
  readonly target: Value<64>;
  readonly selector: Value<32>;
  /** In long mode: 0, or the number of a stack in the TSS. */
  readonly stackTable: Value<32>;
  readonly clearsInterrupts: Value<32>;
  /** Outside long mode: the words that are pushed have 32 bits, not 16. */
  readonly isWide: Value<32>;
}

/** What is delivered. Leaves guest mode where nothing can be. */
function currentEvent(stage: Stage): Event {
  const kind = stage.read(exceptionPending);
  const is = (expected: number): Value<32> => stage.compare("eq", kind, stage.constant32(expected));
  const isNmi = stage.and(stage.isZero(kind), nmiIsOpen(stage));
  const isInterrupt = stage.and(stage.isZero(kind), stage.isZero(isNmi));
  const asynchronous = stage.select(isNmi, stage.constant32(Vector.nmi), stage.read(interruptVector));
  const vector = stage.select(kind, stage.read(exceptionVector), asynchronous);
  leaveWithoutDelivery(stage, vector, isInterrupt, stage.isZero(isInterrupt));
  const software = is(EventKind.software);
  const length = stage.select(kind, stage.read(exceptionLength), stage.constant32(0));
  const linear = stage.add(stage.read(rip), stage.zeroExtend64(length));
  const inSegment = stage.zeroExtendFrom(32, stage.sub(linear, stage.read(segmentFields(Segment.cs).base)));
  return {
    kind,
    vector,
    pushesError: stage.and(is(EventKind.exception), hasErrorCode(stage, vector)),
    external: stage.isZero(software),
    software,
    isNmi,
    returnAddress: stage.select(runsLong(stage), linear, inSegment),
  };
}

/** Truth: 64-bit mode, where CS has no base. */
function runsLong(stage: Stage): Value<32> {
  const isLong = stage.and(stage.read(segmentFields(Segment.cs).attributes), stage.constant32(L));
  return stage.and(isLongModeActive(stage), stage.isZero(stage.isZero(isLong)));
}

function leaveWithoutDelivery(stage: Stage, vector: Value<32>, isInterrupt: Value<32>, isException: Value<32>): void {
  const requested = stage.compare("eq", stage.read(interruptPending), stage.constant32(InterruptPending.requested));
  stage.if(stage.and(isInterrupt, requested), () => stage.exitBefore(ExitCode.interruptWindow));
  const is = (event: number): Value<32> => stage.and(isException, stage.compare("eq", vector, stage.constant32(event)));
  stage.if(is(InternalEvent.tripleFault), () => stage.exitBefore(ExitCode.shutdown));
  stage.if(is(InternalEvent.fetchOutsideMemory), () => {
    const reason = stage.constant64(NotSimulated.fetchOutsideMemory);
    stage.exitBefore(ExitCode.notSimulated, reason, stage.pc());
  });
}

function readAsSystem(stage: Stage, address: Value<64>, bytes: number): ReturnType<Stage["access"]> {
  return stage.access(address, bytes, "read", AS_SYSTEM(stage));
}

/** The descriptor of a vector in the IDT, of 8 or 16 bytes. */
function readIdt(stage: Stage, event: Event, bytes: 8 | 16): ReturnType<Stage["access"]> {
  const offset = stage.shiftLeft(event.vector, Math.log2(bytes));
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(bytes - 1)), stage.read(idtLimit));
  raiseIf(stage, beyond, Vector.generalProtection, gateError(stage, event));
  return readAsSystem(stage, stage.add(stage.read(idtBase), stage.zeroExtend64(offset)), bytes);
}

function gateError(stage: Stage, { vector, external }: Event): Value<32> {
  return stage.or(stage.or(stage.shiftLeft(vector, 3), stage.constant32(ErrorCode.idt)), external);
}

/** Rights of a gate: an instruction may only use one of its level, and it must be present. */
function checkGate(stage: Stage, event: Event, attributes: Value<32>, isGate: Value<32>): void {
  const error = gateError(stage, event);
  const tooFarIn = stage.and(event.software, stage.compare("lt_u", dplOf(stage, attributes), stage.read(cpl)));
  raiseIf(stage, stage.or(stage.isZero(isGate), tooFarIn), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
}

function readLongGate(stage: Stage, event: Event): Gate {
  const handle = readIdt(stage, event, 16);
  const low = stage.load(64, handle, 0, 64);
  const high = stage.load(64, handle, 8, 64);
  const attributes = stage.truncate32(stage.shiftRight(low, 40));
  checkGate(stage, event, attributes, attributesAre(stage, attributes, GATE_TYPE_MASK, INTERRUPT_GATE));
  const middle = stage.shiftLeft(stage.extractBits(low, 48, 16), 16);
  return {
    target: stage.or(stage.or(stage.extractBits(low, 0, 16), middle), stage.shiftLeft(high, 32)),
    selector: stage.extractBits(stage.truncate32(low), 16, 16),
    stackTable: stage.truncate32(stage.extractBits(low, 32, 3)),
    clearsInterrupts: stage.isZero(stage.and(attributes, stage.constant32(1))),
    isWide: stage.constant32(1),
  };
}

function readLegacyGate(stage: Stage, event: Event): Gate {
  const gate = stage.load(64, readIdt(stage, event, 8), 0, 64);
  const attributes = stage.truncate32(stage.shiftRight(gate, 40));
  const isWide = attributesAre(stage, attributes, GATE_TYPE_MASK, INTERRUPT_GATE);
  const isNarrow = attributesAre(stage, attributes, GATE_TYPE_MASK, INTERRUPT_GATE_16);
  const isTaskGate = attributesAre(stage, attributes, TASK_GATE_TYPE_MASK, TASK_GATE);
  const isGate = stage.or(stage.or(isWide, isNarrow), isTaskGate);
  checkGate(stage, event, attributes, isGate);
  const selector = stage.extractBits(stage.truncate32(gate), 16, 16);
  stage.if(isTaskGate, () => {
    const { returnAddress, external, pushesError } = event;
    const commit = (): void => eventTaken(stage, event);
    switchTask(stage, { reason: "gate", selector, returnAddress, external, pushesError, commit });
  });
  const low = stage.extractBits(gate, 0, 16);
  const wide = stage.or(low, stage.shiftLeft(stage.extractBits(gate, 48, 16), 16));
  return {
    target: stage.select(isWide, wide, low),
    selector,
    stackTable: stage.constant32(0),
    clearsInterrupts: stage.isZero(stage.and(attributes, stage.constant32(1))),
    isWide,
  };
}

interface Handler {
  readonly descriptor: Value<64>;
  readonly setAccessed: () => void;
  /** CPL of the handler. */
  readonly level: Value<32>;
}

function checkHandler(stage: Stage, event: Event, gate: Gate, isLong: boolean): Handler {
  const index = stage.and(gate.selector, stage.constant32(0xfffc));
  raiseIf(stage, stage.isZero(index), Vector.generalProtection, event.external);
  const error = stage.or(index, event.external);
  const place = descriptorPlace(stage, gate.selector, error);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const level = stage.read(cpl);
  const dpl = dplOf(stage, attributes);
  const isCode = isLong
    ? attributesAre(stage, attributes, S | code | L | DB, S | code | L)
    : attributesAre(stage, attributes, S | code, S | code);
  const tooFarOut = stage.compare("gt_u", dpl, level);
  raiseIf(stage, stage.or(stage.isZero(isCode), tooFarOut), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const beyond = stage.compare("gt_u", gate.target, stage.zeroExtend64(limitOf(stage, descriptor)));
  const outside = isLong ? isNotCanonical(stage, gate.target) : beyond;
  raiseIf(stage, outside, Vector.generalProtection, event.external);
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  return {
    descriptor,
    setAccessed: probeAccessedFlag(stage, place, descriptor),
    level: stage.select(conforms, level, dpl),
  };
}

const rsp = generalRegister(Register.rsp);

/** The stack to push to in long mode: the current one, one of the interrupt stack table, or that of an inner level. */
function selectLongStack(stage: Stage, event: Event, gate: Gate, level: Value<32>): Variable<64> {
  const pointer = stage.variable(stage.read(rsp));
  const inward = stage.compare("ne", level, stage.read(cpl));
  stage.if(stage.or(gate.stackTable, inward), () => {
    const tr = segmentFields(Segment.tr);
    const byTable = stage.add(stage.shiftLeft(gate.stackTable, 3), stage.constant32(TSS_IST0));
    const byLevel = stage.add(stage.shiftLeft(level, 3), stage.constant32(TSS_RSP0));
    const offset = stage.select(gate.stackTable, byTable, byLevel);
    const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(7)), stage.read(tr.limit));
    raiseIf(stage, beyond, Vector.invalidTss, taskError(stage, event));
    const place = stage.add(stage.read(tr.base), stage.zeroExtend64(offset));
    stage.set(pointer, stage.load(64, readAsSystem(stage, place, 8), 0, 64));
  });
  stage.set(pointer, stage.and(stage.get(pointer), stage.constant64(-16)));
  const lowest = stage.sub(stage.get(pointer), stage.constant64(FRAME_BYTES_MAX));
  const highest = stage.sub(stage.get(pointer), stage.constant64(1));
  const outside = stage.or(isNotCanonical(stage, lowest), isNotCanonical(stage, highest));
  raiseIf(stage, outside, Vector.stackFault, event.external);
  return pointer;
}

const FRAME_BYTES_MAX = 48;

function taskError(stage: Stage, { external }: Event): Value<32> {
  const selector = stage.read(segmentFields(Segment.tr).selector);
  return stage.or(stage.and(selector, stage.constant32(0xfffc)), external);
}

/** RIP, CS, RFLAGS, RSP, SS, from low to high. */
function frameWords(stage: Stage, event: Event): readonly Value<64>[] {
  const selector = (segment: number): Value<64> => stage.zeroExtend64(stage.read(segmentFields(segment).selector));
  return [
    event.returnAddress,
    selector(Segment.cs),
    stage.zeroExtend64(stage.or(readRflags(stage), resumeFlag(stage, event))),
    stage.read(rsp),
    selector(Segment.ss),
  ];
}

/** RF lets a fault's instruction, or the rest of a repeated one, go on past an instruction breakpoint. */
function resumeFlag(stage: Stage, { kind, vector }: Event): Value<32> {
  const is = (value: Value<32>, expected: number): Value<32> => stage.compare("eq", value, stage.constant32(expected));
  const isOther = stage.or(is(vector, Vector.doubleFault), is(vector, Vector.debug));
  const isFault = stage.and(is(kind, EventKind.exception), stage.isZero(isOther));
  const midway = stage.and(stage.isZero(kind), stage.read(repeating));
  return stage.shiftLeft(stage.or(isFault, midway), Math.log2(Flag.RF));
}

/** Pushes `words`, the first one lowest; gives the new stack pointer. Nothing may be checked behind it. */
function pushLongFrame(stage: Stage, top: Value<64>, words: readonly Value<64>[], privileged: boolean): Value<64> {
  const pointer = stage.sub(top, stage.constant64(8 * words.length));
  const handle = stage.access(pointer, 8 * words.length, "write", { ...AS_SYSTEM(stage), privileged });
  words.forEach((word, index) => stage.store(handle, 8 * index, 64, word));
  return pointer;
}

/** What every delivery leaves behind, once the frame is pushed and CS is loaded. */
function enterHandler(stage: Stage, event: Event, clearsInterrupts: Value<32>): void {
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM;
  const mask = stage.select(clearsInterrupts, stage.constant64(Flag.IF | cleared), stage.constant64(cleared));
  stage.write(rflags, stage.and(stage.read(rflags), stage.not(mask)));
  stage.write(interruptShadow, stage.constant32(0));
  stage.write(repeating, stage.constant32(0));
  stage.if(stage.compare("eq", event.vector, stage.constant32(Vector.debug)), () => {
    stage.write(dr7, stage.and(stage.read(dr7), stage.constant64(~BigInt(Dr7.GD))));
  });
  eventTaken(stage, event);
}

/** The event is no longer pending. */
function eventTaken(stage: Stage, event: Event): void {
  stage.if(
    event.kind,
    () => {
      stage.write(exceptionPending, stage.constant32(EventKind.none));
      stage.write(exceptionLength, stage.constant32(0));
    },
    () =>
      stage.if(
        event.isNmi,
        () => {
          stage.write(nmiPending, stage.constant32(0));
          stage.write(nmiBlocked, stage.constant32(1));
        },
        () => stage.write(interruptPending, stage.constant32(InterruptPending.none)),
      ),
  );
}

function deliverLong(stage: Stage, event: Event): void {
  const gate = readLongGate(stage, event);
  const handler = checkHandler(stage, event, gate, true);
  const { level } = handler;
  const top = selectLongStack(stage, event, gate, level);
  const words = frameWords(stage, event);
  const error = stage.zeroExtend64(stage.read(exceptionErrorCode));
  const pointer = stage.variable(stage.constant64(0));
  const inward = stage.compare("ne", level, stage.read(cpl));
  const push = (pushed: readonly Value<64>[], privileged: boolean): void => {
    stage.set(pointer, pushLongFrame(stage, stage.get(top), pushed, privileged));
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
    inward,
    () => pushAs(true),
    () => pushAs(false),
  );
  writeStackPointer(stage, { stackSize: 3 }, stage.get(pointer));
  stage.if(inward, () => writeNullSegment(stage, Segment.ss, level));
  const selector = stage.or(stage.and(gate.selector, stage.constant32(0xfffc)), level);
  writeSegment(stage, Segment.cs, selector, handler.descriptor);
  enterHandler(stage, event, gate.clearsInterrupts);
  setPrivilegeLevel(stage, level);
  contextChanged(stage);
  stage.jump(gate.target, { contextChanged: true });
}

function deliverProtected(stage: Stage, event: Event): void {
  const gate = readLegacyGate(stage, event);
  const handler = checkHandler(stage, event, gate, false);
  const words = frameWords(stage, event);
  const error = stage.zeroExtend64(stage.read(exceptionErrorCode));
  const inward = stage.compare("ne", handler.level, stage.read(cpl));
  const virtual = isVirtual(stage);
  const notSystem = stage.or(stage.and(gate.selector, stage.constant32(0xfffc)), event.external);
  const outsideSystem = stage.isZero(stage.isZero(handler.level));
  raiseIf(stage, stage.and(virtual, outsideSystem), Vector.generalProtection, notSystem);
  const push = (stack: LegacyStack, pushed: readonly Value<64>[], privileged: boolean): void => {
    const pushIn = (bytes: 2 | 4, all: readonly Value<64>[]): void =>
      pushLegacyFrame(stage, stack, all, bytes, privileged, handler.setAccessed);
    const pushAll = (all: readonly Value<64>[]): void =>
      stage.if(
        gate.isWide,
        () => pushIn(4, all),
        () => pushIn(2, all),
      );
    stage.if(
      event.pushesError,
      () => pushAll([error, ...pushed]),
      () => pushAll(pushed),
    );
  };
  const pushInward = (): void => {
    const stack = innerStack(stage, handler.level, event.external);
    stage.if(
      virtual,
      () => {
        push(stack, [...words, ...dataSelectors(stage)], true);
        dropDataSegments(stage);
      },
      () => push(stack, words, true),
    );
  };
  stage.if(inward, pushInward, () => push(currentStack(stage, event.external), words.slice(0, 3), false));
  const selector = stage.or(stage.and(gate.selector, stage.constant32(0xfffc)), handler.level);
  writeSegment(stage, Segment.cs, selector, handler.descriptor);
  enterHandler(stage, event, gate.clearsInterrupts);
  setPrivilegeLevel(stage, handler.level);
  contextChanged(stage);
  const base = baseOf(stage, handler.descriptor);
  stage.jump(stage.zeroExtendFrom(32, stage.add(base, gate.target)), { contextChanged: true });
}

/** The IDT has pairs of offset and selector; what is pushed has 16 bits, and there are no error codes. */
function deliverReal(stage: Stage, event: Event): void {
  const offset = stage.shiftLeft(event.vector, 2);
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(3)), stage.read(idtLimit));
  stage.if(beyond, () => raiseException(stage, Vector.generalProtection));
  const place = stage.add(stage.read(idtBase), stage.zeroExtend64(offset));
  const entry = stage.load(32, readAsSystem(stage, place, 4), 0, 32);
  const [target, selector] = [stage.extractBits(entry, 0, 16), stage.extractBits(entry, 16, 16)];
  const words = frameWords(stage, event).slice(0, 3);
  pushLegacyFrame(stage, currentStack(stage, stage.constant32(0)), words, 2, false, () => undefined);
  writeRealSegment(stage, Segment.cs, selector);
  enterHandler(stage, event, stage.constant32(1));
  stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~BigInt(Flag.AC))));
  contextChanged(stage);
  const base = stage.zeroExtend64(stage.shiftLeft(selector, 4));
  stage.jump(stage.add(base, stage.zeroExtend64(target)), { contextChanged: true });
}

/** See `CpuDefinition.takeInterrupt`. */
export const eventDelivery: Instruction = defineInstruction({
  mnemonic: "event delivery",
  reference: "volume 3, 6.12 to 6.14",
  pattern: "",
  formFields: [],
  operands: {},
  text: () => "",
  execute(_form, _operands, stage) {
    const kind = stage.read(exceptionPending);
    stage.if(stage.compare("eq", kind, stage.constant32(EventKind.taskLoad)), () => loadTask(stage));
    stage.if(stage.compare("eq", kind, stage.constant32(EventKind.taskError)), () => pushTaskError(stage));
    const event = currentEvent(stage);
    stage.if(
      isLongModeActive(stage),
      () => deliverLong(stage, event),
      () =>
        stage.if(
          isRealMode(stage),
          () => deliverReal(stage, event),
          () => deliverProtected(stage, event),
        ),
    );
  },
});
