/**
 * The context word: what decoding depends on beside the bytes.
 *
 * | bit | meaning |
 * |---|---|
 * | 0 | not 64-bit mode |
 * | 1 | the next instruction is special: an interrupt shadow, RF, TF or breakpoints hold for it (`one-shot.ts`) |
 * | 2 | segments are not flat: accesses are checked against limits and rights (`segment-access.ts`) |
 * | 3 | code of 16 bits: CS.D is clear |
 * | 4 | a stack of 16 bits: SS.B is clear |
 * | 5 | real mode, or virtual-8086 mode |
 * | 6 | DR7 enables breakpoints; bit 1 is set too |
 * | 7 | accesses must be aligned (`alignment-checks.ts`) |
 *
 * Bits 2 to 5 are clear in 64-bit mode; 3 to 5 hold only together with 2.
 * Privilege is not in it: code is the same at every CPL, and fetches are told apart by their TLB sets.
 */
import { elementOf, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { Mode } from "./fields.js";
import { writeRflags } from "./flags.js";
import { pagingChanged } from "./paging.js";
import { Cr0, Cr4, DR7_ENABLES, Efer, Flag, STATUS_FLAGS } from "./registers.js";
import type { Segmentation } from "./segment-access.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  contextWord,
  cpl,
  cr0,
  cr4,
  dr7,
  efer,
  interruptShadow,
  rflags,
  Segment,
  segmentAttributes,
  segmentBase,
  segmentLimit,
} from "./state.js";
import { Privilege } from "./translation.js";

export const Context = {
  long: 0,
  legacy: 1,
  oneShot: 2,
  segmented: 4,
  code16: 8,
  stack16: 16,
  real: 32,
  breakpoints: 64,
  aligned: 128,
} as const;

export function codeMode(context: number): Mode {
  if ((context & Context.legacy) === 0) return Mode.long;
  return (context & Context.code16) === 0 ? Mode.code32 : Mode.code16;
}

/** log2 of the stack pointer's bytes. */
export function stackSizeIn(context: number): number {
  if ((context & Context.legacy) === 0) return 3;
  return (context & Context.stack16) === 0 ? 2 : 1;
}

export function segmentationIn(context: number): Segmentation {
  if ((context & Context.segmented) === 0) return "flat";
  return (context & Context.real) === 0 ? "rights" : "limits";
}

const attributes = (stage: Stage, segment: number): Value<32> => stage.read(elementOf(segmentAttributes, segment));

/** Truth: the bits of `mask` have the value that `expected` says. */
function hold(stage: Stage, value: Value<32>, mask: number, expected: number): Value<32> {
  return stage.compare("eq", stage.and(value, stage.constant32(mask)), stage.constant32(expected));
}

/** Truth: base 0 and a limit of 4 GiB. */
function spansAll(stage: Stage, segment: number): Value<32> {
  const full = stage.compare("eq", stage.read(elementOf(segmentLimit, segment)), stage.constant32(-1));
  return stage.and(full, stage.isZero(stage.read(elementOf(segmentBase, segment))));
}

const { code, conforming: expandDown, writable, unusable, L, DB } = SegmentAttribute;

/** Truth: accesses need no checks, of any type. */
function dataIsFlat(stage: Stage, segment: number): Value<32> {
  const ordinary = hold(stage, attributes(stage, segment), code | expandDown | writable | unusable, writable);
  return stage.and(ordinary, spansAll(stage, segment));
}

