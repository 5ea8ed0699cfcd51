/** The state of a vCPU after power-on: Intel SDM volume 3, table 10-1. Every field that is not here is 0. */
import { elementOf, type StateField } from "@hvjournal/engine";
import { Cr0, Flag } from "../isa/registers.js";
import { SegmentAttribute } from "../isa/segment-attributes.js";
import {
  cr0,
  dr6,
  dr7,
  fcw,
  gdtLimit,
  gpr,
  idtLimit,
  mxcsr,
  pat,
  Register,
  rflags,
  rip,
  Segment,
  segmentAttributes,
  segmentBase,
  segmentLimit,
  segmentSelector,
  xcr0,
} from "../isa/state.js";
import { SIGNATURE } from "./cpu-model.js";

const { P, S, code, writable, accessed } = SegmentAttribute;
const DATA = BigInt(P | S | writable | accessed);
/** Present, LDT; present, busy 16-bit TSS. */
const LDT = BigInt(P | 2);
const TASK_STATE = BigInt(P | 3);
const LIMIT = 0xffffn;
const CS_BASE = 0xffff_0000n;
const RESET_IP = 0xfff0n;
const PAT_RESET = 0x0007_0406_0007_0406n;

function segment(number: number, attributes: bigint): (readonly [StateField, bigint])[] {
  return [
    [elementOf(segmentLimit, number), LIMIT],
    [elementOf(segmentAttributes, number), attributes],
  ];
}

export const resetValues: readonly (readonly [StateField, bigint])[] = [
  [rflags, BigInt(Flag.fixed)],
  [rip, CS_BASE + RESET_IP],
  [cr0, BigInt(Cr0.ET | Cr0.NW | Cr0.CD)],
  ...segment(Segment.cs, DATA | BigInt(code)),
  [elementOf(segmentSelector, Segment.cs), 0xf000n],
  [elementOf(segmentBase, Segment.cs), CS_BASE],
  ...[Segment.es, Segment.ss, Segment.ds, Segment.fs, Segment.gs].flatMap((number) => segment(number, DATA)),
  ...segment(Segment.ldtr, LDT),
  ...segment(Segment.tr, TASK_STATE),
  [gdtLimit, LIMIT],
  [idtLimit, LIMIT],
  [elementOf(gpr, Register.rdx), BigInt(SIGNATURE)],
  [dr6, 0xffff_0ff0n],
  [dr7, 0x400n],
  [pat, PAT_RESET],
  [fcw, 0x37fn],
  [mxcsr, 0x1f80n],
  [xcr0, 1n],
];
