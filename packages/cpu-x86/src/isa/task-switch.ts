/**
 * Switching tasks by hardware, outside long mode: Intel SDM volume 3, chapter 8.
 *
 * It has two parts, as its faults have: what can fail in the old task comes first, then the state is exchanged, and what
 * fails from there on (segments of the new task) fails in the new one. The second part is an event of its own
 * (`EventKind.taskLoad`), which `delivery.ts` carries out before the next instruction.
 */
import { type AccessHandle, elementOf, type Stage, type Value } from "@hvjournal/engine";
import { contextChanged, setPrivilegeLevel } from "./context.js";
import { noteDebugTrap, raiseIf, Vector } from "./exceptions.js";
import { readRflags, writeRflags } from "./flags.js";
import { currentStack, pushLegacyFrame } from "./legacy-stack.js";
import { pagingChanged } from "./paging.js";
import { Cr0, CR0_PG_BIT, Dr6, Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  baseOf,
  checkInnerStack,
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
} from "./segments.js";
import {
  cpl,
  cr0,
  cr3,
  EventKind,
  exceptionErrorCode,
  exceptionLength,
  exceptionPending,
  exceptionVector,
  gpr,
  interruptShadow,
  repeating,
  rip,
  Segment,
} from "./state.js";
import { isVirtual, virtualTarget, writeVirtualSegment } from "./virtual-mode.js";

const { S, P, code, conforming, writable } = SegmentAttribute;

export interface TaskSwitch {
  /** A call and a gate nest the new task in the old one; a return ends that. */
  readonly reason: "jump" | "call" | "return" | "gate";
  /** Of the TSS. */
  readonly selector: Value<32>;
  /** RIP of the old task. */
  readonly returnAddress: Value<64>;
  /** The bit EXT of error codes. */
  readonly external: Value<32>;
  /** Truth: `exceptionErrorCode` is pushed to the new task's stack. */
  readonly pushesError: Value<32>;
  /** What else is written when nothing can fail any more. */
  readonly commit?: () => void;
}

/** Where a TSS has what. The registers follow each other, and so do the selectors. */
interface Layout {
  readonly bytes: 2 | 4;
  readonly limitMin: number;
  readonly eip: number;
  readonly registers: number;
  readonly selectors: number;
  readonly selectorCount: number;
  readonly ldtr: number;
  readonly end: number;
}

const TSS32: Layout = {
  bytes: 4,
  limitMin: 0x67,
  eip: 0x20,
  registers: 0x28,
  selectors: 0x48,
  selectorCount: 6,
  ldtr: 0x60,
  end: 0x68,
};
const TSS16: Layout = {
  bytes: 2,
  limitMin: 0x2b,
  eip: 0x0e,
  registers: 0x12,
  selectors: 0x22,
  selectorCount: 4,
  ldtr: 0x2a,
  end: 0x2c,
};
const TSS32_CR3 = 0x1c;
const TSS32_TRAP = 0x64;
/** Bit of a TSS's type: it has 32 bits. */
const IS_32 = 8;
const BUSY = 2;

/** Bits of `exceptionVector` of a `taskLoad`. */
const Load = { pushesError: 1, traps: 2, external: 4, is32: 8 } as const;

const ES_TO_GS = [Segment.es, Segment.cs, Segment.ss, Segment.ds, Segment.fs, Segment.gs] as const;

/** Two ways to do the same, by what a TSS is. */
function byKind(stage: Stage, is32: Value<32>, act: (layout: Layout) => void): void {
  stage.if(
    is32,
    () => act(TSS32),
    () => act(TSS16),
  );
}

