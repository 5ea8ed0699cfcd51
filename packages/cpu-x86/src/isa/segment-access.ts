/**
 * Memory by segment and offset: Intel SDM volume 3, 3.4, 5.3 (limits), 5.4 (types), 5.8.3 (stacks).
 *
 * In 64-bit mode, and in a flat address space, a segment is at most a base (FS, GS). Elsewhere, or where a prefix names CS,
 * FS or GS outside 64-bit mode, the decoder gives a definition's *segmented* form: the same definition, on a stage that
 * says so, whose accesses are checked here.
 */
import {
  type AccessHandle,
  type AccessMode,
  type AccessOptions,
  elementOf,
  type Instruction,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { raiseException, Vector } from "./exceptions.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { Segment, segmentAttributes, segmentBase, segmentLimit, stackZeroSource, zeroSource } from "./state.js";

/** How accesses are checked: `flat` not at all; `limits` by limit alone, as in real mode; `rights` by type too. */
export type Segmentation = "flat" | "limits" | "rights";

const SEGMENTATION = Symbol("segmentation");

interface SegmentedStage {
  readonly [SEGMENTATION]?: Segmentation;
}

/** How accesses of the definition on this stage are checked. */
export function segmentationOf(stage: Stage): Segmentation {
  return (stage as SegmentedStage)[SEGMENTATION] ?? "flat";
}

const made = new Map<Segmentation, WeakMap<Instruction, Instruction>>();

/** The segmented form of a definition. */
export function segmented(instruction: Instruction, segmentation: "limits" | "rights"): Instruction {
  const known = made.get(segmentation) ?? new WeakMap<Instruction, Instruction>();
  made.set(segmentation, known);
  const found = known.get(instruction);
  if (found !== undefined) return found;
  const form: Instruction = {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, segmented by ${segmentation}`,
    execute(fields, operands, stage) {
      const segmentedStage = withSegmentation(stage, segmentation);
      checkFetch(segmentedStage);
      instruction.execute(fields, operands, segmentedStage);
    },
  };
  known.set(instruction, form);
  return form;
}

function withSegmentation(stage: Stage, segmentation: Segmentation): Stage {
  return new Proxy(stage, {
    get(target, key) {
      if (key === SEGMENTATION) return segmentation;
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** An instruction must end within the limit of CS: #GP(0). */
function checkFetch(stage: Stage): void {
  const last = stage.sub(nextInstruction(stage), stage.constant64(1));
  const beyond = stage.compare("gt_u", stage.truncate32(last), stage.read(csLimit));
  stage.if(beyond, () => raiseException(stage, Vector.generalProtection));
}

const csBase = elementOf(segmentBase, Segment.cs);
const csLimit = elementOf(segmentLimit, Segment.cs);

/** RIP of this instruction. */
export function currentInstruction(stage: Stage): Value<64> {
  return withoutCodeBase(stage, stage.pc());
}

/** RIP of the next instruction in memory: what calls push. */
export function nextInstruction(stage: Stage): Value<64> {
  return withoutCodeBase(stage, stage.nextPc());
}

function withoutCodeBase(stage: Stage, linear: Value<64>): Value<64> {
  if (segmentationOf(stage) === "flat") return linear;
  return stage.zeroExtendFrom(32, stage.sub(linear, stage.read(csBase)));
}

/** The operand of `accessSegment` for a segment that the instruction itself names, such as ES of MOVS. */
export function segmentOperand(stage: Stage, segment: number): Value<32> {
  return stage.constant32(segmentBaseOffset(segment, segmentationOf(stage) !== "flat"));
}

/** Where the base of a segment lies; flat ones have none, and that of SS tells a fault that the access was to the stack. */
export function segmentBaseOffset(segment: number, isSegmented: boolean): number {
  if (isSegmented || segment === Segment.fs || segment === Segment.gs) return elementOf(segmentBase, segment).offset;
  return segment === Segment.ss ? stackZeroSource.offset : zeroSource.offset;
}

/**
 * Checks a range at an offset of a segment; `segment` is a `memoryOperand.segment` or a `segmentOperand`. Outside 64-bit
 * mode the offset has at most 32 bits.
 */
export function accessSegment(
  stage: Stage,
  segment: Value<32>,
  offset: Value<64>,
  bytes: number,
  mode: AccessMode,
  options: Pick<AccessOptions, "alignment"> = {},
): AccessHandle {
  const segmentation = segmentationOf(stage);
  const linear = stage.add(offset, stage.readAt(64, segment));
  const all = { ...options, faultDetail: segment };
  if (segmentation === "flat") return stage.access(linear, bytes, mode, all);
  checkSegment(stage, segmentation, segment, offset, bytes, mode);
  return stage.access(stage.zeroExtendFrom(32, linear), bytes, mode, all);
}

const { code, conforming: expandDown, writable, DB, unusable } = SegmentAttribute;

/** #SS(0) where the segment is SS, else #GP(0). */
function checkSegment(
  stage: Stage,
  segmentation: Segmentation,
  segment: Value<32>,
  offset: Value<64>,
  bytes: number,
  mode: AccessMode,
): void {
  // Of a segment's number, which the offset of its base tells.
  const bases = stage.sub(segment, stage.constant32(segmentBase.offset));
  const place = stage.shiftRight(bases, 1);
  const limit = stage.zeroExtend64(stage.readAt(32, place, segmentLimit.offset));
  const attributes = stage.readAt(32, place, segmentAttributes.offset);
  const last = stage.add(offset, stage.constant64(bytes - 1));
  const has = (bits: number, expected: number): Value<32> =>
    stage.compare("eq", stage.and(attributes, stage.constant32(bits)), stage.constant32(expected));
  const above = stage.compare("gt_u", last, limit);
  const top = stage.select(has(DB, 0), stage.constant64(0xffff), stage.constant64(0xffff_ffffn));
  const below = stage.or(stage.compare("le_u", offset, limit), stage.compare("gt_u", last, top));
  const outside = stage.select(has(code | expandDown, expandDown), below, above);
  const refused = segmentation === "limits" ? outside : stage.or(outside, refusedByType(stage, has, mode));
  stage.if(refused, () => {
    const isStack = stage.compare("eq", segment, stage.constant32(elementOf(segmentBase, Segment.ss).offset));
    stage.if(isStack, () => raiseException(stage, Vector.stackFault));
    raiseException(stage, Vector.generalProtection);
  });
}

/** Code may not be written, nor read without its bit for that; data may always be read. */
function refusedByType(stage: Stage, has: (bits: number, expected: number) => Value<32>, mode: AccessMode): Value<32> {
  const isUnusable = has(unusable, unusable);
  const refused = mode === "read" ? has(code | writable, code) : stage.isZero(has(code | writable, writable));
  return stage.or(isUnusable, refused);
}