/** Bits of the context outside 64-bit mode. */
function legacyBits(stage: Stage): Value<32> {
  const isVirtual = stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.VM), 1);
  const real = stage.or(hold(stage, stage.truncate32(stage.read(cr0)), Cr0.PE, 0), isVirtual);
  const code16 = hold(stage, attributes(stage, Segment.cs), DB, 0);
  const stack16 = hold(stage, attributes(stage, Segment.ss), DB, 0);
  const data = [Segment.ss, Segment.ds, Segment.es].map((segment) => dataIsFlat(stage, segment));
  const flat = data.reduce((all, one) => stage.and(all, one), spansAll(stage, Segment.cs));
  const isSegmented = [real, code16, stack16].reduce((any, one) => stage.or(any, one), stage.isZero(flat));
  return [
    stage.shiftLeft(isSegmented, Math.log2(Context.segmented)),
    stage.shiftLeft(code16, Math.log2(Context.code16)),
    stage.shiftLeft(stack16, Math.log2(Context.stack16)),
    stage.shiftLeft(real, Math.log2(Context.real)),
  ].reduce((word, bit) => stage.or(word, bit), stage.constant32(Context.legacy));
}

/** At CPL 3 with CR0.AM and EFLAGS.AC. */
function alignmentBit(stage: Stage): Value<32> {
  const mask = stage.extractBits(stage.truncate32(stage.read(cr0)), Math.log2(Cr0.AM), 1);
  const checks = stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.AC), 1);
  const isUser = stage.compare("eq", stage.read(cpl), stage.constant32(3));
  return stage.shiftLeft(stage.and(isUser, stage.and(mask, checks)), Math.log2(Context.aligned));
}

const computeContext: Routine & { readonly result: undefined } = {
  name: "computeContext",
  parameters: [],
  result: undefined,
  body(stage) {
    const isLongMode = stage.extractBits(stage.truncate32(stage.read(efer)), Math.log2(Efer.LMA), 1);
    const is64 = stage.and(isLongMode, stage.isZero(hold(stage, attributes(stage, Segment.cs), L, 0)));
    const mode = stage.choose(
      is64,
      () => stage.constant32(Context.long),
      () => legacyBits(stage),
    );
    const flags = stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.RF | Flag.TF));
    const enabled = stage.and(stage.truncate32(stage.read(dr7)), stage.constant32(DR7_ENABLES));
    const isTrue = (value: Value<32>): Value<32> => stage.isZero(stage.isZero(value));
    const oneShot = isTrue(stage.or(stage.read(interruptShadow), stage.or(flags, enabled)));
    const special = stage.or(
      stage.shiftLeft(oneShot, Math.log2(Context.oneShot)),
      stage.shiftLeft(isTrue(enabled), Math.log2(Context.breakpoints)),
    );
    stage.write(contextWord, stage.or(stage.or(mode, special), alignmentBit(stage)));
  },
};

/**
 * Computes the context word again; called wherever CPL, a segment register, CR0, DR7, the interrupt shadow, RF, TF, AC or VM have
 * changed.
 */
export function contextChanged(stage: Stage): void {
  stage.call(computeContext);
}

/** Sets CPL and what depends on it. */
export function setPrivilegeLevel(stage: Stage, level: Value<32>): void {
  stage.write(cpl, level);
  privilegeChanged(stage);
}

/** Picks the TLB set again; called wherever CPL, EFLAGS.AC or CR4.SMAP have changed. */
export function privilegeChanged(stage: Stage): void {
  const overrides = stage.and(
    stage.extractBits(stage.truncate32(stage.read(rflags)), Math.log2(Flag.AC), 1),
    stage.extractBits(stage.truncate32(stage.read(cr4)), Math.log2(Cr4.SMAP), 1),
  );
  const system = stage.add(stage.constant32(Privilege.system), overrides);
  const isUser = stage.compare("eq", stage.read(cpl), stage.constant32(3));
  operations.setPrivilege(stage, stage.select(isUser, stage.constant32(Privilege.user), system));
}

/**
 * For the host, after it has written state itself: `engine.callRoutine(refreshDerived)` brings all that is derived from
 * saved fields up to date.
 */
export const refreshDerived: Routine & { readonly result: undefined } = {
  name: "refreshDerived",
  parameters: [],
  result: undefined,
  body(stage) {
    writeRflags(stage, stage.truncate32(stage.read(rflags)), stage.constant32(STATUS_FLAGS));
    pagingChanged(stage);
    privilegeChanged(stage);
    contextChanged(stage);
  },
};
