/**
 * Virtual-8086 mode: Intel SDM volume 3, 20.2, 20.3. Code runs as in real mode, at CPL 3; interrupts and exceptions go to the
 * protected mode's handlers, and what would touch IF is refused below IOPL 3. CR4.VME is not offered.
 */
import type { Stage, Value } from "@hvjournal/engine";
import { raiseIf, Vector } from "./exceptions.js";
import { Flag } from "./registers.js";
import { segmentationOf } from "./segment-access.js";
import { DPL_SHIFT, SegmentAttribute } from "./segment-attributes.js";
import { segmentFields, writeNullSegment, writeRealSegment } from "./segments.js";
import { rflags, Segment } from "./state.js";

const { P, S, writable, accessed } = SegmentAttribute;
const ATTRIBUTES = P | S | writable | accessed | (3 << DPL_SHIFT);
const LIMIT = 0xffff;

/** Truth: EFLAGS.VM. */
export function isVirtual(stage: Stage): Value<32> {
  return stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.VM), 1);
}

/** #GP(0) in virtual-8086 mode below IOPL 3. Real mode, whose definitions are the same, has VM clear. */
export function requireVirtualPrivilege(stage: Stage): void {
  if (segmentationOf(stage) !== "limits") return;
  const flags = stage.truncate32(stage.read(rflags));
  const wanted = stage.constant32(Flag.VM | Flag.IOPL);
  const privileged = stage.compare("eq", stage.and(flags, wanted), wanted);
  raiseIf(stage, stage.and(isVirtual(stage), stage.isZero(privileged)), Vector.generalProtection);
}

/** A segment as the mode has it: 64 KiB at 16 times the selector, data that CPL 3 may write. */
export function writeVirtualSegment(stage: Stage, segment: number, selector: Value<32>): void {
  const { limit, attributes } = segmentFields(segment);
  writeRealSegment(stage, segment, selector);
  stage.write(limit, stage.constant32(LIMIT));
  stage.write(attributes, stage.constant32(ATTRIBUTES));
}

/** Where code of the mode is, by segment and offset. #GP(0) beyond its segment. */
export function virtualTarget(stage: Stage, selector: Value<32>, offset: Value<64>): Value<64> {
  raiseIf(stage, stage.compare("gt_u", offset, stage.constant64(LIMIT)), Vector.generalProtection);
  return stage.add(stage.zeroExtend64(stage.shiftLeft(selector, 4)), offset);
}

/** What is pushed beside the frame of an inner level, above it: ES, DS, FS, GS. */
export function dataSelectors(stage: Stage): readonly Value<64>[] {
  return DATA_SEGMENTS.map((segment) => stage.zeroExtend64(stage.read(segmentFields(segment).selector)));
}

/** The handler begins without data segments. */
export function dropDataSegments(stage: Stage): void {
  for (const segment of DATA_SEGMENTS) writeNullSegment(stage, segment, stage.constant32(0));
}

/** In the order of a frame on the stack, low to high. */
export const DATA_SEGMENTS: readonly number[] = [Segment.es, Segment.ds, Segment.fs, Segment.gs];