/** The first part. It ends the instruction. */
export function switchTask(stage: Stage, task: TaskSwitch): void {
  const { selector, external } = task;
  const error = stage.or(selectorError(stage, selector), external);
  const isReturn = task.reason === "return";
  const wrong = isReturn ? Vector.invalidTss : Vector.generalProtection;
  raiseIf(stage, stage.or(isNullSelector(stage, selector), stage.and(selector, stage.constant32(4))), wrong, error);
  const place = descriptorPlace(stage, selector, error, wrong);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const isTss = attributesAre(stage, attributes, S | 0x7, isReturn ? 1 | BUSY : 1);
  raiseIf(stage, stage.isZero(isTss), wrong, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const is32 = stage.isZero(attributesAre(stage, attributes, IS_32, 0));
  const limitMin = stage.select(is32, stage.constant32(TSS32.limitMin), stage.constant32(TSS16.limitMin));
  const limit = limitOf(stage, descriptor);
  raiseIf(stage, stage.compare("lt_u", limit, limitMin), Vector.invalidTss, error);
  const exchange = checkTasks(stage, task, baseOf(stage, descriptor), is32);
  const markBusy = checkBusyFlags(stage, task, place);
  task.commit?.();
  exchange();
  markBusy();
  const tr = segmentFields(Segment.tr);
  stage.write(tr.selector, selector);
  stage.write(tr.base, baseOf(stage, descriptor));
  stage.write(tr.limit, limit);
  stage.write(tr.attributes, stage.or(attributes, stage.constant32(BUSY)));
  stage.write(cr0, stage.or(stage.read(cr0), stage.constant64(Cr0.TS)));
  stage.write(interruptShadow, stage.constant32(0));
  stage.write(repeating, stage.constant32(0));
  contextChanged(stage);
  stage.jump(stage.read(rip), { contextChanged: true });
}

/** Accesses both TSSs; gives what saves the old task's state and takes the new one's, but for what is behind selectors. */
function checkTasks(stage: Stage, task: TaskSwitch, base: Value<64>, is32: Value<32>): () => void {
  const tr = segmentFields(Segment.tr);
  const oldBase = stage.read(tr.base);
  const oldIs32 = stage.isZero(attributesAre(stage, stage.read(tr.attributes), IS_32, 0));
  const oldHandles = new Map<Layout, AccessHandle>();
  byKind(stage, oldIs32, (layout) => {
    const from = stage.add(oldBase, stage.constant64(layout.eip));
    oldHandles.set(layout, stage.access(from, layout.ldtr - layout.eip, "write", AS_SYSTEM(stage)));
  });
  const newHandles = new Map<Layout, AccessHandle>();
  byKind(stage, is32, (layout) => {
    const from = layout === TSS32 ? TSS32_CR3 : layout.eip;
    const start = stage.add(base, stage.constant64(from));
    newHandles.set(layout, stage.access(start, layout.end - from, "read", AS_SYSTEM(stage)));
  });
  const nests = task.reason === "call" || task.reason === "gate";
  const link = nests ? stage.access(base, 2, "write", AS_SYSTEM(stage)) : undefined;
  const oldSelector = stage.read(tr.selector);
  return () => {
    byKind(stage, oldIs32, (layout) => save(stage, task, layout, handleOf(oldHandles, layout)));
    if (link !== undefined) stage.store(link, 0, 16, oldSelector);
    byKind(stage, is32, (layout) => take(stage, task, layout, handleOf(newHandles, layout)));
  };
}

function handleOf(handles: ReadonlyMap<Layout, AccessHandle>, layout: Layout): AccessHandle {
  const handle = handles.get(layout);
  if (handle === undefined) throw new Error("a TSS that has not been accessed");
  return handle;
}

function save(stage: Stage, task: TaskSwitch, layout: Layout, handle: AccessHandle): void {
  const bits = layout.bytes === 4 ? 32 : 16;
  const put = (offset: number, value: Value<32>, width: 16 | 32 = bits): void =>
    stage.store(handle, offset - layout.eip, width, value);
  const image = readRflags(stage);
  put(layout.eip, stage.truncate32(task.returnAddress));
  put(layout.eip + layout.bytes, task.reason === "return" ? stage.and(image, stage.constant32(~Flag.NT)) : image);
  for (let number = 0; number < 8; number++)
    put(layout.registers + number * layout.bytes, stage.truncate32(stage.read(elementOf(gpr, number))));
  ES_TO_GS.slice(0, layout.selectorCount).forEach((segment, index) => {
    put(layout.selectors + index * layout.bytes, stage.read(segmentFields(segment).selector), 16);
  });
}

function take(stage: Stage, task: TaskSwitch, layout: Layout, handle: AccessHandle): void {
  const bits = layout.bytes === 4 ? 32 : 16;
  const from = layout === TSS32 ? TSS32_CR3 : layout.eip;
  const get = (offset: number, width: 16 | 32 = bits): Value<32> => stage.load(32, handle, offset - from, width);
  const flags = get(layout.eip + layout.bytes);
  const nested = task.reason === "call" || task.reason === "gate" ? Flag.NT : 0;
  writeRflags(stage, stage.or(flags, stage.constant32(nested)), stage.constant32(0x3f_7fd5));
  stage.write(rip, stage.zeroExtend64(get(layout.eip)));
  for (let number = 0; number < 8; number++)
    stage.write(elementOf(gpr, number), stage.zeroExtend64(get(layout.registers + number * layout.bytes)));
  const selectors = ES_TO_GS.map((_segment, index) =>
    index < layout.selectorCount ? get(layout.selectors + index * layout.bytes, 16) : stage.constant32(0),
  );
  ES_TO_GS.forEach((segment, index) => {
    writeNullSegment(stage, segment, selectors[index] ?? stage.constant32(0));
  });
  writeNullSegment(stage, Segment.ldtr, get(layout.ldtr, 16));
  const level = rplOf(stage, stage.read(segmentFields(Segment.cs).selector));
  setPrivilegeLevel(stage, stage.select(isVirtual(stage), stage.constant32(3), level));
  const traps = layout === TSS32 ? stage.and(get(TSS32_TRAP, 16), stage.constant32(1)) : stage.constant32(0);
  if (layout === TSS32) takeCr3(stage, get(TSS32_CR3));
  const parts = [
    stage.select(task.pushesError, stage.constant32(Load.pushesError), stage.constant32(0)),
    stage.shiftLeft(traps, Math.log2(Load.traps)),
    stage.shiftLeft(task.external, Math.log2(Load.external)),
    stage.constant32(layout === TSS32 ? Load.is32 : 0),
  ];
  stage.write(exceptionPending, stage.constant32(EventKind.taskLoad));
  stage.write(
    exceptionVector,
    parts.reduce((sum, part) => stage.or(sum, part)),
  );
  stage.write(exceptionLength, stage.constant32(0));
}

/** Only with paging. */
function takeCr3(stage: Stage, value: Value<32>): void {
  const paged = stage.extractBits(stage.read(cr0), CR0_PG_BIT, 1);
  stage.if(stage.truncate32(paged), () => {
    stage.write(cr3, stage.zeroExtend64(value));
    pagingChanged(stage);
  });
}

/** The old task is not busy behind a jump or a return; the new one is from now on. */
function checkBusyFlags(stage: Stage, task: TaskSwitch, place: Value<64>): () => void {
  const typeOf = (descriptor: Value<64>): AccessHandle =>
    stage.access(stage.add(descriptor, stage.constant64(5)), 1, "readWrite", AS_SYSTEM(stage));
  const newType = task.reason === "return" ? undefined : typeOf(place);
  const leaves = task.reason === "jump" || task.reason === "return";
  const oldSelector = stage.read(segmentFields(Segment.tr).selector);
  const oldType = leaves
    ? typeOf(descriptorPlace(stage, oldSelector, selectorError(stage, oldSelector), Vector.invalidTss))
    : undefined;
  return () => {
    if (oldType !== undefined)
      stage.store(oldType, 0, 8, stage.and(stage.load(32, oldType, 0, 8), stage.constant32(~BUSY)));
    if (newType !== undefined)
      stage.store(newType, 0, 8, stage.or(stage.load(32, newType, 0, 8), stage.constant32(BUSY)));
  };
}

/** The second part: loads what is behind the new task's selectors. An instruction of its own. */
export function loadTask(stage: Stage): void {
  const options = stage.read(exceptionVector);
  const has = (bit: number): Value<32> => stage.extractBits(options, Math.log2(bit), 1);
  const external = has(Load.external);
  const ldtr = checkLdtr(stage, external);
  stage.if(isVirtual(stage), () => loadVirtualTask(stage, ldtr, has(Load.traps)));
  const codeSegment = checkCode(stage, external);
  const level = stage.read(cpl);
  const ss = stage.read(segmentFields(Segment.ss).selector);
  const stack = checkInnerStack(stage, ss, level, external);
  const data = [Segment.ds, Segment.es, Segment.fs, Segment.gs].map((segment) => checkData(stage, segment, external));
  const isBeyond = stage.compare("gt_u", stage.truncate32(stage.read(rip)), limitOf(stage, codeSegment.descriptor));
  stage.write(exceptionPending, stage.constant32(EventKind.none));
  ldtr();
  codeSegment.load();
  stack.setAccessed();
  writeSegment(stage, Segment.ss, ss, stack.descriptor);
  for (const load of data) load();
  stage.if(has(Load.pushesError), () => {
    stage.write(exceptionPending, stage.constant32(EventKind.taskError));
  });
  noteDebugTrap(stage, stage.shiftLeft(has(Load.traps), Math.log2(Dr6.BT)));
  stage.if(isBeyond, () => {
    stage.write(exceptionPending, stage.constant32(EventKind.exception));
    stage.write(exceptionVector, stage.constant32(Vector.generalProtection));
    stage.write(exceptionErrorCode, stage.constant32(0));
  });
  contextChanged(stage);
  const base = baseOf(stage, codeSegment.descriptor);
  stage.jump(stage.zeroExtendFrom(32, stage.add(base, stage.read(rip))), { contextChanged: true });
}

/** Its segments have no descriptors, and it handles no exception. */
function loadVirtualTask(stage: Stage, ldtr: () => void, traps: Value<32>): void {
  const selectorOf = (segment: number): Value<32> => stage.read(segmentFields(segment).selector);
  const target = virtualTarget(stage, selectorOf(Segment.cs), stage.read(rip));
  stage.write(exceptionPending, stage.constant32(EventKind.none));
  ldtr();
  for (const segment of ES_TO_GS) writeVirtualSegment(stage, segment, selectorOf(segment));
  noteDebugTrap(stage, stage.shiftLeft(traps, Math.log2(Dr6.BT)));
  contextChanged(stage);
  stage.jump(target, { contextChanged: true });
}

/** The error code of an exception that a task handles, on that task's stack: the last part. */
export function pushTaskError(stage: Stage): void {
  const error = stage.zeroExtend64(stage.read(exceptionErrorCode));
  const is32 = stage.and(stage.read(exceptionVector), stage.constant32(Load.is32));
  const commit = (): void => stage.write(exceptionPending, stage.constant32(EventKind.none));
  const stack = currentStack(stage, stage.constant32(0));
  stage.if(
    is32,
    () => pushLegacyFrame(stage, stack, [error], 4, false, commit),
    () => pushLegacyFrame(stage, stack, [error], 2, false, commit),
  );
  stage.jump(stage.read(rip), { contextChanged: true });
}

function checkLdtr(stage: Stage, external: Value<32>): () => void {
  const fields = segmentFields(Segment.ldtr);
  const selector = stage.read(fields.selector);
  const error = stage.or(selectorError(stage, selector), external);
  const descriptor = stage.variable(stage.constant64(0));
  const notNull = stage.isZero(isNullSelector(stage, selector));
  stage.if(notNull, () => {
    raiseIf(stage, stage.and(selector, stage.constant32(4)), Vector.invalidTss, error);
    stage.set(descriptor, readDescriptor(stage, descriptorPlace(stage, selector, error, Vector.invalidTss)));
    const isLdt = attributesAre(stage, attributesOf(stage, stage.get(descriptor)), S | P | 0xf, P | 2);
    raiseIf(stage, stage.isZero(isLdt), Vector.invalidTss, error);
  });
  return () =>
    stage.if(notNull, () => {
      stage.write(fields.base, baseOf(stage, stage.get(descriptor)));
      stage.write(fields.limit, limitOf(stage, stage.get(descriptor)));
      stage.write(fields.attributes, attributesOf(stage, stage.get(descriptor)));
    });
}

function checkCode(stage: Stage, external: Value<32>): { readonly descriptor: Value<64>; readonly load: () => void } {
  const selector = stage.read(segmentFields(Segment.cs).selector);
  const error = stage.or(selectorError(stage, selector), external);
  raiseIf(stage, isNullSelector(stage, selector), Vector.invalidTss, error);
  const place = descriptorPlace(stage, selector, error, Vector.invalidTss);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const [dpl, rpl] = [dplOf(stage, attributes), rplOf(stage, selector)];
  const isCode = attributesAre(stage, attributes, S | code, S | code);
  const conforms = stage.isZero(attributesAre(stage, attributes, conforming, 0));
  const wrongLevel = stage.select(conforms, stage.compare("gt_u", dpl, rpl), stage.compare("ne", dpl, rpl));
  raiseIf(stage, stage.or(stage.isZero(isCode), wrongLevel), Vector.invalidTss, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  const setAccessed = probeAccessedFlag(stage, place, descriptor);
  const load = (): void => {
    setAccessed();
    writeSegment(stage, Segment.cs, selector, descriptor);
  };
  return { descriptor, load };
}

function checkData(stage: Stage, segment: number, external: Value<32>): () => void {
  const fields = segmentFields(segment);
  const selector = stage.read(fields.selector);
  const error = stage.or(selectorError(stage, selector), external);
  const descriptor = stage.variable(stage.constant64(0));
  const place = stage.variable(stage.constant64(0));
  const notNull = stage.isZero(isNullSelector(stage, selector));
  stage.if(notNull, () => {
    stage.set(place, descriptorPlace(stage, selector, error, Vector.invalidTss));
    stage.set(descriptor, readDescriptor(stage, stage.get(place)));
    const attributes = attributesOf(stage, stage.get(descriptor));
    const dpl = dplOf(stage, attributes);
    const isUnreadable = attributesAre(stage, attributes, code | writable, code);
    const conforms = attributesAre(stage, attributes, code | conforming, code | conforming);
    const tooFarIn = stage.or(
      stage.compare("gt_u", rplOf(stage, selector), dpl),
      stage.compare("gt_u", stage.read(cpl), dpl),
    );
    const refused = stage.or(
      stage.or(attributesAre(stage, attributes, S, 0), isUnreadable),
      stage.and(tooFarIn, stage.isZero(conforms)),
    );
    raiseIf(stage, refused, Vector.invalidTss, error);
    raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
  });
  const setAccessed = probeAccessedFlag(stage, stage.get(place), stage.get(descriptor), notNull);
  return () => {
    setAccessed();
    stage.if(notNull, () => writeSegment(stage, segment, selector, stage.get(descriptor)));
  };
}
