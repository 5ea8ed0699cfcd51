/** Segment descriptors: reading them from their tables, and loading segment registers. Intel SDM volume 3, 3.4. */
import { elementOf, type Stage, type StateField, type Value } from "@hvjournal/engine";
import { raiseException, Vector } from "./exceptions.js";
import { DESCRIPTOR_ATTRIBUTES, DPL_SHIFT, SegmentAttribute } from "./segment-attributes.js";
import {
  gdtBase,
  gdtLimit,
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
const AS_SYSTEM = (stage: Stage) => ({ privileged: true, faultDetail: stage.constant32(zeroSource.offset) });

/** Where the descriptor of a selector is. Raises #GP(`error`) where the table ends before it. */
export function descriptorPlace(stage: Stage, selector: Value<32>, error: Value<32>): Value<64> {
  const ldtr = segmentFields(Segment.ldtr);
  const local = stage.and(selector, stage.constant32(4));
  const base = stage.select(local, stage.read(ldtr.base), stage.read(gdtBase));
  const limit = stage.select(local, stage.read(ldtr.limit), stage.read(gdtLimit));
  const offset = stage.and(selector, stage.constant32(0xfff8));
  const usable = stage.isZero(stage.and(stage.read(ldtr.attributes), stage.constant32(SegmentAttribute.unusable)));
  const beyond = stage.compare("gt_u", stage.add(offset, stage.constant32(7)), limit);
  const absent = stage.and(stage.isZero(stage.isZero(local)), stage.isZero(usable));
  stage.if(stage.or(beyond, absent), () => raiseException(stage, Vector.generalProtection, error));
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

/** Loads a null selector; its RPL stays. In 64-bit mode base and limit are kept. */
export function writeNullSegment(stage: Stage, segment: number, selector: Value<32>): void {
  const fields = segmentFields(segment);
  stage.write(fields.selector, selector);
  stage.write(fields.attributes, stage.constant32(SegmentAttribute.unusable));
}
