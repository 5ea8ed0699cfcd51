/**
 * Stacks outside long mode, as deliveries and calls through gates push to them: the current one, or that of an inner level,
 * which the TSS names. Intel SDM volume 3, 5.8.5, 6.12.1.
 */
import type { Stage, Value } from "@hvjournal/engine";
import { raiseIf, Vector } from "./exceptions.js";
import { generalRegister } from "./general-registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  checkInnerStack,
  checkStackRange,
  segmentFields,
  selectorError,
  stackOffset,
  writeSegment,
  writeStackOffset,
} from "./segments.js";
import { Register, Segment } from "./state.js";

const rsp = generalRegister(Register.rsp);

/** Offsets of ESP0 and SP0 in a TSS of 32 and of 16 bits. The selector follows the pointer. */
const TSS32_ESP0 = 4;
const TSS16_SP0 = 2;

/** A stack outside long mode. */
export interface LegacyStack {
  /** As of a descriptor: of the stack to be loaded, or put together of the current one. */
  readonly descriptor: Value<64>;
  readonly top: Value<64>;
  readonly error: Value<32>;
  readonly load: () => void;
}

/** Pushes words of 2 or 4 bytes, the first one lowest. */
export function pushLegacyFrame(
  stage: Stage,
  stack: LegacyStack,
  words: readonly Value<64>[],
  bytes: 2 | 4,
  privileged: boolean,
  commit: () => void,
): void {
  const attributes = attributesOf(stage, stack.descriptor);
  const length = bytes * words.length;
  const offset = stackOffset(stage, attributes, stage.sub(stack.top, stage.constant64(length)));
  const linear = checkStackRange(stage, stack.descriptor, offset, length, stack.error);
  const handle = stage.access(linear, length, "write", { ...AS_SYSTEM(stage), privileged });
  words.forEach((word, index) => stage.store(handle, bytes * index, bytes === 2 ? 16 : 32, stage.truncate32(word)));
  stack.load();
  writeStackOffset(stage, attributes, offset);
  commit();
}

/** A descriptor with base, limit and attributes of SS, so that one rule checks both stacks. */
function currentStackDescriptor(stage: Stage): Value<64> {
  const { base, limit, attributes } = segmentFields(Segment.ss);
  const inPages = stage.shiftRight(stage.read(limit), 12);
  const isLarge = stage.compare("gt_u", stage.read(limit), stage.constant32(0xf_ffff));
  const field = stage.zeroExtend64(stage.select(isLarge, inPages, stage.read(limit)));
  const granularity = stage.select(isLarge, stage.constant32(SegmentAttribute.G), stage.constant32(0));
  const bits = stage.and(stage.read(attributes), stage.constant32(0x70ff));
  const baseValue = stage.read(base);
  return [
    stage.extractBits(field, 0, 16),
    stage.shiftLeft(stage.extractBits(baseValue, 0, 24), 16),
    stage.shiftLeft(stage.zeroExtend64(stage.or(bits, granularity)), 40),
    stage.shiftLeft(stage.extractBits(field, 16, 4), 48),
    stage.shiftLeft(stage.extractBits(baseValue, 24, 8), 56),
  ].reduce((all, part) => stage.or(all, part));
}

export function currentStack(stage: Stage, external: Value<32>): LegacyStack {
  const descriptor = currentStackDescriptor(stage);
  const top = stage.read(rsp);
  return { descriptor, top, error: external, load: () => undefined };
}

/** SS and ESP of a level in the TSS. */
function readInnerStack(
  stage: Stage,
  level: Value<32>,
  external: Value<32>,
): { readonly selector: Value<32>; readonly pointer: Value<64> } {
  const tr = segmentFields(Segment.tr);
  const isTss32 = stage.isZero(attributesAre(stage, stage.read(tr.attributes), 8, 0));
  const wide = stage.add(stage.shiftLeft(level, 3), stage.constant32(TSS32_ESP0));
  const narrow = stage.add(stage.shiftLeft(level, 2), stage.constant32(TSS16_SP0));
  const offset = stage.select(isTss32, wide, narrow);
  const bytes = stage.select(isTss32, stage.constant32(6), stage.constant32(4));
  const last = stage.sub(stage.add(offset, bytes), stage.constant32(1));
  const error = stage.or(stage.and(stage.read(tr.selector), stage.constant32(0xfffc)), external);
  raiseIf(stage, stage.compare("gt_u", last, stage.read(tr.limit)), Vector.invalidTss, error);
  const place = stage.add(stage.read(tr.base), stage.zeroExtend64(offset));
  const pointer = stage.variable(stage.constant64(0));
  const selector = stage.variable(stage.constant32(0));
  stage.if(
    isTss32,
    () => {
      const handle = stage.access(place, 6, "read", AS_SYSTEM(stage));
      stage.set(pointer, stage.load(64, handle, 0, 32));
      stage.set(selector, stage.load(32, handle, 4, 16));
    },
    () => {
      const handle = stage.access(place, 4, "read", AS_SYSTEM(stage));
      stage.set(pointer, stage.load(64, handle, 0, 16));
      stage.set(selector, stage.load(32, handle, 2, 16));
    },
  );
  return { selector: stage.get(selector), pointer: stage.get(pointer) };
}

/** The stack of an inner level. */
export function innerStack(stage: Stage, level: Value<32>, external: Value<32>): LegacyStack {
  const { selector, pointer } = readInnerStack(stage, level, external);
  const { descriptor, setAccessed } = checkInnerStack(stage, selector, level, external);
  const error = stage.or(selectorError(stage, selector), external);
  const load = (): void => {
    setAccessed();
    writeSegment(stage, Segment.ss, selector, descriptor);
  };
  return { descriptor, top: pointer, error, load };
}
