/** Segment descriptors: reading them from their tables, and loading segment registers. Intel SDM volume 3, 3.4. */
import { elementOf, type Stage, type StateField, type Value } from "@hvjournal/engine";
import { raiseException, raiseIf, Vector } from "./exceptions.js";
import { generalRegister } from "./general-registers.js";
import { Cr0, Efer } from "./registers.js";
import { DESCRIPTOR_ATTRIBUTES, DPL_SHIFT, SegmentAttribute } from "./segment-attributes.js";
import {
  cr0,
  efer,
  gdtBase,
  gdtLimit,
  Register,
  Segment,
  segmentAttributes,
  segmentBase,
  segmentLimit,
  segmentSelector,
  zeroSource,
} from "./state.js";

/** Fields of one segment register. */
export interface SegmentFields {
  readonly selector: StateField<32>;
  readonly base: StateField<64>;
  readonly limit: StateField<32>;
  readonly attributes: StateField<32>;
}

export function segmentFields(segment: number): SegmentFields {
  return {
    selector: elementOf(segmentSelector, segment),
    base: elementOf(segmentBase, segment),
    limit: elementOf(segmentLimit, segment),
    attributes: elementOf(segmentAttributes, segment),
  };
}

/** Requested privilege level of a selector. */
export function rplOf(stage: Stage, selector: Value<32>): Value<32> {
  return stage.and(selector, stage.constant32(3));
}

/** Error code for a selector: without RPL. */
export function selectorError(stage: Stage, selector: Value<32>): Value<32> {
  return stage.and(selector, stage.constant32(0xfffc));
}

/** Truth: index 0 of the GDT. */
export function isNullSelector(stage: Stage, selector: Value<32>): Value<32> {
  return stage.isZero(selectorError(stage, selector));
}

/** Descriptor tables are read with the privileges of the system. */
export const AS_SYSTEM = (stage: Stage) => ({ privileged: true, faultDetail: stage.constant32(zeroSource.offset) });

/** Where the descriptor of a selector is. Raises `vector`(`error`) where the table ends before it. */
export function descriptorPlace(
  stage: Stage,
  selector: Value<32>,
  error: Value<32>,
  vector: number = Vector.generalProtection,
): Value<64> {
  const ldtr = segmentFields(Segment.ldtr);
  const local = stage.and(selector, stage.constant32(4));
  const base = stage.select(local, stage.read(ldtr.base), stage.read(gdtBase));
  const limit = stage.select(local, stage.read(ldtr.limit), stage.read(gdtLimit));
  const offset = stage.and(selector, stage.constant32(0xfff8));
  const usable = stage.isZero(stage.and(stage.read(ldtr.attributes), stage.constant32(SegmentAttribute.unusable)));
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(7)), limit);
  const absent = stage.and(stage.isZero(stage.isZero(local)), stage.isZero(usable));
  stage.if(stage.or(beyond, absent), () => raiseException(stage, vector, error));
  return stage.add(base, stage.zeroExtend64(offset));
}

/** Reads a descriptor of 8 bytes. */
export function readDescriptor(stage: Stage, place: Value<64>): Value<64> {
  return stage.load(64, stage.access(place, 8, "read", AS_SYSTEM(stage)), 0, 64);
}

/** `SegmentAttribute` bits of a descriptor. */
export function attributesOf(stage: Stage, descriptor: Value<64>): Value<32> {
  return stage.and(stage.truncate32(stage.shiftRight(descriptor, 40)), stage.constant32(DESCRIPTOR_ATTRIBUTES));
}

export function dplOf(stage: Stage, attributes: Value<32>): Value<32> {
  return stage.extractBits(attributes, DPL_SHIFT, 2);
}

/** Truth: all bits of `mask` have the value that `expected` says. */
export function attributesAre(stage: Stage, attributes: Value<32>, mask: number, expected: number): Value<32> {
  return stage.compare("eq", stage.and(attributes, stage.constant32(mask)), stage.constant32(expected));
}

export function baseOf(stage: Stage, descriptor: Value<64>): Value<64> {
  const low = stage.extractBits(descriptor, 16, 24);
  return stage.or(low, stage.shiftLeft(stage.extractBits(descriptor, 56, 8), 24));
}

/** In bytes: with G the limit counts pages. */
export function limitOf(stage: Stage, descriptor: Value<64>): Value<32> {
  const low = stage.extractBits(stage.truncate32(descriptor), 0, 16);
  const limit = stage.or(low, stage.shiftLeft(stage.truncate32(stage.extractBits(descriptor, 48, 4)), 16));
  const inPages = stage.or(stage.shiftLeft(limit, 12), stage.constant32(0xfff));
  return stage.select(stage.truncate32(stage.extractBits(descriptor, 55, 1)), inPages, limit);
}

/**
 * Checks that the accessed flag of a code or data descriptor can be set, where `needed` holds and it is not set yet; the
 * function that comes back sets it.
 */
export function probeAccessedFlag(
  stage: Stage,
  place: Value<64>,
  descriptor: Value<64>,
  needed: Value<32> = stage.constant32(1),
): () => void {
  const clear = stage.isZero(stage.and(attributesOf(stage, descriptor), stage.constant32(SegmentAttribute.accessed)));
  const writes = stage.and(needed, clear);
  const accessByte = stage.add(place, stage.constant64(5));
  const handles: ReturnType<Stage["access"]>[] = [];
  stage.if(writes, () => void handles.push(stage.access(accessByte, 1, "readWrite", AS_SYSTEM(stage))));
  return () => {
    for (const handle of handles) {
      stage.if(writes, () => {
        const type = stage.load(32, handle, 0, 8);
        stage.store(handle, 0, 8, stage.or(type, stage.constant32(SegmentAttribute.accessed)));
      });
    }
  };
}

