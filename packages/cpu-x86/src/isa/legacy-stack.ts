/**
 * Stacks outside long mode, as deliveries and calls through gates push to them: the current one, or that of an inner level,
 * which the TSS names. Intel SDM volume 3, 5.8.5, 6.12.1.
 */
import type { AccessHandle, Stage, Value } from "@hvjournal/engine";
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
import { Register, Segment, stackZeroSource } from "./state.js";

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

/** Of parameters, at most 31 words: how many are copied at once, by the bits of their count. */
const PARAMETER_CHUNKS = [16, 8, 4, 2, 1];

/**
 * Pushes what a call through a gate leaves on the stack of an inner level: the old stack pointer and SS, `count` parameters
 * from the old stack, and where it came from. 5.8.5. Words of 2 or 4 bytes; `frame` has RIP, CS, RSP, SS.
 */
export function pushGateFrame(
  stage: Stage,
  stack: LegacyStack,
  frame: readonly Value<64>[],
  count: Value<32>,
  bytes: 2 | 4,
  commit: () => void,
): void {
  const bits = bytes === 2 ? 16 : 32;
  const old = currentStack(stage, stage.constant32(0));
  const attributes = attributesOf(stage, stack.descriptor);
  const parameterBytes = stage.zeroExtend64(stage.shiftLeft(count, Math.log2(bytes)));
  const below = stage.sub(stage.sub(stack.top, stage.constant64(4 * bytes)), parameterBytes);
  const at = (place: Value<64>, length: number): Value<64> =>
    checkStackRange(stage, stack.descriptor, stackOffset(stage, attributes, place), length, stack.error);
  const written = { ...AS_SYSTEM(stage), privileged: true };
  const outer = stage.access(
    at(stage.sub(stack.top, stage.constant64(2 * bytes)), 2 * bytes),
    2 * bytes,
    "write",
    written,
  );
  const inner = stage.access(at(below, 2 * bytes), 2 * bytes, "write", written);
  const copies = PARAMETER_CHUNKS.map((words) => {
    const here = stage.isZero(stage.isZero(stage.and(count, stage.constant32(words))));
    // Behind those of the larger chunks.
    const first = stage.and(count, stage.constant32(31 & ~(2 * words - 1)));
    const offset = stage.zeroExtend64(stage.shiftLeft(first, Math.log2(bytes)));
    const handles: { readonly from: AccessHandle; readonly to: AccessHandle }[] = [];
    stage.if(here, () => {
      const oldAttributes = attributesOf(stage, old.descriptor);
      const source = stackOffset(stage, oldAttributes, stage.add(old.top, offset));
      const linear = checkStackRange(stage, old.descriptor, source, words * bytes, old.error);
      const from = stage.access(linear, words * bytes, "read", {
        faultDetail: stage.constant32(stackZeroSource.offset),
      });
      const target = stage.add(stage.add(below, stage.constant64(2 * bytes)), offset);
      handles.push({ from, to: stage.access(at(target, words * bytes), words * bytes, "write", written) });
    });
    return (): void =>
      stage.if(here, () => {
        for (const { from, to } of handles)
          for (let word = 0; word < words; word++)
            stage.store(to, bytes * word, bits, stage.load(32, from, bytes * word, bits));
      });
  });
  frame.forEach((word, index) =>
    stage.store(index < 2 ? inner : outer, bytes * (index & 1), bits, stage.truncate32(word)),
  );
  for (const copy of copies) copy();
  stack.load();
  writeStackOffset(stage, attributes, stackOffset(stage, attributes, below));
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