/** Loads a segment register from a descriptor that has been checked. */
export function writeSegment(stage: Stage, segment: number, selector: Value<32>, descriptor: Value<64>): void {
  const fields = segmentFields(segment);
  const attributes = stage.or(attributesOf(stage, descriptor), stage.constant32(SegmentAttribute.accessed));
  const base = baseOf(stage, descriptor);
  const limit = limitOf(stage, descriptor);
  stage.write(fields.selector, selector);
  stage.write(fields.base, base);
  stage.write(fields.limit, limit);
  stage.write(fields.attributes, attributes);
}

/** Loads a null selector; its RPL stays. The base becomes 0, as on Intel's processors; it is that of FS and GS in 64-bit mode. */
export function writeNullSegment(stage: Stage, segment: number, selector: Value<32>): void {
  const fields = segmentFields(segment);
  stage.write(fields.selector, selector);
  stage.write(fields.base, stage.constant64(0));
  stage.write(fields.attributes, stage.constant32(SegmentAttribute.unusable));
}

/** Loads a segment register in real mode: base is 16 times the selector; limit and attributes stay. */
export function writeRealSegment(stage: Stage, segment: number, selector: Value<32>): void {
  const fields = segmentFields(segment);
  stage.write(fields.selector, selector);
  stage.write(fields.base, stage.zeroExtend64(stage.shiftLeft(selector, 4)));
}

/** A segment that SYSCALL and the like load, without a descriptor: base 0, 4 GiB. */
export function writeFixedSegment(stage: Stage, segment: number, selector: Value<32>, attributes: Value<32>): void {
  const fields = segmentFields(segment);
  stage.write(fields.selector, selector);
  stage.write(fields.base, stage.constant64(0));
  stage.write(fields.limit, stage.constant32(-1));
  stage.write(fields.attributes, attributes);
}

/** Truth: EFER.LMA. */
export function isLongModeActive(stage: Stage): Value<32> {
  return stage.extractBits(stage.truncate32(stage.read(efer)), Math.log2(Efer.LMA), 1);
}

/** Truth: CR0.PE is clear. */
export function isRealMode(stage: Stage): Value<32> {
  return stage.isZero(stage.and(stage.truncate32(stage.read(cr0)), stage.constant32(Cr0.PE)));
}

/** Checks the stack segment that the TSS has for an inner level: 5.8.5, 6.14.2. Faults are #TS, #SS where it is not present. */
export function checkInnerStack(
  stage: Stage,
  selector: Value<32>,
  level: Value<32>,
  external: Value<32>,
): { readonly descriptor: Value<64>; readonly setAccessed: () => void } {
  const error = stage.or(selectorError(stage, selector), external);
  raiseIf(stage, isNullSelector(stage, selector), Vector.invalidTss, error);
  const place = descriptorPlace(stage, selector, error, Vector.invalidTss);
  const descriptor = readDescriptor(stage, place);
  const attributes = attributesOf(stage, descriptor);
  const { S, code, writable, P } = SegmentAttribute;
  const isStack = attributesAre(stage, attributes, S | code | writable, S | writable);
  const wrongLevel = stage.or(
    stage.compare("ne", rplOf(stage, selector), level),
    stage.compare("ne", dplOf(stage, attributes), level),
  );
  raiseIf(stage, stage.or(stage.isZero(isStack), wrongLevel), Vector.invalidTss, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.stackFault, error);
  return { descriptor, setAccessed: probeAccessedFlag(stage, place, descriptor) };
}

/**
 * Checks a range of a stack that is yet to be loaded, and gives its linear address. The faults are #SS(`error`).
 */
export function checkStackRange(
  stage: Stage,
  descriptor: Value<64>,
  offset: Value<64>,
  bytes: number,
  error: Value<32>,
): Value<64> {
  const attributes = attributesOf(stage, descriptor);
  const limit = stage.zeroExtend64(limitOf(stage, descriptor));
  const last = stage.add(offset, stage.constant64(bytes - 1));
  const isWide = stage.isZero(attributesAre(stage, attributes, SegmentAttribute.DB, 0));
  const top = stage.select(isWide, stage.constant64(0xffff_ffffn), stage.constant64(0xffff));
  const expandsDown = stage.isZero(attributesAre(stage, attributes, SegmentAttribute.conforming, 0));
  const below = stage.or(stage.compare("le_u", offset, limit), stage.compare("gt_u", last, top));
  const outside = stage.select(expandsDown, below, stage.compare("gt_u", last, limit));
  raiseIf(stage, outside, Vector.stackFault, error);
  return stage.zeroExtendFrom(32, stage.add(baseOf(stage, descriptor), offset));
}

/** The part of a stack pointer that a stack segment uses. */
export function stackOffset(stage: Stage, attributes: Value<32>, pointer: Value<64>): Value<64> {
  const isWide = stage.isZero(attributesAre(stage, attributes, SegmentAttribute.DB, 0));
  return stage.select(isWide, stage.zeroExtendFrom(32, pointer), stage.zeroExtendFrom(16, pointer));
}

/** Writes the part of the stack pointer that a stack segment uses. */
export function writeStackOffset(stage: Stage, attributes: Value<32>, offset: Value<64>): void {
  const isWide = stage.isZero(attributesAre(stage, attributes, SegmentAttribute.DB, 0));
  const rsp = generalRegister(Register.rsp);
  const merged = stage.or(stage.and(stage.read(rsp), stage.constant64(~0xffffn)), stage.zeroExtendFrom(16, offset));
  stage.write(rsp, stage.select(isWide, stage.zeroExtendFrom(32, offset), merged));
}
